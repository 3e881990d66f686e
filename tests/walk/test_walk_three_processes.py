"""Three processes on one PostgreSQL: one reads, all work, and one that froze and woke up does no harm."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from child_program import SHORT_LEASES, Oddity
from copies import Copy, looked_at, start_copy, started, stored_link
from stage import Stage, change_profile, staged
from stage import eventually as soon

from kuma_sync.core.alert import AlertId
from kuma_sync.core.link import Link
from kuma_sync.store import Store
from kuma_sync.sync.limits import Limits

LITTLE = 20.0
"""Seconds for a look at the lease, a read and a delivery, on a very busy machine; still less than a real lease."""

eventually = partial(soon, within=60.0)
pytestmark = pytest.mark.timeout(300)  # three processes at a time, on a machine that may have other things to do

SELDOM = {"interval": "10m", "sweep_interval": "10m"}
"""KUMA is polled at the start, and then for another reason than the interval."""

TURN = SHORT_LEASES.leader_lease.total_seconds()
TRANSACTION = SHORT_LEASES.store.lock.total_seconds()


@asynccontextmanager
async def three(stage: Stage, *, limits: Limits | None = None) -> AsyncIterator[list[Copy]]:
    """Run three copies, and terminate those that are alive after the block; each must end well."""
    copies = [start_copy(stage, limits=limits) for _ in range(3)]
    await started(*copies)
    yield copies
    alive = [copy for copy in copies if copy.process.returncode is None]
    for copy in alive:
        copy.process.terminate()
    assert [await copy.ended() for copy in alive] == [0] * len(alive)


async def reader_of(store: Store, copies: list[Copy]) -> Copy:
    """Return the copy that reads, by what the lease's row says."""

    async def reader() -> Copy | None:
        owner = await asyncio.to_thread(owner_of_turn, store)
        return next((copy for copy in copies if f":{copy.pid}:" in owner), None)

    return await eventually(reader)


def owner_of_turn(store: Store) -> str:
    """Return who has the leader's lease, or nothing."""
    with store.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT owner FROM lease WHERE expires_at > clock_timestamp()")
        return str(found.scalar_one_or_none() or "")


async def test_of_three_processes_one_reads_and_all_deliver_and_close(tmp_path: Path, postgres_url: str) -> None:
    brake = {"max_closed_percent": 100}
    async with staged(tmp_path, postgres_url, brake=brake) as stage, looked_at(stage) as store:
        stage.irp.knobs.latency = 0.3
        stage.kuma.faults.add("delay", match="alerts/close", method="POST", seconds=0.3)
        async with three(stage) as copies:
            await eventually(lambda: _all_ready(copies))
            reader = await reader_of(store, copies)
            for _ in range(80):
                stage.kuma.raise_alert(events=1)
            await eventually(lambda: len(stage.irp.incidents) == 80 and stage.agrees())
            for incident in list(stage.irp.incidents.values())[:40]:
                stage.irp.analyst_close(incident.id, "False positive")
            await eventually(lambda: len(stage.kuma.closes) == 40)
            await eventually(stage.agrees)
            reads = {copy.pid: await copy.reads() for copy in copies}
            delivered = [await copy.delivered() for copy in copies]
            closed = [await copy.metric("closes_total", 'result="closed"') for copy in copies]
            states = sorted([(await copy.parts())["poll"] for copy in copies])

    assert [pid for pid, count in reads.items() if count] == [reader.pid], "one process reads, and nobody else"
    assert states == ["ok", "standby", "standby"]
    assert min(delivered) > 0
    assert min(closed) > 0
    assert (sum(delivered), len(stage.wrote("create"))) == (80, 80)
    assert (sum(closed), len(stage.kuma.close_calls)) == (40, 40)
    assert stage.agrees(), stage.verdict()


async def _all_ready(copies: list[Copy]) -> bool:
    return [await copy.status("/readyz") for copy in copies] == [200] * len(copies)


async def test_when_the_reader_is_killed_another_one_reads_within_the_lease(tmp_path: Path, postgres_url: str) -> None:
    async with (
        staged(tmp_path, postgres_url) as stage,
        looked_at(stage) as store,
        three(stage, limits=SHORT_LEASES) as copies,
    ):
        first = stage.kuma.raise_alert()
        await eventually(lambda: stage.incidents(first))
        reader = await reader_of(store, copies)

        reader.process.kill()
        await reader.ended()
        killed = time.monotonic()
        fresh = stage.kuma.raise_alert()
        await eventually(lambda: stage.incidents(fresh))
        took = time.monotonic() - killed
        second = await reader_of(store, copies)
        await eventually(stage.agrees)

    assert took < TURN + LITTLE
    assert second is not reader
    assert len(stage.wrote("create")) == 2


