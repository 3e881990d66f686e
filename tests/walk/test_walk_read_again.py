"""Contents read again for a delivery: what they show more than the poller has seen counts as seen."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from stage import ask, staged, tell

from kuma_sync.core.alert import AlertId, take_contents
from kuma_sync.core.delivery import Desk
from kuma_sync.daemon import operator
from kuma_sync.daemon.owned import OwnedJob
from kuma_sync.daemon.run import once
from kuma_sync.daemon.work import Workbench


async def test_events_that_only_a_resync_has_shown_are_counted_in_what_the_incident_says(
    tmp_path: Path, database_url: str
) -> None:
    async with staged(tmp_path, database_url) as stage, stage.crew() as crew:
        alert_id = stage.kuma.raise_alert(events=3)
        await once(crew)
        stage.kuma.grow(alert_id, events=10, move_last_seen=False)

        await tell(crew, lambda tx: operator.resync(tx, [AlertId(alert_id)], by="operator:test"))
        await crew.deliveries.drain()

    incident = stage.incident(alert_id)
    assert len({event["ID"] for event in incident.events}) == incident.fields["eventsTotal"] == 13
    assert stage.agrees(), stage.verdict()


async def test_contents_that_the_poller_stored_meanwhile_are_not_replaced_by_those_read_before(
    tmp_path: Path, database_url: str
) -> None:
    async with staged(tmp_path, database_url) as stage, stage.crew() as crew:
        alert_id = AlertId(stage.kuma.raise_alert(events=3))
        await once(crew)
        await tell(crew, lambda tx: operator.resync(tx, [alert_id], by="operator:test"))
        bench = Workbench(crew.store, Desk(), lease=crew.limits.job_lease)
        async with crew.store.begin() as tx:
            (claim,) = await tx.delivery.claim(1, owner="test", lease=timedelta(seconds=60))
        job = OwnedJob(claim, time.monotonic() + 60, crew.limits)
        work = await bench.load(job)
        older = take_contents(stage.kuma.alerts[alert_id]["events"], assets=(), accounts=(), max_events=0)
        stage.kuma.grow(alert_id, events=2)
        await crew.poller.poll_once()

        assert work is not None
        kept = await bench.keep_contents(job, work, older)
        stored = await ask(crew, lambda tx: tx.alerts.contents(alert_id))

    assert kept.contents == stored
    assert len(kept.kept) == len(kept.picture.event_ids) == 5
