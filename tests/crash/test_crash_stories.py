"""What the crashes and the state machine found, each told as a story of its own."""

from __future__ import annotations

from pathlib import Path

from lives import waiting
from stage import ask, staged, until_rest
from stores import Clock

from kuma_sync.sync.runtime.single_pass import once


async def test_incidents_that_we_closed_ourselves_are_no_accident_for_the_brake(
    tmp_path: Path, sqlite_url: str
) -> None:
    brake = {"max_closed_percent": 30, "min_alerts": 3}
    async with staged(tmp_path, sqlite_url, brake=brake) as stage, stage.runtime() as runtime:
        ids = [stage.kuma.raise_alert() for _ in range(10)]
        await once(runtime)
        for alert_id in ids[:3]:
            stage.kuma.close(alert_id)
        lost = stage.irp.faults.add("reset_after", match="/close$", times=3)
        await once(runtime)

        await once(runtime)
        await until_rest(runtime)
        left = waiting(runtime.store)
        history = await ask(runtime, lambda tx: tx.audit.history(ids[0]))

    assert lost.fired == 3
    assert not any(left.values()), left
    assert stage.kuma.close_calls == []
    assert [entry.action for entry in history].count("close_ordered") == 0
    assert stage.agrees(), stage.verdict()


async def test_growth_that_leaves_last_seen_alone_is_told_after_the_overlap(tmp_path: Path, sqlite_url: str) -> None:
    clock = Clock()
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        stage.kuma.clock = clock
        alert_id = stage.kuma.raise_alert(events=1)
        clock.advance(seconds=60)
        stage.kuma.raise_alert()
        await once(runtime)
        stage.kuma.grow(alert_id, 2, move_last_seen=False)

        clock.advance(minutes=31)
        await runtime.poller.poll_once()
        await runtime.targets["irp"].deliveries.drain()

    assert len(stage.incident(alert_id).events) == 3
    assert stage.agrees(), stage.verdict()