async def test_a_reader_that_stops_is_followed_at_once_however_seldom_kuma_is_polled(
    tmp_path: Path, postgres_url: str
) -> None:
    async with (
        staged(tmp_path, postgres_url, poll=SELDOM) as stage,
        looked_at(stage) as store,
        three(stage, limits=SHORT_LEASES) as copies,
    ):
        first = await reader_of(store, copies)
        await eventually(first.reads)
        fresh = stage.kuma.raise_alert()
        first.process.terminate()
        await first.ended()
        await eventually(lambda: stage.incidents(fresh))
        second = await reader_of(store, copies)

    assert second is not first


async def test_a_reader_that_stops_hands_over_before_its_deliveries_have_ended(
    tmp_path: Path, postgres_url: str
) -> None:
    async with (
        staged(tmp_path, postgres_url, poll=SELDOM, run={"grace": "50s"}) as stage,
        looked_at(stage) as store,
    ):
        stage.irp.knobs.latency = 15
        for _ in range(30):
            stage.kuma.raise_alert()
        async with three(stage, limits=SHORT_LEASES) as copies:
            first = await reader_of(store, copies)
            await eventually(first.reads)
            first.process.terminate()
            second = await eventually(partial(_another_reads, copies, first))
            ended = first.process.returncode
            stage.irp.knobs.latency = 0
            await eventually(lambda: len(stage.irp.incidents) == 30 and stage.agrees())

    assert second is not first
    assert ended is None
    assert len(stage.wrote("create")) == 30


async def _another_reads(copies: list[Copy], first: Copy) -> Copy | None:
    for copy in copies:
        if copy is not first and await copy.reads():
            return copy
    return None


async def frozen_over_a_page(stage: Stage, store: Store, copies: list[Copy], alert_id: str) -> Copy:
    """Freeze the reader while the page with an older state of an alert is on its way; then the alert goes on.

    Its severity is High in that page, and Critical afterwards.
    """
    reader = await reader_of(store, copies)
    drip = stage.kuma.faults.add("drip", match="withEvents", times=1, seconds=0.1, piece=256)
    stage.kuma.edit(alert_id, priority="high")
    stage.kuma.grow(alert_id)
    await eventually(lambda: drip.fired and _on_their_way(stage))
    await reader.freeze()
    assert _on_their_way(stage), "the test wants to freeze it before it has the whole page"
    stage.kuma.edit(alert_id, priority="critical")
    stage.kuma.grow(alert_id)
    return reader


def _on_their_way(stage: Stage) -> bool:
    return any("withEvents" in each.query and each.size and not each.complete for each in stage.kuma.requests)


def severities(stage: Stage, alert_id: str) -> list[Any]:
    """Return the severities that were ever sent for an alert, in order."""
    return [body["severity"] for _operation, body in stage.incident(alert_id).history if "severity" in body]


async def test_a_reader_frozen_over_a_page_cannot_write_it_once_another_one_read_on(
    tmp_path: Path, postgres_url: str
) -> None:
    # Not too often, or the next poll would mend a stale page before anybody delivered it.
    poll = {"interval": "3s", "sweep_interval": "3s"}
    async with (
        staged(tmp_path, postgres_url, poll=poll) as stage,
        looked_at(stage) as store,
        three(stage, limits=SHORT_LEASES) as copies,
    ):
        alert_id = stage.kuma.raise_alert(priority="low", events=6)
        await eventually(lambda: stage.incidents(alert_id))
        woken = await frozen_over_a_page(stage, store, copies, alert_id)
        await eventually(lambda: severities(stage, alert_id)[-1] == "Critical")
        second = await reader_of(store, copies)
        before, made = len(severities(stage, alert_id)), len(woken.says("incident_created"))

        woken.wake()
        await eventually(lambda: _lost_its_turn(woken))
        await eventually(lambda: _is_standby(woken))
        # Slow enough that work is left when the stand-by looks again, which is every second.
        stage.irp.knobs.latency = 0.5
        for _ in range(60):
            stage.kuma.raise_alert(events=1)
        await eventually(lambda: len(stage.irp.incidents) == 61 and stage.agrees())
        with store.reading() as tx:
            stored = tx.alerts.snapshots([AlertId(alert_id)])[AlertId(alert_id)]

    assert second is not woken
    assert severities(stage, alert_id)[before:] == [], "the stale page went no further"
    assert stored.alert.priority == "critical"
    assert len(stage.incident(alert_id).events) == 8
    assert len(woken.says("incident_created")) > made, "what lost its turn works on as a stand-by"
    assert len(stage.wrote("create")) == 61


async def _lost_its_turn(copy: Copy) -> bool:
    return any("went to another daemon" in line["reason"] for line in copy.says("poll_failed"))


async def _is_standby(copy: Copy) -> bool:
    return (await copy.parts())["poll"] == "standby"


