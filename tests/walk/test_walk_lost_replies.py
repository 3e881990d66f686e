"""Lost replies, an IRP that is away for a whole poll, and poison among many: all is delivered, nothing twice."""

from __future__ import annotations

from pathlib import Path

from stage import Stage, change_profile, metric, parked, staged, tell, until_rest

from kuma_sync.sync import operator
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once
from kuma_sync.telemetry.metrics import Metrics

CREATE = "/api/v1/incidents$"


async def begun(runtime: Runtime) -> None:
    """Complete a first sweep: from here on an alert's first appearance is sure, and is not looked for."""
    assert await once(runtime) == []


def raised(stage: Stage, number: int) -> list[str]:
    return [stage.kuma.raise_alert(events=1) for _ in range(number)]


async def test_of_a_hundred_creates_every_twentieth_reply_is_lost_and_none_is_doubled(
    tmp_path: Path, either_url: str
) -> None:
    metrics = Metrics()
    async with staged(tmp_path, either_url) as stage, stage.runtime(metrics) as runtime:
        await begun(runtime)
        lost = stage.irp.faults.add("reset_after", method="POST", match=CREATE, every=20)
        ids = raised(stage, 100)

        await once(runtime)
        await until_rest(runtime)
        jobs = await parked(runtime)

    assert lost.fired == 5
    assert metric(metrics, "ambiguous_total") == 5
    assert [len(stage.incidents(alert_id)) for alert_id in ids] == [1] * 100
    assert len(stage.wrote("create")) == 100
    assert jobs == []
    assert stage.agrees(), stage.verdict()


async def test_an_irp_that_answers_503_for_a_whole_poll_gets_everything_once_when_it_heals(
    tmp_path: Path, sqlite_url: str
) -> None:
    waits = {"base": "2s", "max": "2s"}
    async with staged(tmp_path, sqlite_url, retry=waits) as stage, stage.runtime() as runtime:
        await begun(runtime)
        (grown, *_others) = raised(stage, 10)
        await once(runtime)
        refusal = stage.irp.faults.add("status", code=503)
        news = raised(stage, 15)
        stage.kuma.grow(grown)

        await runtime.poller.poll_once(sweep=True)
        await runtime.targets["irp"].deliveries.drain()
        made, jobs = len(stage.irp.incidents), await parked(runtime)
        stage.irp.faults.remove(refusal)
        await once(runtime)
        await until_rest(runtime)

    assert refusal.fired > 0
    assert (made, jobs) == (10, [])
    assert [len(stage.incidents(alert_id)) for alert_id in news] == [1] * 15
    assert (len(stage.wrote("create")), len(stage.wrote("update"))) == (25, 1)
    assert stage.agrees(), stage.verdict()


async def test_of_500_alerts_two_are_poison_and_the_others_are_delivered_in_the_same_cycle(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, lambda text: text.replace('critical = "Critical"\n"*" = "Medium"\n', ""))
        async with stage.runtime() as runtime:
            await begun(runtime)
            good = [stage.kuma.raise_alert(events=0, priority="high") for _ in range(498)]
            unmappable = stage.kuma.raise_alert(events=0, priority="critical")
            refused = stage.kuma.raise_alert(events=0, priority="high", name="poison")
            stage.irp.knobs.reject_titles = "^poison$"
            troubles = await once(runtime)
            made = [len(stage.incidents(alert_id)) for alert_id in good]
            reasons = {job.subject: job.reason for job in await parked(runtime)}
            attempts = sum(request.method == "POST" for request in stage.irp.requests)

        # The mapping is mended, and the IRP takes such titles now: a new crew, as after SIGHUP.
        change_profile(stage, lambda text: text.replace('high = "High"', 'high = "High"\ncritical = "Critical"'))
        stage.irp.knobs.reject_titles = ""
        async with stage.runtime() as runtime:
            woken = await tell(runtime, lambda tx: operator.retry(tx, [unmappable, refused], by="cli"))
            await until_rest(runtime)
            left = await parked(runtime)

    assert troubles == []
    assert made == [1] * 498
    assert reasons.keys() == {unmappable, refused}
    assert '[maps.severity] has neither "critical"' in reasons[unmappable]
    assert "422" in reasons[refused]
    assert attempts == 499, "what cannot be rendered is not sent, what is refused is sent once"
    assert (sorted(woken), left) == (sorted([unmappable, refused]), [])
    assert len(stage.wrote("create")) == len(stage.irp.incidents) == 500
    assert stage.agrees(), stage.verdict()
