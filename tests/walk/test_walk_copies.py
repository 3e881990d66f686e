"""Several copies of the daemon on one PostgreSQL: one reads, all deliver; when it ends, another one reads."""

from __future__ import annotations

from pathlib import Path

from stage import eventually, leases_run_out, metric, staged

from kuma_sync.telemetry.health import State
from kuma_sync.telemetry.metrics import Metrics


async def test_of_two_daemons_one_reads_and_both_deliver(tmp_path: Path, postgres_url: str) -> None:
    first, second = Metrics(), Metrics()
    async with staged(tmp_path, postgres_url) as stage:
        stage.irp.knobs.latency = 0.05
        async with stage.working(first) as reader:
            await eventually(lambda: reader.health.ready().parts["poll"].state is State.OK)
            async with stage.working(second) as standby:
                await eventually(lambda: standby.health.ready().parts["poll"].state is State.STANDBY)
                stage.irp.knobs.latency = 0.3  # the other copy looks once a second: enough is to be left by then
                for _ in range(40):
                    stage.kuma.raise_alert(events=1)
                await eventually(stage.agrees, within=30)
                stage.irp.knobs.latency = 0
                stage.irp.analyst_close(next(iter(stage.irp.incidents)), "False positive")
                await eventually(lambda: stage.kuma.closes)
                ready = standby.health.ready().ready
                read = [metric(each, "polls_total", kind="late", result="complete") for each in (first, second)]

    delivered = [metric(each, "deliveries_total", operation="create", result="ok") for each in (first, second)]
    assert read[0] > 0
    assert read[1] == 0
    assert ready, "a standby copy is ready"
    assert min(delivered) > 0
    assert sum(delivered) == len(stage.irp.incidents) == 40
    assert len(stage.kuma.close_calls) == 1


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


async def test_a_reader_that_is_killed_loses_its_turn_when_it_runs_out(tmp_path: Path, postgres_url: str) -> None:
    async with staged(tmp_path, postgres_url) as stage:
        stage.irp.knobs.latency = 0.05
        for _ in range(20):
            stage.kuma.raise_alert(events=1)
        reader = stage.start()
        await eventually(lambda: len(stage.irp.incidents) > 4)
        async with stage.working() as standby:
            await eventually(lambda: standby.health.ready().parts["poll"].state is State.STANDBY)
            reader.process.kill()
            await reader.ended()
            stage.kuma.raise_alert()
            await leases_run_out(stage)

            await eventually(stage.agrees, within=20)

    assert len(stage.irp.incidents) == len(stage.wrote("create")) == 21