async def test_a_reader_frozen_in_a_transaction_holds_nobody_up_for_long(tmp_path: Path, postgres_url: str) -> None:
    async with staged(tmp_path, postgres_url) as stage:
        reader = start_copy(stage, limits=SHORT_LEASES, oddity=Oddity(freezes_at="leadership_assured"))
        alert_id = stage.kuma.raise_alert()
        await eventually(reader.frozen)
        others = [start_copy(stage, limits=SHORT_LEASES) for _ in range(2)]
        await started(*others)
        began = time.monotonic()
        await eventually(lambda: stage.incidents(alert_id))
        took = time.monotonic() - began

        reader.wake()
        await eventually(lambda: _is_standby(reader))
        await eventually(stage.agrees)
        codes = [await _stopped(copy) for copy in (reader, *others)]

    assert took < TURN + TRANSACTION + LITTLE
    assert len(stage.wrote("create")) == 1
    assert codes == [0, 0, 0]


async def _stopped(copy: Copy) -> int:
    copy.process.terminate()
    return await copy.ended()


@pytest.mark.parametrize("point", ["intent_committed", "create_answered"])
async def test_a_worker_frozen_while_holding_a_claim_sends_no_second_create(
    tmp_path: Path, postgres_url: str, point: str
) -> None:
    async with staged(tmp_path, postgres_url) as stage, looked_at(stage) as store:
        woken = start_copy(stage, limits=SHORT_LEASES, oddity=Oddity(freezes_at=point))
        alert_id = stage.kuma.raise_alert()
        await eventually(woken.frozen)
        made = len(stage.incidents(alert_id))
        others = [start_copy(stage, limits=SHORT_LEASES) for _ in range(2)]
        await started(*others)
        linked = await eventually(lambda: _linked(store, alert_id))

        woken.wake()
        lost = await eventually(lambda: woken.says("claim_lost"))
        stage.kuma.grow(alert_id)
        second = stage.kuma.raise_alert()
        await eventually(lambda: stage.incidents(second) and stage.agrees())
        link = await stored_link(store, alert_id)
        codes = [await _stopped(copy) for copy in (woken, *others)]

    assert made == (point == "create_answered")
    assert [line["alert_id"] for line in lost] == [alert_id]
    assert [id_ for id_, _body in stage.wrote("create")].count(linked) == 1
    assert len(stage.wrote("create")) == 2
    assert link is not None
    assert link.incident is not None
    assert link.incident.id == linked == stage.incident(alert_id).id
    assert codes == [0, 0, 0]


async def test_a_worker_frozen_between_two_requests_does_not_overwrite_the_link(
    tmp_path: Path, postgres_url: str
) -> None:
    async with staged(tmp_path, postgres_url) as stage, looked_at(stage) as store:
        change_profile(stage, lambda text: text.replace("batch = 500", "batch = 2"))
        woken = start_copy(stage, limits=SHORT_LEASES, oddity=Oddity(freezes_at="create_answered"))
        alert_id = stage.kuma.raise_alert(events=5)
        await eventually(woken.frozen)
        others = [start_copy(stage, limits=SHORT_LEASES) for _ in range(2)]
        await started(*others)
        await eventually(lambda: len(stage.incident(alert_id).events) == 5)
        link = await eventually(lambda: _settled(store, alert_id))

        woken.wake()
        await eventually(lambda: woken.says("claim_lost"))
        afterwards = await stored_link(store, alert_id)
        codes = [await _stopped(copy) for copy in (woken, *others)]

    assert afterwards == link
    assert stage.agrees(), stage.verdict()
    assert len(stage.incident(alert_id).events) == 5, "every event was sent once"
    assert codes == [0, 0, 0]


async def _settled(store: Store, alert_id: str) -> Link | None:
    """Return the link of an alert once nothing is queued for it."""
    return await store.read(lambda tx: None if tx.delivery.jobs(alert_id) else tx.links.get(AlertId(alert_id)))


async def _linked(store: Store, alert_id: str) -> str:
    link = await stored_link(store, alert_id)
    return link.incident.id if link is not None and link.incident is not None else ""


async def test_a_worker_frozen_after_a_closing_closes_nothing_twice(tmp_path: Path, postgres_url: str) -> None:
    async with staged(tmp_path, postgres_url) as stage, looked_at(stage) as store:
        woken = start_copy(stage, limits=SHORT_LEASES, oddity=Oddity(freezes_at="close_answered"))
        alert_id = stage.kuma.raise_alert()
        await eventually(lambda: stage.incidents(alert_id))
        stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
        await eventually(woken.frozen)
        others = [start_copy(stage, limits=SHORT_LEASES) for _ in range(2)]
        await started(*others)
        # A sweep may see it closed before: what counts is that another worker has finished the job.
        await eventually(lambda: _carried(store, alert_id))

        woken.wake()
        await eventually(lambda: woken.says("claim_lost"))
        codes = [await _stopped(copy) for copy in (woken, *others)]

    assert stage.kuma.closes == [(alert_id, "incorrect data")]
    assert stage.agrees(), stage.verdict()
    assert codes == [0, 0, 0]


async def _carried(store: Store, alert_id: str) -> bool:
    link = await stored_link(store, alert_id)
    jobs = await store.read(lambda tx: tx.closes.jobs())
    return link is not None and link.alert_closed and not jobs
