"""Contents read again for a delivery: what they show more than the poller has seen counts as seen."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from stage import ask, staged, tell

from kuma_sync.core.alert import AlertId, take_contents
from kuma_sync.core.steps import TargetCapabilities
from kuma_sync.sync import operator
from kuma_sync.sync.delivery.unit_of_work import DeliveryUnitOfWork
from kuma_sync.sync.queue.leased_job import LeasedJob
from kuma_sync.sync.runtime.single_pass import once


async def test_events_that_only_a_resync_has_shown_are_counted_in_what_the_incident_says(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(events=3)
        await once(runtime)
        stage.kuma.grow(alert_id, events=10, move_last_seen=False)

        await tell(runtime, lambda tx: operator.resync(tx, [AlertId(alert_id)], by="operator:test"))
        await runtime.targets["irp"].deliveries.drain()

    incident = stage.incident(alert_id)
    assert len({event["ID"] for event in incident.events}) == incident.fields["eventsTotal"] == 13
    assert stage.agrees(), stage.verdict()


async def test_contents_stored_meanwhile_are_not_replaced_by_those_read_before(
    tmp_path: Path, database_url: str
) -> None:
    async with staged(tmp_path, database_url) as stage, stage.runtime() as runtime:
        alert_id = AlertId(stage.kuma.raise_alert(events=3))
        await once(runtime)
        await tell(runtime, lambda tx: operator.resync(tx, [alert_id], by="operator:test"))
        bench = DeliveryUnitOfWork(runtime.store, TargetCapabilities(), lease=runtime.limits.job_lease)
        with runtime.store.writing() as tx:
            (claim,) = tx.delivery.claim(1, owner="test", lease=timedelta(seconds=60))
        job = LeasedJob(claim, time.monotonic() + 60, runtime.limits)
        work = await bench.load(job)
        older = take_contents(stage.kuma.alerts[alert_id]["events"], assets=(), accounts=(), max_events=0)
        stage.kuma.grow(alert_id, events=2)
        await runtime.poller.poll_once()

        assert work is not None
        kept = await bench.keep_contents(job, work, older)
        stored = await ask(runtime, lambda tx: tx.alerts.contents(alert_id))

    assert kept.contents == stored
    assert len(kept.kept) == len(kept.snapshot.event_ids) == 5
