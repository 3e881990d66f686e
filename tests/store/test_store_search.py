"""Alerts by filters, sorted, page by page in both directions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from builders import NOW, a_link, an_alert, an_event, an_incident
from stores import opened

from kuma_sync.core.alert import AlertId, AlertSnapshot, Contents, take_contents
from kuma_sync.store import Lane, Put, Shape, Shown, Store, Tx
from kuma_sync.store.read_models.overview import AlertState
from kuma_sync.store.read_models.search import PRIORITIES, Asked, Filter, Page, Patience, Search, Sort

MALICIOUS = "<script>alert(1)</script> \u202e%s'; DROP TABLE alerts;-- \x1b[31m"


def keep(tx: Tx, alert_id: str, *, link: dict[str, Any] | None = None, host: str = "", **fields: Any) -> None:
    events = [an_event(SourceHostName=host, DestinationUserName="Иванов")] if host else []
    contents = take_contents(events, assets=(), accounts=(), max_events=0) if host else Contents()
    snapshot = AlertSnapshot(alert=an_alert(id=AlertId(alert_id), **fields))
    shown = Shown(snapshot=snapshot, shape=Shape.CONTENTS, digest=None, contents=contents)
    tx.alerts.save([shown], now=tx.now, sweep=0)
    tx.links.add([a_link(alert_id=AlertId(alert_id), **(link or {}))], now=tx.now)


def park(tx: Tx, alert_id: str) -> None:
    tx.delivery.put([Put(subject=alert_id, lane=Lane.CREATE)])
    (claim,) = tx.delivery.claim(1, owner="w", lease=timedelta(seconds=60))
    tx.delivery.park(claim, "422")


def page(store: Store, **asked: Any) -> Page:
    names = Filter.__dataclass_fields__
    wanted = Filter(**{name: value for name, value in asked.items() if name in names})
    rest = {name: value for name, value in asked.items() if name not in names}
    patience = rest.pop("patience", Patience())
    with store.engine.connect() as connection:
        return Search(connection, patience).page(Asked(filter=wanted, **rest))


def ids(found: Page) -> list[str]:
    return [row.alert_id for row in found.rows]


def found(store: Store, **asked: Any) -> list[str]:
    """Return the ids of all pages, having gone through them forwards and back."""
    pages, after = list[list[str]](), ""
    while True:
        answer = page(store, after=after, **asked)
        pages.append(ids(answer))
        assert bool(answer.previous) == bool(after) or not answer.rows
        last, after = answer, answer.next or ""
        if not after:
            break
    back = [pages[-1]]
    before = last.previous or ""
    while before:
        answer = page(store, before=before, **asked)
        back.append(ids(answer))
        before = answer.previous or ""
    forwards = list(itertools.chain(*pages))
    assert list(itertools.chain(*back[::-1])) == forwards
    return forwards


def a_day(tx: Tx) -> None:
    """Store alerts of every state, some with the same lastSeen, one without."""
    moments: Sequence[datetime | None] = [NOW, NOW, NOW - timedelta(hours=1), None, NOW - timedelta(days=2)]
    for number in range(20):
        keep(
            tx,
            f"a{number:02}",
            name=f"Rule {number % 7}",
            priority=[*PRIORITIES, ""][number % 5],
            last_seen=moments[number % 5],
            first_seen=NOW - timedelta(days=number % 6),
            tenant_name=["North", "South"][number % 2],
            link=[
                {},
                {"held_create": True},
                {"ignored": True, "missed": True},
                {"dropped": True},
                {"alert_closed": True, "close_origin": "kuma"},
                {"gone": True},
                {"target": ""},
                {"incident": an_incident(id=f"i{number}", number=f"INC-{number}")},
            ][number % 8],
        )
    park(tx, "a00")
    tx.closes.put([Put(subject="a15", lane=Lane.CLOSE)])


async def test_an_empty_store_has_an_empty_page(database_url: str) -> None:
    async with opened(database_url) as store:
        for sort in Sort:
            assert page(store, sort=sort) == Page(rows=[], next=None, previous=None, total=0)


@pytest.mark.parametrize("sort", list(Sort))
@pytest.mark.parametrize("descending", [True, False])
async def test_every_alert_comes_once_in_order_page_by_page(database_url: str, sort: Sort, descending: bool) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            a_day(tx)
        with store.reading() as tx:
            rows = {row.alert_id: row for row in tx.overview.rows()}

        names = found(store, sort=sort, descending=descending, limit=3)

    assert sorted(names) == sorted(rows)
    keys: list[Any]
    match sort:
        case Sort.LAST_SEEN:
            keys = [rows[name].last_seen for name in names if rows[name].last_seen]
            assert [rows[name].last_seen for name in names[-4:]] == [None] * 4
        case Sort.FIRST_SEEN:
            keys = [rows[name].first_seen for name in names]
        case Sort.NAME:
            keys = [rows[name].name for name in names]
        case Sort.PRIORITY:
            keys = [-[*PRIORITIES, ""].index(rows[name].priority) for name in names]
        case Sort.STATE:
            keys = [-list(AlertState).index(rows[name].state) for name in names]
    assert keys == sorted(keys, reverse=descending)


@pytest.mark.parametrize("state", list(AlertState))
@pytest.mark.parametrize("few", [0, 5_000])
async def test_a_state_is_filtered_as_it_is_counted(database_url: str, state: AlertState, few: int) -> None:
    patience = Patience(few=few)
    async with opened(database_url) as store:
        with store.writing() as tx:
            a_day(tx)
        with store.reading() as tx:
            expected = {row.alert_id for row in tx.overview.rows() if row.state is state}

        names = found(store, state=state, limit=2, patience=patience)

        assert expected
        assert set(names) == expected
        assert sorted(found(store, state=state, sort=Sort.PRIORITY, patience=patience)) == sorted(expected)
        assert page(store, state=state, patience=patience).total == len(expected)


async def test_filters_go_together(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            a_day(tx)
            keep(tx, "n", link={"target": "north"}, name="n", tenant_id="t-1")

        assert ids(page(store, target="north")) == ["n"]
        assert ids(page(store, tenant="t-1")) == ["n"]
        assert set(found(store, tenant="North")) == {f"a{number:02}" for number in range(0, 20, 2)}
        assert found(store, tenant="North", priority="critical", limit=1) == ["a10", "a00"]
        assert found(store, since=NOW - timedelta(hours=2), until=NOW) == ["a17", "a12", "a07", "a02"]
        assert found(store, until=NOW - timedelta(days=1), sort=Sort.NAME) == ["a19", "a04", "a09", "a14"]
        assert found(store, tenant="nobody") == []


@pytest.mark.parametrize(
    "text",
    [
        "WS-17",
        "иванов",
        "Подбор  ws-17",
        "a1b2c3d4-0000-4000-8000-00000000000A",
        "a1b2c3d4",
        "I7",
        "inc-7",
        "INC-7",
        "C3D4-0000",
        "ws-17 3d4-00",
    ],
)
async def test_an_alert_is_found_by_name_host_user_id_and_incident(database_url: str, text: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            a_day(tx)
            incident = an_incident(id="I7", number="INC-7")
            for row in ("a07",):
                tx.links.save(a_link(alert_id=AlertId(row)), now=tx.now)
            keep(
                tx,
                "a1b2c3d4-0000-4000-8000-00000000000a",
                name="ПОДБОР",
                host="ws-17.corp",
                link={"incident": incident},
            )

        answer = page(store, text=text)

        assert ids(answer) == ["a1b2c3d4-0000-4000-8000-00000000000a"]
        assert answer.total == 1


@pytest.mark.parametrize(
    "text", [MALICIOUS, "script", "%", "_", "'", "\\", "\x00", "DROP", "*", "?", "[", "[x]", "x]*?"]
)
async def test_text_is_looked_for_as_it_is(database_url: str, text: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            keep(tx, "plain", name="plain")
            keep(tx, "bad", name=MALICIOUS + " _ \\ \x00 [x]*?")

        assert ids(page(store, text=text)) == ["bad"]
        assert page(store, text="bad nothing").rows == []


async def test_a_listing_keeps_the_words_that_the_contents_gave(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            keep(tx, "a", name="first", host="ws-17")
            snapshot = AlertSnapshot(alert=an_alert(id=AlertId("a"), name="first", status="escalated"))
            tx.alerts.save([Shown(snapshot=snapshot, shape=Shape.LISTING, digest=None)], now=tx.now, sweep=0)

        assert ids(page(store, text="ws-17")) == ["a"]


async def test_a_walk_that_takes_long_breaks_off_and_goes_on_where_it_was(database_url: str) -> None:
    patience = Patience(rows=(2, 3))
    async with opened(database_url) as store:
        with store.writing() as tx:
            a_day(tx)

        first = page(store, tenant="North", priority="low", patience=patience)
        names = found(store, tenant="North", priority="low", limit=3, patience=patience)

        assert first.partial
        assert first.total is None
        assert (len(names), len(set(names))) == (2, 2)


async def test_what_comes_while_one_turns_pages_moves_no_row(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            for number in range(6):
                keep(tx, f"a{number}", last_seen=NOW - timedelta(minutes=number))
        first = page(store, limit=3)
        with store.writing() as tx:
            keep(tx, "newer", last_seen=NOW + timedelta(minutes=1))

        second = page(store, limit=3, after=first.next)
        back = page(store, limit=3, before=second.previous)

        assert (ids(first), ids(second), ids(back)) == (["a0", "a1", "a2"], ["a3", "a4", "a5"], ["a0", "a1", "a2"])
        assert ids(page(store, limit=3, before=back.previous)) == ["newer"]


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "W10",
        "WzUwLCJzIiwieCIsImEiXQ",
        "WzAsInQiLCJ4IiwiYSJd",
        "WzAsICJzIiwgIngiLCAiYSJd",
        "ß",
        "W1tb" * 9999,
    ],
    ids=lambda text: text[:20],
)
async def test_a_position_that_is_none_is_refused(database_url: str, text: str) -> None:
    async with opened(database_url) as store:
        with pytest.raises(ValueError, match="not a position in"):
            page(store, after=text)
