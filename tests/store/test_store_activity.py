"""How much happened: noted by each process for itself, read for all together, and forgotten after eight days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from stores import Clock, opened

from kuma_sync.store.activity import Counts, slot_of

NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


async def test_what_copies_note_of_the_same_minutes_adds_up_and_the_longest_stays(database_url: str) -> None:
    async with opened(database_url, clock=Clock(NOON)) as store:
        with store.writing() as tx:
            slot = slot_of(NOON - timedelta(minutes=1))
            tx.activity.add("one", slot, {"": Counts(arrived=2, changed=1), "irp": Counts(delivered=2, waited=3.5)})
            tx.activity.add("one", slot, {"": Counts(arrived=1), "irp": Counts(delivered=1, waited=0.5, longest=9.0)})
            tx.activity.add("two", slot, {"irp": Counts(delivered=4, waited=4.0, longest=2.0, closed=1, failed=3)})
            tx.activity.add("two", slot, {"north": Counts(), "": Counts()})

        with store.reading() as tx:
            (last,) = [found for found in tx.happened.slots() if found.targets]

    assert last.start == NOON - timedelta(minutes=15)
    assert last.kuma == Counts(arrived=3, changed=1)
    assert last.targets == {"irp": Counts(delivered=7, waited=8.0, longest=9.0, closed=1, failed=3)}
    assert (last.mean, last.longest) == (8.0 / 7, 9.0)


async def test_a_quiet_time_has_empty_slots_without_a_mean(database_url: str) -> None:
    async with opened(database_url, clock=Clock(NOON + timedelta(minutes=7))) as store:
        with store.reading() as tx:
            day, hour = tx.happened.slots(), tx.happened.slots(timedelta(hours=1), length=timedelta(minutes=5))
            last = tx.happened.last(timedelta(hours=1))

    assert [len(day), len(hour)] == [96, 12]
    assert (day[0].start, day[-1].start) == (NOON - timedelta(hours=23, minutes=45), NOON)
    assert hour[-1].start == NOON + timedelta(minutes=5)
    assert {(slot.mean, slot.longest, slot.kuma.arrived) for slot in day} == {(None, None, 0)}
    assert (last.kuma, last.targets) == (Counts(), {})


async def test_of_the_last_hour_what_lies_before_it_is_left_out(database_url: str) -> None:
    async with opened(database_url, clock=Clock(NOON)) as store:
        with store.writing() as tx:
            for minutes, count in ((0, 1), (30, 10), (60, 100), (65, 1000), (24 * 60, 10_000)):
                tx.activity.add("one", NOON - timedelta(minutes=minutes), {"": Counts(arrived=count)})

        with store.reading() as tx:
            assert tx.happened.last(timedelta(hours=1)).kuma.arrived == 111
            assert sum(slot.kuma.arrived for slot in tx.happened.slots()) == 1111


async def test_slots_older_than_eight_days_are_pruned(database_url: str) -> None:
    async with opened(database_url, clock=Clock(NOON)) as store:
        with store.writing() as tx:
            for days in (7, 9):
                tx.activity.add("one", NOON - timedelta(days=days), {"": Counts(arrived=days)})
            tx.pruning.records(NOON - timedelta(days=90), now=tx.now)

        with store.reading() as tx:
            assert tx.happened.last(timedelta(days=30)).kuma.arrived == 7
