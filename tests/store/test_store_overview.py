"""The store as an operator sees it, and what retention takes away."""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from builders import a_link, an_alert, an_incident
from stores import Clock, opened

from kuma_sync.core.alert import AlertId, AlertSnapshot, Contents
from kuma_sync.core.comparison import Rejected
from kuma_sync.core.link import Link
from kuma_sync.store import Lane, PassRecord, Put, Shape, Shown, Store, Tx
from kuma_sync.store.read_models.overview import AlertState, Row

A = AlertId("a")
LEASE = timedelta(seconds=60)


@dataclass(frozen=True, kw_only=True)
class Case:
    """An alert, its link and its jobs: (queue, state) each."""

    link: dict[str, Any] = field(default_factory=dict)
    jobs: tuple[tuple[str, str], ...] = ()


MARKS: dict[str, Case] = {
    "parked": Case(jobs=(("delivery", "parked"),)),
    "parked closing": Case(jobs=(("closes", "parked"),)),
    "held": Case(link={"held_create": True}),
    "held close": Case(link={"alert_closed": True, "held_close": True}),
    "held closing": Case(jobs=(("closes", "held"),)),
    "ignored": Case(link={"ignored": True}),
    "missed": Case(link={"ignored": True, "missed": True}),
    "dropped": Case(link={"dropped": True}),
    "pending": Case(jobs=(("delivery", "pending"),)),
    "pending in back-off": Case(jobs=(("delivery", "backoff"),)),
    "pending and running": Case(jobs=(("closes", "running"),)),
    "closed": Case(link={"alert_closed": True}),
    "closed incident": Case(link={"incident": an_incident(), "incident_closed": True}),
    "gone": Case(link={"gone": True}),
    "open": Case(),
}
ORDER = ["parked", "held", "missed", "ignored", "pending", "closed", "gone", "open"]
STATE_OF = {
    "parked": "parked",
    "parked closing": "parked",
    "held": "held",
    "held close": "held",
    "held closing": "held",
    "ignored": "ignored",
    "missed": "missed",
    "dropped": "ignored",
    "pending": "pending",
    "pending in back-off": "pending",
    "pending and running": "pending",
    "closed": "closed",
    "closed incident": "closed",
    "gone": "gone",
    "open": "open",
}


def shown(alert_id: str, **fields: Any) -> Shown:
    snapshot = AlertSnapshot(alert=an_alert(id=AlertId(alert_id), **fields))
    return Shown(snapshot=snapshot, shape=Shape.LISTING, digest=None, contents=Contents())


def marked(*cases: Case, **fields: Any) -> Link:
    """Return a link with the marks of these cases; raise ValueError where none can be so."""
    return a_link(**fields, **{name: value for case in cases for name, value in case.link.items()})


def can_be(*cases: Case) -> bool:
    """Tell whether these can stand beside each other."""
    queues = [queue for case in cases for queue, _state in case.jobs]
    with suppress(ValueError):
        return marked(*cases) is not None and len(set(queues)) == len(queues)
    return False


def make(tx: Tx, alert_id: str, *cases: Case) -> None:
    """Store an alert with everything that these cases say about it."""
    tx.alerts.save([shown(alert_id)], now=tx.now, sweep=0)
    tx.links.add([marked(*cases, alert_id=AlertId(alert_id))], now=tx.now)
    for queue_name, state in dict(job for case in reversed(cases) for job in case.jobs).items():
        queue = tx.delivery if queue_name == "delivery" else tx.closes
        queue.put([Put(subject=alert_id, lane=Lane.CLOSE, held=state == "held")])
        if state in {"parked", "running", "backoff"}:
            (claim,) = queue.claim(1, owner="w1", lease=LEASE)
            if state == "parked":
                queue.park(claim, "422")
            elif state == "backoff":
                queue.again(claim, at=tx.now + timedelta(minutes=1), reason="503")


# States


def test_the_states_are_the_contracts_in_its_order() -> None:
    assert list(AlertState) == ORDER


