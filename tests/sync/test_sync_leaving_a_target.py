"""What leaves a target that is no longer configured, and what stays with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from builders import NOW, an_alert, seen
from stores import opened

from kuma_sync.core.alert import AlertId, first_snapshot
from kuma_sync.core.comparison import Rejected
from kuma_sync.core.handout import Asked
from kuma_sync.core.incident import Incident, Origin
from kuma_sync.core.link import (
    BeingMade,
    Closing,
    DeliveredState,
    Doubt,
    Dropped,
    Ignored,
    InKuma,
    Intent,
    Link,
    Linked,
    NotMade,
    Offered,
    Sought,
    State,
)
from kuma_sync.core.privacy import Privacy
from kuma_sync.core.routing import IGNORE, NO_ROUTE, Route, Routing
from kuma_sync.kuma.parse import parse_alert
from kuma_sync.store import Lane, Put, Shape, Shown, Tx
from kuma_sync.store.handouts import Handout, Text
from kuma_sync.store.targets import Remaining
from kuma_sync.sync import operator

A = AlertId("a")
MADE = Linked(incident=Incident(id="17"))
LOOKED_FOR = Sought(doubt=Doubt.UNKNOWN)
IN_KUMA = Closing(origin=Origin.KUMA, reason="responded", alert=InKuma.CLOSED)
IN_IRP = Closing(origin=Origin.IRP, incident=True)
ORDERED = Closing(origin=Origin.OPERATOR, reason="responded")
HELD = replace(IN_KUMA, alert=InKuma.HELD)
THERE, GOES = "north", "irp"


def of_north(state: State = MADE, **given: Any) -> Link:
    return Link(alert_id=A, target=THERE, state=state, **given)


def known(tx: Tx, *links: Link, jobs: str = "") -> None:
    """Store alerts with their links, and a job of each: pending or parked."""
    snapshots = [first_snapshot(seen(id=link.alert_id)) for link in links]
    tx.alerts.save([Shown(snapshot=one, shape=Shape.CONTENTS, digest=None) for one in snapshots], now=NOW, sweep=0)
    tx.links.add(links, now=NOW)
    if jobs:
        tx.delivery.put([Put(subject=link.alert_id, lane=Lane.UPDATE, target=link.target) for link in links])
    if jobs == "parked":
        for claim in tx.delivery.claim(9, owner="o", lease=timedelta(minutes=1), target=THERE):
            tx.delivery.park(claim, "why")


@pytest.mark.parametrize(
    ("before", "jobs", "after", "queued"),
    [
        (of_north(), "", Link(alert_id=A, state=LOOKED_FOR), [GOES]),
        (of_north(NotMade()), "parked", Link(alert_id=A, state=LOOKED_FOR), [GOES]),
        (
            of_north(BeingMade(intent=Intent(sent=DeliveredState(), at=NOW))),
            "pending",
            Link(alert_id=A, state=LOOKED_FOR),
            [GOES],
        ),
        (
            of_north(NotMade(), closing=IN_KUMA),
            "pending",
            Link(alert_id=A, state=LOOKED_FOR, closing=IN_KUMA),
            [GOES],
        ),
        (of_north(NotMade(held=True)), "", Link(alert_id=A, state=replace(LOOKED_FOR, held=True)), []),
        (of_north(closing=HELD), "", Link(alert_id=A, state=LOOKED_FOR, closing=HELD), [GOES]),
        (of_north(closing=ORDERED), "", Link(alert_id=A, state=LOOKED_FOR, closing=ORDERED), [GOES]),
        (of_north(closing=IN_IRP), "", of_north(closing=IN_IRP), []),
        (of_north(closing=IN_IRP), "parked", of_north(closing=IN_IRP), []),
        (
            of_north(closing=replace(HELD, incident=True)),
            "",
            of_north(closing=replace(IN_KUMA, incident=True)),
            [],
        ),
        (of_north(closing=IN_KUMA), "", of_north(closing=IN_KUMA), []),
        (of_north(gone=True), "", of_north(gone=True), []),
        (of_north(Dropped(was=MADE)), "", Link(alert_id=A, state=Dropped(was=LOOKED_FOR)), []),
        (
            of_north(Ignored(missed=True)),
            "",
            Link(alert_id=A, state=Ignored(missed=True, unknown=True)),
            [],
        ),
    ],
    ids=[
        *("open", "parked", "being made", "closed unmade", "held create", "held close", "ordered", "closed there"),
        *("closed there with a job", "closed there and held", "closed both", "gone", "dropped", "missed"),
    ],
)
async def test_what_is_open_or_queued_leaves_and_what_is_settled_stays(
    database_url: str, before: Link, jobs: str, after: Link, queued: list[str]
) -> None:
    async with opened(database_url) as store:
        await store.write(lambda tx: known(tx, before, jobs=jobs))
        await store.write(lambda tx: operator.leave_target(tx, THERE, routing=Routing(), by="me"))
        link, rows, left = await store.read(lambda tx: (tx.links.get(A), tx.delivery.jobs(), tx.targets.left()))

    assert link == after
    assert [job.target for job in rows] == queued
    assert THERE not in left


async def test_a_closed_alert_that_its_polling_irp_was_never_shown_leaves(
    database_url: str,
) -> None:
    over = of_north(Offered(closed=True), closing=replace(IN_KUMA, incident=True))
    async with opened(database_url) as store:

        def put_out(tx: Tx) -> None:
            known(tx, over)
            tx.handouts.put([Handout(alert=an_alert(id=A), target=THERE, head=Text.of(b"{}"))])

        await store.write(put_out)
        before = await store.read(lambda tx: tx.targets.left())
        moved = await store.write(lambda tx: operator.leave_target(tx, THERE, routing=Routing(), by="me"))
        link, shown = await store.read(lambda tx: (tx.links.get(A), tx.handouts.unshown(THERE)))

    assert before == {THERE: Remaining(links=1)}
    assert moved == {GOES: 1}
    assert link == Link(alert_id=A, state=LOOKED_FOR, closing=IN_KUMA)
    assert shown == set()


async def test_a_closed_alert_that_was_shown_before_it_was_closed_stays(sqlite_url: str) -> None:
    over = of_north(Offered(closed=True), closing=replace(IN_KUMA, incident=True))
    async with opened(sqlite_url) as store:

        def hand_out(tx: Tx) -> None:
            known(tx, over)
            tx.handouts.put([Handout(alert=an_alert(id=A), target=THERE, head=Text.of(b"{}"))])
            tx.handouts.delivered(tx.handouts.by_id(THERE, Asked(), [A]))
            tx.handouts.put([Handout(alert=an_alert(id=A, status="closed"), target=THERE, head=Text.of(b'{"x":1}'))])

        await store.write(hand_out)
        left = await store.read(lambda tx: tx.targets.left())
        moved = await store.write(lambda tx: operator.leave_target(tx, THERE, routing=Routing(), by="me"))

    assert (left, moved) == ({}, {})


async def test_a_job_of_an_alert_that_has_another_target_goes_there(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:

        def stray(tx: Tx) -> None:
            known(tx, Link(alert_id=A, state=MADE))
            tx.delivery.put([Put(subject=one, lane=Lane.UPDATE, target=THERE) for one in ("a", "unknown")])

        await store.write(stray)
        await store.write(lambda tx: operator.leave_target(tx, THERE, routing=Routing(), by="me"))
        link, rows = await store.read(lambda tx: (tx.links.get(A), tx.delivery.jobs()))

    assert link == Link(alert_id=A, state=MADE)
    assert [(job.subject, job.target) for job in rows] == [("a", GOES)]


async def test_the_history_names_the_incident_that_stays_where_it_is(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        await store.write(lambda tx: known(tx, of_north()))
        await store.write(lambda tx: operator.leave_target(tx, THERE, routing=Routing(default=NO_ROUTE), by="me"))
        (line,) = await store.read(lambda tx: tx.audit.history(A))

    assert (line.action, line.detail) == ("routed", "from north to no target; incident 17 stays there")


async def test_a_full_update_is_not_ordered_for_what_stayed_with_a_removed_target(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        await store.write(lambda tx: (known(tx, of_north(closing=IN_IRP)), tx.targets.know(["irp"])))
        before = await store.write(lambda tx: operator.resync(tx, [A], by="me"))
        await store.write(lambda tx: tx.targets.know([THERE]))
        after = await store.write(lambda tx: operator.resync(tx, [A], by="me"))

    assert (before, after) == ([], [A])


@pytest.mark.parametrize(
    ("target", "state", "queued"),
    [(THERE, LOOKED_FOR, [THERE]), (IGNORE, Ignored(unknown=True), []), (NO_ROUTE, LOOKED_FOR, [])],
)
async def test_a_parked_piece_that_is_an_alert_goes_where_the_routes_say(
    sqlite_url: str, target: str, state: State, queued: list[str]
) -> None:
    routing = Routing(routes=[Route(target=target)])
    link, rows = await _read_again(sqlite_url, routing)

    assert link == Link(alert_id=A, target=target, state=state)
    assert [job.target for job in rows] == queued


async def test_a_parked_piece_of_a_known_alert_goes_to_the_target_that_has_it(sqlite_url: str) -> None:
    link, rows = await _read_again(sqlite_url, Routing(), of_north())

    assert link == of_north()
    assert [job.target for job in rows] == [THERE]


async def _read_again(url: str, routing: Routing, *links: Link) -> tuple[Link | None, list[Any]]:
    piece = Rejected(digest="d", reason="why", raw=b'{"id": "a", "name": "n", "status": "new"}')
    async with opened(url) as store:
        await store.write(lambda tx: (known(tx, *links), tx.rejects.park([piece])))
        whole = partial(parse_alert, with_events=True, max_events=0, privacy=Privacy())
        assert operator.read_again(store, "d", routing=routing, by="me", parse=whole)
        return await store.read(lambda tx: (tx.links.get(A), tx.delivery.jobs()))
