"""Fifty alerts of 5,000 events each, and an IRP that limits bodies: little memory, smaller batches, nothing parked."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from stage import Child, eventually, staged

from kuma_sync.sim.values import Json

ALERTS, EVENTS, PASSED_ON = 50, 5000, 1000
LONG = {"interval": "1h", "sweep_interval": "1h"}
PEAK_MB = 200


def many_events() -> list[Json]:
    """Return small events; all alerts may share them, for what is sent is counted per alert."""
    began = int(datetime(2026, 11, 24, tzinfo=UTC).timestamp() * 1000)
    return [
        {
            "ID": str(uuid.UUID(int=number)),
            "Timestamp": began + number,
            "Type": 3,
            "Name": "Logon failed",
            "DeviceVendor": "Microsoft",
            "DeviceProduct": "Windows",
            "SourceAddress": f"10.{number >> 8}.{number & 255}.7",
            "DestinationUserName": f"user{number % 50}",
            "Message": "An account failed to log on.",
        }
        for number in range(EVENTS)
    ]


def peak(daemon: Child) -> float:
    """Return the most memory that a process held so far, in megabytes."""
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    (most,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(most.split()[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak")
async def test_fifty_alerts_of_5000_events_pass_in_200_megabytes(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=LONG, close={"watch_interval": "1h"}) as stage:
        events, now = many_events(), datetime.now(UTC)
        for number in range(ALERTS):
            alert_id = stage.kuma.raise_alert(events=0, seen=now - timedelta(minutes=number))
            stage.kuma.alerts[alert_id]["events"] = events
        stage.irp.knobs.max_body = 125_000
        async with stage.daemon() as daemon:
            owed = ALERTS * PASSED_ON
            await eventually(
                lambda: sum(len(incident.events) for incident in stage.irp.incidents.values()) >= owed, within=90
            )
            most = peak(daemon)

        newest = {event["ID"] for event in events[-PASSED_ON:]}
        read = sum(request.size for request in stage.kuma.requests)
        assert read > ALERTS * EVENTS * 200, "the test wants to be read a quarter of a million whole events"
        assert most < PEAK_MB, f"{most:.0f} MB"
        assert any(request.status == 413 for request in stage.irp.requests)
        assert daemon.says("job_parked") == []
        for incident in stage.irp.incidents.values():
            assert [len(incident.events), incident.fields["eventsTotal"]] == [PASSED_ON, EVENTS]
            assert {event["ID"] for event in incident.events} == newest
        assert len(stage.wrote("create")) == ALERTS
