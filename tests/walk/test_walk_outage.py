"""An outage of a remote: the breaker opens, hardly an attempt is burnt, and the end of it is noticed at once."""

from __future__ import annotations

from pathlib import Path

from stage import Stage, ask, eventually, metric, parked, staged

from kuma_sync.sync.limits import Limits
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.telemetry.metrics import Metrics

ALERTS = 40
IN_FLIGHT = 4


async def attempts(runtime: Runtime) -> int:
    """Return how many attempts all waiting deliveries have burnt."""
    jobs = await ask(runtime, lambda tx: tx.delivery.jobs())
    return sum(job.attempts for job in jobs)


def posts(stage: Stage) -> int:
    return sum(request.method == "POST" for request in stage.irp.requests)


async def test_an_outage_of_the_irp_burns_no_attempts_and_its_end_lets_everything_go_on(
    tmp_path: Path, either_url: str
) -> None:
    metrics = Metrics()
    async with staged(
        tmp_path, either_url, irp={"concurrency": IN_FLIGHT}, retry={"base": "200ms", "max": "10m"}
    ) as stage:
        stage.irp.faults.add("status", code=503)
        for _ in range(ALERTS):
            stage.kuma.raise_alert()
        async with stage.working(metrics) as runtime:
            await eventually(lambda: runtime.gates["irp"].paused)
            await eventually(lambda: metric(metrics, "breaker_open", remote="irp") == 1)
            not_ready = not runtime.health.ready().ready
            tried = posts(stage)
            asked = len(stage.irp.requests)
            await eventually(lambda: len(stage.irp.requests) >= asked + 3)
            burnt, tried_meanwhile = await attempts(runtime), posts(stage) - tried
            stage.irp.faults.clear()
            await eventually(stage.agrees)
            await eventually(lambda: runtime.health.ready().ready)
            assert await parked(runtime) == []
            await eventually(lambda: metric(metrics, "breaker_open", remote="irp") == 0)

    assert not_ready
    assert tried_meanwhile == 0
    assert burnt <= Limits().trips_after + IN_FLIGHT
    assert len(stage.wrote("create")) == ALERTS


async def test_an_outage_of_kuma_keeps_closings_and_does_not_delay_polls(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, retry={"base": "5m", "max": "10m"}) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await eventually(lambda: stage.incidents(alert_id))
            stage.kuma.faults.add("status", code=500)
            await eventually(lambda: runtime.gates["kuma"].paused)
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
            waiting = await eventually(lambda: ask(runtime, lambda tx: tx.closes.jobs()))
            asked = len(stage.queries())
            await eventually(lambda: len(stage.queries()) >= asked + 3)
            stage.kuma.faults.clear()
            fresh = stage.kuma.raise_alert()
            await eventually(lambda: stage.incidents(fresh))
            await eventually(lambda: stage.kuma.closes)

    assert [job.attempts for job in waiting] == [0]
    assert stage.kuma.closes == [(alert_id, "incorrect data")]
