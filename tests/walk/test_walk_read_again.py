"""Contents read again for a delivery: what they show more than the poller has seen counts as seen."""

from __future__ import annotations

from pathlib import Path

from stage import staged, tell

from kuma_sync.core.alert import AlertId
from kuma_sync.daemon import operator
from kuma_sync.daemon.run import once


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