async def test_every_alert_is_in_the_first_state_that_fits(database_url: str) -> None:
    """All marks alone, and all pairs of them that can stand beside each other."""
    expected: dict[str, str] = {}
    async with opened(database_url) as store:
        with store.writing() as tx:
            for names in [*itertools.combinations(MARKS, 1), *itertools.combinations(MARKS, 2)]:
                if not can_be(*(MARKS[name] for name in names)):
                    continue
                alert_id = " + ".join(names)
                expected[alert_id] = min((STATE_OF[name] for name in names), key=ORDER.index)
                make(tx, alert_id, *(MARKS[name] for name in names))
                # Waiting rows of this alert must not be claimed for the next one.
                for queue in (tx.delivery, tx.closes):
                    for claim in queue.claim(9, owner="kept", lease=LEASE):
                        assert claim.subject == alert_id
                        queue.again(claim, at=tx.now + timedelta(minutes=1), counts=False)

        with store.reading() as tx:
            found = {row.alert_id: row.state for row in tx.overview.rows()}
            single = {each: tx.overview.state(AlertId(each)) for each in list(MARKS)}
            counts = tx.overview.counts()

    assert len(expected) > 70
    assert found == expected
    assert single == STATE_OF
    assert counts == {state: list(expected.values()).count(state) for state in ORDER}


