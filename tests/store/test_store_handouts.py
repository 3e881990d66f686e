"""What is put out for IRPs that poll us, as the store keeps it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from plans import plans
from stores import opened

from kuma_sync.core.alert import Alert, AlertId
from kuma_sync.core.handout import Asked
from kuma_sync.store import Store
from kuma_sync.store.handouts import NOTHING, Handout, Out, Text

NEW = Asked(statuses=frozenset({"new"}))
AT = datetime(2026, 1, 1, tzinfo=UTC)


def an_item(alert_id: str, target: str = "north", *, name: str = "R001", status: str = "new") -> Handout:
    alert = Alert(id=AlertId(alert_id), name=name, status=status, last_seen=AT)
    return Handout(
        alert=alert, target=target, head=Text.of(f'{{"id":"{alert_id}","name":"{name}"'.encode()), lists=NOTHING
    )


def put(store: Store, *items: Handout) -> None:
    with store.writing() as tx:
        tx.handouts.put(items)


def listed(store: Store, target: str = "north", *, repeat_for: timedelta = timedelta()) -> list[Out]:
    with store.reading() as tx:
        return tx.handouts.listed(target, NEW, repeated_since=tx.now - repeat_for, limit=1000)


def deliver(store: Store, outs: list[Out]) -> None:
    with store.writing() as tx:
        tx.handouts.delivered(outs)


async def test_each_target_is_shown_its_own(database_url: str) -> None:
    async with opened(database_url) as store:
        put(store, an_item("a"), an_item("b", "south"))

        assert [out.alert_id for out in listed(store)] == ["a"]
        assert [out.alert_id for out in listed(store, "south")] == ["b"]


async def test_what_changed_while_it_was_sent_is_shown_again(database_url: str) -> None:
    async with opened(database_url) as store:
        put(store, an_item("a"))
        sent = listed(store)
        put(store, an_item("a", name="R002"))
        with store.reading() as tx:
            still_there = tx.handouts.parts(sent, NEW)
        deliver(store, sent)

        assert list(still_there) == ["a"]
        (again,) = listed(store)
        assert (again.version, again.pending) == (2, True)
        deliver(store, [again])
        assert listed(store) == []


async def test_a_delivered_alert_is_repeated_for_a_while_and_an_unchanged_one_is_not_new(database_url: str) -> None:
    async with opened(database_url) as store:
        put(store, an_item("a"))
        deliver(store, listed(store))
        put(store, an_item("a"))

        (repeated,) = listed(store, repeat_for=timedelta(minutes=15))
        assert not repeated.pending
        assert listed(store) == []


async def test_alert_that_the_irp_closed_is_shown_no_more(database_url: str) -> None:
    async with opened(database_url) as store:
        put(store, an_item("a"))
        with store.writing() as tx:
            tx.handouts.end(AlertId("a"))
        put(store, an_item("a", name="R002"))

        assert listed(store, repeat_for=timedelta(days=1)) == []


async def test_quiet_listing_reads_no_row_of_the_backlog(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        put(store, *(an_item(f"closed-{number}", status="closed") for number in range(300)))
        with plans(store) as plan:
            assert listed(store, repeat_for=timedelta(minutes=15)) == []

        assert plan.looked_at
        assert plan.whole("handouts") == []
