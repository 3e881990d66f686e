"""An alert that cannot make up its mind costs a handful of writes; what matters never waits for it."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from stage import Stage, ask, eventually, leases_run_out, link_of, parked, sample, staged, state_of, tell, until_rest

from kuma_sync.core.alert import AlertId
from kuma_sync.core.budget import BURST, INTERVALS, spacing
from kuma_sync.core.link import Link
from kuma_sync.sync import operator
from kuma_sync.sync.runtime.monitor import look
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once

SLOW = {"interval": "1m"}
"""Nothing put off comes due while a test runs."""


async def polled(runtime: Runtime) -> None:
    """Poll once, whatever the clock says, and do what is due."""
    await runtime.poller.poll_once(sweep=True)
    await runtime.targets["irp"].deliveries.drain()
    await runtime.closes.drain()


async def flapped(stage: Stage, runtime: Runtime, times: int = BURST + 1) -> str:
    """Raise an alert and change its priority so often that the last change is put off."""
    alert_id = stage.kuma.raise_alert(priority="low")
    await polled(runtime)
    for turn in range(times):
        stage.kuma.edit(alert_id, priority=("critical", "low")[turn % 2])
        await polled(runtime)
    return alert_id


async def depths(runtime: Runtime) -> dict[str, int]:
    return await ask(runtime, lambda tx: tx.delivery.depths())


TOGGLES = ({"priority": "critical", "status": "assigned"}, {"priority": "low", "status": "new"})


async def test_an_alert_that_toggles_fifty_times_costs_a_handful_of_writes(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll={"interval": "300ms"}) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(priority="low")
        await polled(runtime)
        started = time.monotonic()
        for turn in range(50):
            stage.kuma.edit(alert_id, **TOGGLES[turn % 2])
            await polled(runtime)
        written = len(stage.irp.writes)
        wait = INTERVALS * 0.3
        spent = (time.monotonic() - started) // wait

        await until_rest(runtime, within=30)

    assert written <= 1 + BURST + spent
    assert len(stage.irp.writes) <= written + 1 <= 5 + spent
    assert len(stage.incidents(alert_id)) == 1
    assert stage.incident(alert_id).fields["alertStatus"] == stage.kuma.alerts[alert_id]["status"]
    assert stage.agrees(), stage.verdict()


async def test_what_is_back_at_what_was_sent_last_is_not_written_at_all(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SLOW) as stage, stage.runtime() as runtime:
        alert_id = await flapped(stage, runtime)
        put_off = await depths(runtime)
        stage.kuma.edit(alert_id, priority="critical")
        await polled(runtime)

        assert put_off == {"postponed": 1}
        assert await depths(runtime) == {}
    assert len(stage.wrote("update")) == BURST
    assert stage.agrees(), stage.verdict()


async def test_an_alert_that_grows_is_not_slowed_down(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SLOW) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await polled(runtime)
        for turn in range(4 * BURST):
            stage.kuma.grow(alert_id)
            await polled(runtime)
            assert len(stage.wrote("update")) == turn + 1

    assert stage.agrees(), stage.verdict()


async def test_new_events_take_along_what_was_put_off(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SLOW) as stage, stage.runtime() as runtime:
        alert_id = await flapped(stage, runtime)
        before = stage.agrees()
        stage.kuma.grow(alert_id)
        await polled(runtime)

    assert not before
    assert len(stage.wrote("update")) == BURST + 1
    assert stage.agrees(), stage.verdict()


async def test_a_closing_takes_along_what_was_put_off(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SLOW) as stage, stage.runtime() as runtime:
        alert_id = await flapped(stage, runtime)
        stage.kuma.close(alert_id, "responded")
        await polled(runtime)
        left = await depths(runtime)

    assert left == {}
    assert [deed for deed, _, _ in stage.irp.writes[-2:]] == ["update", "close"]
    assert stage.incident(alert_id).fields["severity"] == "Low"
    assert stage.agrees(), stage.verdict()


async def test_a_resync_does_not_wait(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SLOW) as stage, stage.runtime() as runtime:
        alert_id = await flapped(stage, runtime)
        await tell(runtime, lambda tx: operator.resync(tx, [AlertId(alert_id)], by="cli"))
        await runtime.targets["irp"].deliveries.drain()
        left = await depths(runtime)

    assert left == {}
    assert stage.agrees(), stage.verdict()


async def test_a_parked_update_that_is_retried_does_not_wait(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SLOW) as stage, stage.runtime() as runtime:
        alert_id = await flapped(stage, runtime, times=BURST - 1)
        stage.irp.faults.add("status", code=422, method="PATCH", times=1)
        stage.kuma.edit(alert_id, priority="high")
        await polled(runtime)
        aside = [job.subject for job in await parked(runtime)]
        await tell(runtime, lambda tx: operator.retry(tx, [alert_id], by="cli"))
        await runtime.targets["irp"].deliveries.drain()

    assert aside == [alert_id]
    assert len(stage.wrote("update")) == BURST
    assert stage.agrees(), stage.verdict()


async def test_what_an_analyst_closed_meanwhile_gets_nothing_more(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SLOW) as stage, stage.runtime() as runtime:
        alert_id = await flapped(stage, runtime)
        stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
        await runtime.targets["irp"].watch.watch_once()
        await polled(runtime)

    assert stage.kuma.closes == [(alert_id, "incorrect data")]
    assert len(stage.wrote("update")) == BURST


async def test_what_is_put_off_alarms_nobody(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SLOW) as stage, stage.runtime() as runtime:
        alert_id = await flapped(stage, runtime)
        await look(runtime.store, health=runtime.health, metrics=runtime.metrics)
        (job,) = await ask(runtime, lambda tx: tx.delivery.jobs())
        state = await state_of(runtime, alert_id)
        gauges = {
            sample.labels["state"]: sample.value
            for family in runtime.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "kuma_sync_queue_depth" and sample.labels["queue"] == "delivery"
        }
        oldest = sample(runtime.metrics, "queue_oldest_seconds", queue="delivery")
        readiness = runtime.health.ready()

    assert (state, job.attempts, job.reason) == ("pending", 0, "put off: the alert changes often")
    assert {name: value for name, value in gauges.items() if value} == {"postponed": 1}
    assert oldest == 0
    assert (readiness.parked, readiness.held) == (0, 0)
    assert readiness.parts["delivery"].state in ("ok", "starting")


async def test_a_pass_by_hand_waits_for_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SLOW) as stage:
        async with stage.runtime() as runtime:
            alert_id = await flapped(stage, runtime)
            spent = (await link_of(runtime, alert_id)).spent_until
        await leases_run_out(stage)
        codes = [await stage.run_once()]
        agreed = [stage.agrees()]
        stage.kuma.edit(alert_id, priority="high")
        codes.append(await stage.run_once())
        agreed.append(stage.agrees())

        async with stage.runtime() as runtime:
            later = (await link_of(runtime, alert_id)).spent_until

    assert codes == [0, 0]
    assert agreed == [True, True], stage.verdict()
    assert spent == later is not None, "such a pass neither spends nor forgives"


async def test_the_daemon_does_what_was_put_off_when_its_time_has_come(tmp_path: Path, sqlite_url: str) -> None:
    wait = spacing(timedelta(milliseconds=200))
    async with staged(tmp_path, sqlite_url, poll={"interval": "200ms"}) as stage:
        alert_id = stage.kuma.raise_alert(priority="low")
        async with stage.working() as runtime:
            await eventually(stage.agrees)
            await eventually(lambda: _at_rest(runtime))
            started = time.monotonic()
            await tell(
                runtime,
                lambda tx: tx.links.change(AlertId(alert_id), partial(_spent, tx.now + BURST * wait), now=tx.now),
            )
            stage.kuma.edit(alert_id, priority="high")
            await eventually(stage.agrees, within=60)
            took = time.monotonic() - started

    assert took >= wait.total_seconds() - 0.1
    assert len(stage.wrote("update")) == 1


async def _at_rest(runtime: Runtime) -> bool:
    return await depths(runtime) == {}


def _spent(until: datetime, link: Link) -> Link:
    return replace(link, spent_until=until)


async def test_once_over_is_over_for_a_store_that_is_opened_again(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url, poll=SLOW) as stage:
        async with stage.runtime() as runtime:
            await flapped(stage, runtime)
        async with stage.runtime() as runtime:
            await once(runtime)
            left = await depths(runtime)

    assert left == {"postponed": 1}, "a restart does not forget the budget"
    assert len(stage.wrote("update")) == BURST