async def test_an_unknown_alert_has_no_state_and_an_empty_store_counts_nothing(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.reading() as tx:
            assert tx.overview.state(A) is None
            assert tx.overview.counts() == dict.fromkeys(ORDER, 0)
            assert tx.overview.rows() == []


async def test_rows_come_latest_first_those_without_a_time_last(database_url: str) -> None:
    clock = Clock()
    times: dict[str, datetime | None] = {
        "old": clock.now - timedelta(hours=1),
        "never": None,
        "new": clock.now,
    }
    async with opened(database_url, clock=clock) as store:
        with store.writing() as tx:
            for alert_id, last_seen in times.items():
                tx.alerts.save([shown(alert_id, last_seen=last_seen)], now=tx.now, sweep=0)
                tx.links.add([a_link(alert_id=AlertId(alert_id), gone=alert_id != "new")], now=tx.now)

            assert [row.alert_id for row in tx.overview.rows()] == ["new", "old", "never"]
            assert [row.alert_id for row in tx.overview.rows(limit=2)] == ["new", "old"]
            assert [row.alert_id for row in tx.overview.rows(state="gone")] == ["old", "never"]
            assert [row.alert_id for row in tx.overview.rows(state="gone", limit=1)] == ["old"]


async def test_a_row_says_what_is_known_and_why_it_is_parked(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        with store.writing() as tx:
            make(tx, "a", Case(link={"incident": an_incident()}, jobs=(("closes", "parked"),)))

            assert tx.overview.rows() == [
                Row(
                    alert_id=A,
                    target="irp",
                    state="parked",
                    name=an_alert().name,
                    priority="high",
                    status="new",
                    last_seen=an_alert().last_seen,
                    incident_id=an_incident().id,
                    incident_number=an_incident().number,
                    tenant=an_alert().tenant_name,
                    first_seen=an_alert().first_seen,
                    towards="kuma",
                    reason="422",
                )
            ]


# Retention


async def swept(store: Store, sweep: int) -> None:
    """Note that a complete sweep ended, long after everything that was stored."""
    with store.writing() as tx:
        tx.cursor.move(sweep=sweep)


async def prune(store: Store, clock: Clock) -> int:
    with store.writing() as tx:
        found = tx.pruning.alerts(clock.now - timedelta(days=90))
        tx.pruning.records(clock.now - timedelta(days=90), now=clock.now)
    return found.removed


async def left(store: Store) -> list[str]:
    with store.reading() as tx:
        return sorted(row.alert_id for row in tx.overview.rows())


async def test_only_what_is_settled_and_waits_for_nothing_is_pruned(database_url: str) -> None:
    clock = Clock()
    settled = {"closed", "closed incident", "gone", "ignored", "missed", "dropped"}
    async with opened(database_url, clock=clock) as store:
        with store.writing() as tx:
            for name, case in MARKS.items():
                make(tx, name, case)
                if case.jobs or case.link.keys() & {"held_create", "held_close"}:
                    make(tx, f"closed, {name}", MARKS["closed"], case)
                for queue in (tx.delivery, tx.closes):
                    for claim in queue.claim(9, owner="kept", lease=LEASE):
                        queue.again(claim, at=tx.now + timedelta(minutes=1))
        before = await left(store)
        clock.advance(days=91)
        await swept(store, 1)

        removed = await prune(store, clock)

        assert set(before) - set(await left(store)) == settled
        assert removed == len(settled)


async def test_what_was_touched_within_the_retention_stays(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        with store.writing() as tx:
            for alert_id in ("a", "b"):
                make(tx, alert_id, MARKS["closed"])
        clock.advance(days=60)
        with store.writing() as tx:
            tx.links.change(
                A, lambda _link: a_link(alert_id=A, incident=an_incident(), incident_closed=True), now=tx.now
            )
        await swept(store, 1)
        clock.advance(days=31)

        removed = await prune(store, clock)

        assert (removed, await left(store)) == (1, ["a"])


@pytest.mark.parametrize(
    ("shown_by", "completed", "stays"),
    [
        pytest.param(7, 7, True, id="shown by the last complete sweep"),
        pytest.param(8, 7, True, id="shown by the sweep under way"),
        pytest.param(6, 7, False, id="no longer shown"),
        pytest.param(0, 0, True, id="no sweep was complete yet"),
    ],
)
async def test_what_kuma_still_shows_is_not_forgotten_else_it_would_be_born_again(
    database_url: str, shown_by: int, completed: int, stays: bool
) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        with store.writing() as tx:
            make(tx, "a", MARKS["closed incident"])
            if shown_by:
                tx.alerts.mark_shown([A], shown_by)
        clock.advance(days=91)
        await swept(store, completed)

        await prune(store, clock)

        assert await left(store) == (["a"] if stays else [])


async def test_with_an_alert_goes_all_that_belonged_to_it_and_nothing_else(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        with store.writing() as tx:
            for alert_id, case in (("a", MARKS["closed"]), ("b", MARKS["open"])):
                make(tx, alert_id, case)
                tx.audit.note("kuma-sync", "created", alert_id)
        clock.advance(days=91)
        await swept(store, 1)

        await prune(store, clock)

        with store.reading() as tx:
            kept = [
                [tx.alerts.contents(AlertId(each)) is not None for each in "ab"],
                [tx.links.get(AlertId(each)) is not None for each in "ab"],
                [bool(tx.audit.history(each)) for each in "ab"],
                [AlertId(each) in tx.alerts.snapshots([A, AlertId("b")]) for each in "ab"],
            ]
        assert kept == [[False, True]] * 4


async def test_old_records_go_but_the_latest_passes_and_what_waits_for_a_human_stay(
    database_url: str,
) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        with store.writing() as tx:
            for kind in ("sweep", "window", "window"):
                tx.audit.note_pass(PassRecord(kind=kind, started_at=tx.now, seconds=1.0, complete=True))
            tx.rejects.park([Rejected(digest=each, reason="no id", raw=b"{}") for each in ("old", "dropped")])
            tx.rejects.drop("dropped")
            tx.audit.note("operator", "paused")
        clock.advance(days=91)

        await prune(store, clock)

        with store.writing() as tx:
            assert sorted(record.kind for record in tx.audit.last_passes(9)) == ["sweep", "window"]
            assert [piece.digest for piece in tx.rejects.waiting()] == ["old"]
            assert tx.rejects.park([Rejected(digest="dropped", reason="no id", raw=b"{}")]) == 1
            assert tx.audit.history("") == []
