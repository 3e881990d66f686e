"""What is put out for IRPs that poll us, as the store keeps it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from builders import a_link
from plans import plans
from stores import Clock, opened

from kuma_sync.core.alert import Alert, AlertId, AlertSnapshot, Contents
from kuma_sync.core.handout import Asked
from kuma_sync.core.link import Offered
from kuma_sync.settings.expressions import Expression
from kuma_sync.store import Shape, Shown, Store
from kuma_sync.store.handouts import NOTHING, Handout, Out, Text
from kuma_sync.store.read_models import search
from kuma_sync.store.read_models.overview import AlertState

NEW = Asked(statuses=frozenset({"new"}))
AT = datetime(2026, 1, 1, tzinfo=UTC)


def an_item(
    alert_id: str, target: str = "north", *, name: str = "R001", status: str = "new", seen: datetime | None = AT
) -> Handout:
    alert = Alert(id=AlertId(alert_id), name=name, status=status, last_seen=seen)
    return Handout(
        alert=alert, target=target, head=Text.of(f'{{"id":"{alert_id}","name":"{name}"'.encode()), lists=NOTHING
    )


def put(store: Store, *items: Handout) -> None:
    with store.writing() as tx:
        tx.handouts.put(items)


def listed(
    store: Store, target: str = "north", *, asked: Asked = NEW, repeat_for: timedelta = timedelta(), limit: int = 1000
) -> list[Out]:
    with store.reading() as tx:
        ids = tx.handouts.listed(target, asked, repeat_for=repeat_for, limit=limit)
        return tx.handouts.by_id(target, Asked(), ids)


def deliver(store: Store, outs: list[Out]) -> None:
    with store.writing() as tx:
        tx.handouts.delivered(outs)


async def test_each_target_is_shown_its_own(database_url: str) -> None:
    async with opened(database_url) as store:
        put(store, an_item("a"), an_item("b", "south"))

        assert [out.alert_id for out in listed(store)] == ["a"]
        assert [out.alert_id for out in listed(store, "south")] == ["b"]


async def test_an_alert_that_was_not_fetched_yet_is_no_open_one(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            snapshot = AlertSnapshot(alert=an_item("a").alert)
            shown = Shown(snapshot=snapshot, shape=Shape.LISTING, digest=None, contents=Contents())
            tx.alerts.save([shown], now=tx.now, sweep=0)
            link = replace(a_link(alert_id=AlertId("a"), target="north"), state=Offered())
            tx.links.add([link], now=tx.now)
        put(store, an_item("a"))
        before = states(store)
        deliver(store, listed(store))

        assert before == (AlertState.PENDING, {AlertState.PENDING: 1}, 1, True)
        assert states(store) == (AlertState.OPEN, {AlertState.OPEN: 1}, 0, False)


def states(store: Store) -> tuple[AlertState | None, dict[AlertState, int], int | None, bool]:
    """Return an alert's state, the counts, how many a search for waiting ones finds, and whether its IRP lacks it."""
    with store.reading() as tx:
        counts = {state: count for state, count in tx.overview.counts().items() if count}
        pending = tx.search.page(search.Asked(filter=search.Filter(state=AlertState.PENDING)))
        return tx.overview.state(AlertId("a")), counts, len(pending.rows), tx.handouts.handed_out(AlertId("a")).lacks


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


async def test_a_wanted_name_is_found_behind_any_number_of_others(database_url: str) -> None:
    async with opened(database_url) as store:
        put(store, *(an_item(f"a-{number:03}") for number in range(30)), an_item("z", name="ransom"))
        wanted = Asked(statuses=frozenset({"new"}), name=Expression("RANSOM", ignore_case=True))

        assert [out.alert_id for out in listed(store, asked=wanted, limit=10)] == ["z"]


@pytest.mark.parametrize("status", ["assigned", "escalated", "", "of a later version"])
async def test_alert_that_left_new_before_anybody_asked_is_shown_once(sqlite_url: str, status: str) -> None:
    async with opened(sqlite_url) as store:
        put(store, an_item("a"))
        put(store, an_item("a", status=status), an_item("b", status="closed"))

        shown = listed(store)
        deliver(store, shown)

        assert [out.alert_id for out in shown] == ["a"]
        assert listed(store) == []


