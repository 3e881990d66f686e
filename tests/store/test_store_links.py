"""Links: every field comes back, and what two change at once is kept from both."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from builders import ALERT_ID, NOW, a_link, an_incident
from stores import opened

from kuma_sync.core.alert import AlertId, Fingerprint, event_digest
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import (
    BeingMade,
    Closing,
    DeliveredState,
    Doubt,
    Doubted,
    Dropped,
    Ignored,
    InKuma,
    Intent,
    Link,
    Linked,
    Live,
    NotMade,
    Offered,
    Sought,
    State,
)
from kuma_sync.core.transitions import alert_closed
from kuma_sync.store import Store, Tx
from kuma_sync.store.locks import lock

B = AlertId("b")
DIGESTS = frozenset(event_digest({"ID": each}) for each in ("e1", "e2", "e3"))

SENT = DeliveredState(
    fingerprint=Fingerprint("1:sent"),
    fields={"title": "t", "описание": "d"},
    events=DIGESTS,
    ours={"title": frozenset({"t", "older"})},
    theirs=frozenset({"описание"}),
)
INTENT = Intent(
    sent=DeliveredState(
        fingerprint=Fingerprint("1:intent"),
        fields={"title": "i"},
        events=frozenset(list(DIGESTS)[:1]),
        ours={"title": frozenset({"i"})},
    ),
    at=datetime(2026, 1, 15, 12, 0, 0, 123456, tzinfo=UTC),
    unidentified=True,
)
LOOKED = datetime(2026, 1, 15, 12, 0, 5, 654321, tzinfo=UTC)
CARRIED = frozenset({"title", "описание"})
KNOWN = an_incident(number="ИНЦ-7")

FULL = Link(
    alert_id=ALERT_ID,
    target="north",
    state=Doubted(incident=KNOWN, doubt=Doubt.UNCLOSED, sent=SENT, not_found_at=LOOKED),
    closing=Closing(
        origin=Origin.OPERATOR,
        reason="incorrect correlation rule",
        comment="Ложное срабатывание\n«ok»",
        alert=InKuma.HELD,
        incident=True,
        commented=True,
    ),
    gone=True,
    spent_until=datetime(2026, 1, 15, 12, 10, 0, 1, tzinfo=UTC),
    unresolved_at=datetime(2026, 1, 15, 12, 11, 0, 7, tzinfo=UTC),
    owed=("kuma-sync: created, with 3 events", "kuma-sync: 2 events added"),
)
LIVE: tuple[Live | Ignored, ...] = (
    NotMade(),
    NotMade(held=True, carried=CARRIED),
    Sought(doubt=Doubt.UNKNOWN),
    Sought(doubt=Doubt.DUPLICATE, carried=CARRIED, not_found_at=LOOKED),
    Sought(doubt=Doubt.RESYNC, held=True),
    BeingMade(intent=INTENT),
    BeingMade(intent=INTENT, resync=True, carried=CARRIED, not_found_at=LOOKED),
    Doubted(incident=KNOWN, doubt=Doubt.MISSING, sent=SENT, not_found_at=LOOKED),
    Doubted(incident=KNOWN, doubt=Doubt.UNCLOSED),
    Doubted(incident=KNOWN, doubt=Doubt.UNSHOWN, sent=SENT),
    Doubted(incident=KNOWN, doubt=Doubt.RESYNC),
    Linked(incident=KNOWN),
    Linked(incident=KNOWN, sent=SENT),
    *(Offered(incident=known, sent=SENT, closed=closed) for known in (None, KNOWN) for closed in (False, True)),
    *(Ignored(missed=missed, unknown=unknown) for missed in (False, True) for unknown in (False, True)),
)
STATES: tuple[State, ...] = (*LIVE, *(Dropped(was=state) for state in LIVE))


async def add(store: Store, *links: Link) -> None:
    with store.writing() as tx:
        tx.links.add(links, now=tx.now)


async def get(store: Store, alert_id: AlertId = ALERT_ID) -> Link | None:
    with store.reading() as tx:
        return tx.links.get(alert_id)


def test_the_full_link_leaves_no_field_at_its_default() -> None:
    bare = a_link()

    assert [each.name for each in fields(Link) if getattr(FULL, each.name) == getattr(bare, each.name)] == ["alert_id"]


@pytest.mark.parametrize("link", [FULL, a_link()], ids=["full", "bare"])
async def test_a_link_comes_back_as_it_was_added(database_url: str, link: Link) -> None:
    async with opened(database_url) as store:
        await add(store, link)

        assert await get(store) == link


@pytest.mark.parametrize("state", STATES, ids=[f"{number} {type(each).__name__}" for number, each in enumerate(STATES)])
async def test_every_state_is_remembered(sqlite_url: str, state: State) -> None:
    async with opened(sqlite_url) as store:
        await add(store, Link(alert_id=ALERT_ID, state=state))

        assert await get(store) == Link(alert_id=ALERT_ID, state=state)


@pytest.mark.parametrize("origin", list(Origin))
@pytest.mark.parametrize("alert", list(InKuma))
@pytest.mark.parametrize("incident", [False, True])
async def test_every_closing_is_remembered(sqlite_url: str, origin: Origin, alert: InKuma, incident: bool) -> None:
    closing = Closing(origin=origin, alert=alert, incident=incident)
    link = Link(alert_id=ALERT_ID, state=Linked(incident=KNOWN), closing=closing)
    async with opened(sqlite_url) as store:
        await add(store, link)

        assert await get(store) == link


async def test_every_field_can_be_set_and_cleared_by_a_change(database_url: str) -> None:
    async with opened(database_url) as store:
        await add(store, a_link())
        with store.writing() as tx:
            told = tx.links.change(ALERT_ID, lambda _link: FULL, now=tx.now)
        full = await get(store)
        with store.writing() as tx:
            tx.links.change(ALERT_ID, lambda _link: a_link(), now=tx.now)

        assert (told, full, await get(store)) == (FULL, FULL, a_link())


async def test_changing_a_link_that_is_not_there_changes_nothing(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            assert tx.links.change(B, lambda link: replace(link, gone=True), now=tx.now) is None
            assert tx.links.get(B) is None


async def test_adding_never_overwrites(database_url: str) -> None:
    async with opened(database_url) as store:
        await add(store, FULL)
        await add(store, a_link(), a_link(alert_id=B))

        assert await get(store) == FULL
        assert await get(store, B) == a_link(alert_id=B)


async def test_two_changes_of_different_fields_at_once_are_both_kept(database_url: str) -> None:
    """The second must wait for the first and see what it wrote; on a file, BEGIN IMMEDIATE does the same."""
    async with opened(database_url) as one, opened(database_url) as other:
        await add(one, a_link())

        def second(tx: Tx) -> None:
            tx.links.change(ALERT_ID, partial(alert_closed, origin=Origin.KUMA, held=True), now=tx.now)

        async with asyncio.TaskGroup() as group:
            with one.writing() as tx:
                link = lock(tx, links=[ALERT_ID]).links[ALERT_ID]
                waiting = group.create_task(other.write(second))
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(waiting), 0.2)
                tx.links.save(replace(link, unresolved_at=NOW), now=tx.now)

        assert await get(one) == a_link(unresolved_at=NOW, alert_closed=True, held_close=True)


async def test_only_news_of_a_gone_alert_is_told(database_url: str) -> None:
    async with opened(database_url) as store:
        await add(store, a_link(), a_link(alert_id=B, gone=True))

        with store.writing() as tx:
            first = tx.links.mark_gone([ALERT_ID, B, AlertId("unknown")], now=NOW)
            second = tx.links.mark_gone([ALERT_ID, B], now=NOW)

        assert (first, second) == ([ALERT_ID], [])
        assert await get(store) == a_link(gone=True)


async def test_incidents_lead_to_their_alerts(database_url: str) -> None:
    async with opened(database_url) as store:
        await add(store, FULL, a_link(alert_id=B))

        with store.reading() as tx:
            found = tx.links.by_incident([an_incident().id, "unknown"], target=FULL.target)
            elsewhere = tx.links.by_incident([an_incident().id])
            many = tx.links.many([ALERT_ID, B, AlertId("unknown")])

        assert (found, elsewhere) == ({an_incident().id: ALERT_ID}, {})
        assert many == {ALERT_ID: FULL, B: a_link(alert_id=B)}


async def test_what_the_brake_marked_what_is_open_and_what_is_not_given_up(database_url: str) -> None:
    marks: dict[str, dict[str, Any]] = {
        "alert closed": {"alert_closed": True},
        "dropped": {"dropped": True},
        "gone": {"gone": True},
        "held close": {"alert_closed": True, "held_close": True},
        "held create": {"held_create": True},
        "ignored": {"ignored": True},
        "incident closed": {"incident": an_incident(), "incident_closed": True},
        "open": {},
    }
    async with opened(database_url) as store:
        await add(store, *(a_link(alert_id=AlertId(each), **flags) for each, flags in marks.items()))

        with store.reading() as tx:
            held, count, all_ids = tx.links.held(), tx.links.open_count(), tx.links.all_ids()

        assert held == ["held close", "held create"]
        assert count == 3
        assert all_ids == sorted(marks.keys() - {"dropped", "ignored"})


async def test_links_are_known_in_every_spelling_and_the_exact_one_wins(database_url: str) -> None:
    capitals, odd = AlertId(ALERT_ID.upper()), AlertId("Odd")
    async with opened(database_url) as store:
        await add(store, a_link(), a_link(alert_id=odd))
        with store.reading() as tx:
            alone = tx.links.stored_as([ALERT_ID, capitals, f"{{{capitals}}}", "ODD", "odd", "unknown"])
        await add(store, a_link(alert_id=capitals))
        with store.reading() as tx:
            both = tx.links.stored_as([ALERT_ID, capitals])

    # KUMA's ids are UUIDs: of what is none, small letters and capitals are tried, and no mixture of them.
    assert alone == {ALERT_ID: ALERT_ID, capitals: ALERT_ID, f"{{{capitals}}}": ALERT_ID}
    assert both == {ALERT_ID: ALERT_ID, capitals: capitals}


async def test_incidents_lead_to_their_alerts_in_every_spelling_of_a_uuid_alone(database_url: str) -> None:
    uuid = "1d0c0000-0000-4000-8000-0000000000aa"
    async with opened(database_url) as store:
        await add(store, a_link(incident=an_incident(id=uuid)), a_link(alert_id=B, incident=an_incident(id="x7Q")))

        with store.reading() as tx:
            found = tx.links.by_incident([uuid.upper(), f"{{{uuid}}}", "X7q", "x7Q"])

    assert found == {uuid.upper(): ALERT_ID, f"{{{uuid}}}": ALERT_ID, "x7Q": B}


async def test_links_whose_resolution_is_awaited_are_told_unless_they_are_in_doubt(database_url: str) -> None:
    async with opened(database_url) as store:
        waiting = a_link(alert_id=B, unresolved_at=NOW)
        doubted = a_link(alert_id=AlertId("c"), unresolved_at=NOW, doubt=Doubt.UNKNOWN)
        await add(store, a_link(), waiting, doubted)

        with store.reading() as tx:
            found = tx.links.unresolved()

    assert found == [B]
