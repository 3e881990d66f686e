"""An alert that cannot make up its mind costs a handful of writes; what matters never waits for it."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from stage import Stage, ask, eventually, leases_run_out, link_of, parked, staged, state_of, tell, until_rest

from kuma_sync.core.alert import AlertId
from kuma_sync.core.budget import BURST, INTERVALS, spacing
from kuma_sync.core.incident import Link
from kuma_sync.daemon import operator
from kuma_sync.daemon.observe import look
from kuma_sync.daemon.run import Crew, once

SLOW = {"interval": "1m"}
"""Nothing put off comes due while a test runs."""


async def polled(crew: Crew) -> None:
    """Poll once, whatever the clock says, and do what is due."""
    await crew.poller.poll_once(sweep=True)
    await crew.deliveries.drain()
    await crew.closes.drain()


async def flapped(stage: Stage, crew: Crew, times: int = BURST + 1) -> str:
    """Raise an alert and change its priority so often that the last change is put off."""
    alert_id = stage.kuma.raise_alert(priority="low")
    await polled(crew)
    for turn in range(times):
        stage.kuma.edit(alert_id, priority=("critical", "low")[turn % 2])
        await polled(crew)
    return alert_id


async def depths(crew: Crew) -> dict[str, int]:
    return await ask(crew, lambda tx: tx.delivery.depths())


TOGGLES = ({"priority": "critical", "status": "assigned"}, {"priority": "low", "status": "new"})


async def test_an_alert_that_toggles_fifty_times_costs_a_handful_of_writes_and_ends_as_kuma_has_it(
    tmp_path: Path, database_url: str
) -> None:
    async with staged(tmp_path, database_url, poll={"interval": "300ms"}) as stage, stage.crew() as crew:
        alert_id = stage.kuma.raise_alert(priority="low")
        await polled(crew)
        started = time.monotonic()
        for turn in range(50):
            stage.kuma.edit(alert_id, **TOGGLES[turn % 2])
            await polled(crew)
        written = len(stage.irp.writes)
        wait = INTERVALS * 0.3
        spent = (time.monotonic() - started) // wait

        await until_rest(crew, within=30)

    assert written <= 1 + BURST + spent
    assert len(stage.irp.writes) <= written + 1 <= 5 + spent
    assert len(stage.incidents(alert_id)) == 1
    assert stage.incident(alert_id).fields["alertStatus"] == stage.kuma.alerts[alert_id]["status"]
    assert stage.agrees(), stage.verdict()


async def test_what_is_back_at_what_was_sent_last_is_not_written_at_all(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url, poll=SLOW) as stage, stage.crew() as crew:
        alert_id = await flapped(stage, crew)
        put_off = await depths(crew)
        stage.kuma.edit(alert_id, priority="critical")
        await polled(crew)

        assert put_off == {"postponed": 1}
        assert await depths(crew) == {}
    assert len(stage.wrote("update")) == BURST
    assert stage.agrees(), stage.verdict()


async def test_an_alert_that_grows_is_not_slowed_down(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url, poll=SLOW) as stage, stage.crew() as crew:
        alert_id = stage.kuma.raise_alert()
        await polled(crew)
        for turn in range(4 * BURST):
            stage.kuma.grow(alert_id)
            await polled(crew)
            assert len(stage.wrote("update")) == turn + 1

    assert stage.agrees(), stage.verdict()


async def test_new_events_take_along_what_was_put_off(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url, poll=SLOW) as stage, stage.crew() as crew:
        alert_id = await flapped(stage, crew)
        before = stage.agrees()
        stage.kuma.grow(alert_id)
        await polled(crew)

    assert not before
    assert len(stage.wrote("update")) == BURST + 1
    assert stage.agrees(), stage.verdict()


async def test_a_closing_takes_along_what_was_put_off(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url, poll=SLOW) as stage, stage.crew() as crew:
        alert_id = await flapped(stage, crew)
        stage.kuma.close(alert_id, "responded")
        await polled(crew)
        left = await depths(crew)

    assert left == {}
    assert [deed for deed, _, _ in stage.irp.writes[-2:]] == ["update", "close"]
    assert stage.incident(alert_id).fields["severity"] == "Low"
    assert stage.agrees(), stage.verdict()


async def test_a_resync_does_not_wait(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url, poll=SLOW) as stage, stage.crew() as crew:
        alert_id = await flapped(stage, crew)
        await tell(crew, lambda tx: operator.resync(tx, [AlertId(alert_id)], by="cli"))
        await crew.deliveries.drain()
        left = await depths(crew)

    assert left == {}
    assert stage.agrees(), stage.verdict()


async def test_a_parked_update_that_is_retried_does_not_wait(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SLOW) as stage, stage.crew() as crew:
        alert_id = await flapped(stage, crew, times=BURST - 1)
        stage.irp.faults.add("status", code=422, method="PATCH", times=1)
        stage.kuma.edit(alert_id, priority="high")
        await polled(crew)
        aside = [job.subject for job in await parked(crew)]
        await tell(crew, lambda tx: operator.retry(tx, [alert_id], by="cli"))
        await crew.deliveries.drain()

    assert aside == [alert_id]
    assert len(stage.wrote("update")) == BURST
    assert stage.agrees(), stage.verdict()


async def test_what_an_analyst_closed_meanwhile_gets_nothing_more(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll=SLOW) as stage, stage.crew() as crew:
        alert_id = await flapped(stage, crew)
        stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
        await crew.watch.watch_once()
        await polled(crew)

    assert stage.kuma.closes == [(alert_id, "incorrect data")]
    assert len(stage.wrote("update")) == BURST


async def test_what_is_put_off_alarms_nobody(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url, poll=SLOW) as stage, stage.crew() as crew:
        alert_id = await flapped(stage, crew)
        await look(crew.store, health=crew.health, metrics=crew.metrics)
        (job,) = await ask(crew, lambda tx: tx.delivery.jobs())
        state = await state_of(crew, alert_id)
        gauges = {
            sample.labels["state"]: sample.value
            for family in crew.metrics.registry.collect()
            for sample in family.samples
            if sample.name == "kuma_sync_queue_depth" and sample.labels["queue"] == "delivery"
        }
        oldest = crew.metrics.registry.get_sample_value("kuma_sync_queue_oldest_seconds", {"queue": "delivery"})
        readiness = crew.health.ready()

    assert (state, job.attempts, job.reason) == ("pending", 0, "put off: the alert changes often")
    assert {name: value for name, value in gauges.items() if value} == {"postponed": 1}
    assert oldest == 0
    assert (readiness.parked, readiness.held) == (0, 0)
    assert readiness.parts["delivery"].state in ("ok", "starting")


async def test_a_pass_by_hand_waits_for_nothing(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url, poll=SLOW) as stage:
        async with stage.crew() as crew:
            alert_id = await flapped(stage, crew)
            spent = (await link_of(crew, alert_id)).spent_until
        await leases_run_out(stage)
        codes = [await stage.run_once()]
        agreed = [stage.agrees()]
        stage.kuma.edit(alert_id, priority="high")
        codes.append(await stage.run_once())
        agreed.append(stage.agrees())

        async with stage.crew() as crew:
            later = (await link_of(crew, alert_id)).spent_until

    assert codes == [0, 0]
    assert agreed == [True, True], stage.verdict()
    assert spent == later is not None, "such a pass neither spends nor forgives"


async def test_the_daemon_does_what_was_put_off_when_its_time_has_come(tmp_path: Path, sqlite_url: str) -> None:
    wait = spacing(timedelta(milliseconds=200))
    async with staged(tmp_path, sqlite_url, poll={"interval": "200ms"}) as stage:
        alert_id = stage.kuma.raise_alert(priority="low")
        async with stage.working() as crew:
            await eventually(stage.agrees)
            await eventually(lambda: _at_rest(crew))
            started = time.monotonic()
            await tell(
                crew,
                lambda tx: tx.links.change(AlertId(alert_id), partial(_spent, tx.now + BURST * wait), now=tx.now),
            )
            stage.kuma.edit(alert_id, priority="high")
            await eventually(stage.agrees, within=60)
            took = time.monotonic() - started

    assert took >= wait.total_seconds() - 0.1
    assert len(stage.wrote("update")) == 1


async def _at_rest(crew: Crew) -> bool:
    return await depths(crew) == {}


def _spent(until: datetime, link: Link) -> Link:
    return replace(link, spent_until=until)


async def test_once_over_is_over_for_a_store_that_is_opened_again(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url, poll=SLOW) as stage:
        async with stage.crew() as crew:
            await flapped(stage, crew)
        async with stage.crew() as crew:
            await once(crew)
            left = await depths(crew)

    assert left == {"postponed": 1}, "a restart does not forget the budget"
    assert len(stage.wrote("update")) == BURST