async def test_alert_whose_time_is_not_known_is_not_hidden_by_times_asked_for(database_url: str) -> None:
    async with opened(database_url) as store:
        put(store, an_item("a", seen=None), an_item("b"))
        since, until = Asked(since=AT + timedelta(days=1)), Asked(until=AT - timedelta(days=1))

        assert [out.alert_id for out in listed(store, asked=since)] == ["a"]
        assert [out.alert_id for out in listed(store, asked=until)] == ["a"]


async def test_every_listing_goes_by_its_own_times_tenants_and_statuses(database_url: str) -> None:
    """Its statement is built once for queries of one kind: no value of an earlier query may stay in it."""
    early, late = AT - timedelta(days=1), AT + timedelta(days=1)
    async with opened(database_url) as store:
        put(store, an_item("early", seen=early), an_item("now", status="assigned"), an_item("late", seen=late))
        everything = listed(store, asked=Asked())
        found = {
            "from": [out.alert_id for out in listed(store, asked=Asked(since=AT))],
            "to": [out.alert_id for out in listed(store, asked=Asked(until=AT))],
            "later": [out.alert_id for out in listed(store, asked=Asked(since=late))],
            "assigned": [out.alert_id for out in listed(store, asked=Asked(statuses=frozenset({"assigned"})))],
            "nobody": [out.alert_id for out in listed(store, asked=Asked(tenants=frozenset({"nobody"})))],
            "one": [out.alert_id for out in listed(store, limit=1)],
        }
        deliver(store, everything)
        repeated = [out.alert_id for out in listed(store, asked=Asked(since=AT), repeat_for=timedelta(hours=1))]

    assert [out.alert_id for out in everything] == ["late", "now", "early"]
    assert found == {
        "from": ["late", "now"],
        "to": ["now", "early"],
        "later": ["late"],
        "assigned": ["now"],
        "nobody": [],
        "one": ["early"],
    }
    assert repeated == ["late", "now"]


async def test_repeats_end_although_the_clock_was_set_back(sqlite_url: str) -> None:
    clock = Clock()
    async with opened(sqlite_url, clock=clock) as store:
        put(store, an_item("a"))
        deliver(store, listed(store))
        quarter = timedelta(minutes=15)
        repeated = len(listed(store, repeat_for=quarter))
        clock.advance(days=-1)

        assert (repeated, listed(store, repeat_for=quarter)) == (1, [])
        clock.advance(days=1, minutes=14)
        assert len(listed(store, repeat_for=quarter)) == 1
        clock.advance(minutes=1)
        assert listed(store, repeat_for=quarter) == []


async def test_pages_are_kept_until_their_listing_is_made_anew(database_url: str) -> None:
    many = [AlertId(f"a-{number}") for number in range(600)]
    third = replace(NEW, page=3, with_events=True)
    async with opened(database_url) as store:
        with store.writing() as tx:
            tx.handout_pages.keep("north", NEW, many)
        with store.writing() as tx:
            found = tx.handout_pages.page("north", third), tx.handout_pages.page("north", replace(NEW, page=4))
            other = (
                tx.handout_pages.page("south", third),
                tx.handout_pages.page("north", replace(third, statuses=frozenset())),
            )
            tx.handout_pages.keep("north", NEW, many[:250])
            after = tx.handout_pages.page("north", third), tx.handout_pages.kept("north", NEW)

    assert found == (many[500:], [])
    assert other == (None, None)
    assert after == (None, False)


async def test_pages_are_kept_for_ten_minutes(sqlite_url: str) -> None:
    clock = Clock()
    async with opened(sqlite_url, clock=clock) as store:
        with store.writing() as tx:
            tx.handout_pages.keep("north", NEW, [AlertId(str(number)) for number in range(251)])
        second = replace(NEW, page=2)
        clock.advance(seconds=599)
        with store.writing() as tx:
            tx.handouts.sweep()
            tx.handout_pages.sweep()
            before = tx.handout_pages.page("north", second)
        clock.advance(seconds=2)
        with store.writing() as tx:
            after = tx.handout_pages.page("north", second)
            tx.handouts.sweep()
            tx.handout_pages.sweep()

            assert (before, after, tx.handout_pages.kept("north", NEW)) == (["250"], None, False)
