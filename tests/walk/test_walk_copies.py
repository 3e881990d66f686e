"""Two copies of the daemon on one PostgreSQL: when the one that reads is stopped, the other one reads at once."""

from __future__ import annotations

from pathlib import Path

from stage import eventually, staged

from kuma_sync.telemetry.health import State


async def test_a_reader_that_stops_hands_its_turn_over_at_once(tmp_path: Path, postgres_url: str) -> None:
    async with staged(tmp_path, postgres_url) as stage:
        reader = stage.start()
        await eventually(stage.queries)
        async with stage.working() as standby:
            await eventually(lambda: standby.health.ready().parts["poll"].state is State.STANDBY)
            reader.process.terminate()
            assert await reader.ended() == 0
            alert_id = stage.kuma.raise_alert()

            # The turn was renewed at every poll: not given back, it would last for another half a minute.
            await eventually(lambda: stage.incidents(alert_id), within=20)

    assert stage.agrees(), stage.verdict()
