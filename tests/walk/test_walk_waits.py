"""What waits for a remote: it neither spins nor flaps, pages stop where a wait was asked for, old orders are kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url
from stage import Stage, ask, change_profile, eventually, link_of, parked, staged, tell, until_rest, without
from stores import Clock
from structlog.testing import capture_logs

from kuma_sync.app.one_pass import Outcome, complete_pass
from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import StoreError, StoreUnavailable, Transient
from kuma_sync.store import Store, store_url
from kuma_sync.store.jobs import Job
from kuma_sync.store.migrate import upgrade
from kuma_sync.sync import operator
from kuma_sync.sync.remote.gate import GateClosed, RemoteGate
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once
from kuma_sync.telemetry.health import State

# Gates


async def test_a_delivery_that_needs_a_refusing_kuma_waits_and_does_not_spin(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, retry={"base": "400ms", "max": "1s"}) as stage:
        alert_id = stage.kuma.raise_alert()
        await stage.passes()
        refused = stage.kuma.faults.add("unauthorized", code=403)
        async with stage.working() as runtime:
            await eventually(lambda: runtime.gates["kuma"].paused)
            await tell(runtime, lambda tx: operator.resync(tx, [AlertId(alert_id)], by="cli"))

            async def bounced() -> list[Job]:
                return [
                    job for job in await ask(runtime, lambda tx: tx.delivery.jobs()) if "token refused" in job.reason
                ]

            await eventually(bounced)
            before, dues = refused.fired, set[object]()

            async def tried_twice_more() -> bool:
                dues.update(job.due for job in await bounced())
                return refused.fired >= before + 4

            await eventually(tried_twice_more)
            (job,) = await bounced()
            jobs = await parked(runtime)
            stage.kuma.faults.clear()
            await eventually(lambda: stage.wrote("update"), within=20)

    assert len(dues) <= refused.fired - before + 2, "it was taken up again more often than KUMA was tried"
    assert (job.attempts, jobs) == (0, []), "nothing was attempted, no back-off is burnt"


@pytest.mark.parametrize("watch", [True, False])
async def test_without_a_probe_a_refusing_irp_stays_paused_with_a_growing_back_off(
    tmp_path: Path, sqlite_url: str, watch: bool
) -> None:
    close = {"watch": watch, "watch_interval": "100ms"}
    retry = {"base": "100ms", "max": "1m"}
    async with staged(tmp_path, sqlite_url, close=close, retry=retry, irp={"concurrency": 1}) as stage:
        change_profile(stage, without("probe"))
        for _ in range(20):
            stage.kuma.raise_alert()
        refused = stage.irp.faults.add("unauthorized", code=401)
        async with stage.working() as runtime:
            await eventually(lambda: runtime.gates["irp"].paused)
            started, first, states = time.monotonic(), refused.fired, set[tuple[bool, State]]()

            def tried_three_times_more() -> bool:
                ready = runtime.health.ready()
                states.add((ready.ready, ready.parts["irp"].state))
                return refused.fired >= first + 3

            await eventually(tried_three_times_more)
            took, jobs = time.monotonic() - started, await parked(runtime)
            stage.irp.faults.clear()
            await eventually(lambda: len(stage.irp.incidents) == 20)
            await eventually(lambda: runtime.health.ready().ready)

    assert states == {(False, State.PAUSED)}
    assert took > (0.1 + 0.2 + 0.4) * 0.75, f"three tries in {took:.2f} s: the back-off does not grow"
    assert jobs == []


async def test_a_list_of_closed_that_is_not_there_makes_closings_unready_and_says_so_once(
    tmp_path: Path, sqlite_url: str
) -> None:
    with capture_logs() as logs:
        async with staged(tmp_path, sqlite_url) as stage, stage.working() as runtime:
            alert_id = stage.kuma.raise_alert()
            await eventually(lambda: stage.incidents(alert_id))
            await eventually(lambda: runtime.health.ready().ready)
            missing = stage.irp.faults.add("status", code=404, match="status=closed")
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
            await eventually(lambda: missing.fired >= 5)
            unwell = runtime.health.ready()
            stage.irp.faults.clear()
            await eventually(lambda: stage.kuma.closes)
            await eventually(lambda: runtime.health.ready().ready)

    assert (unwell.ready, unwell.parts["close"].state) == (False, State.FAILING)
    assert unwell.parts["close"].reason.startswith("watch: ")
    assert "404" in unwell.parts["close"].reason
    assert [line["event"] for line in logs if line["event"].startswith("watch_")] == ["watch_failed", "watch_recovered"]
    assert stage.kuma.closes == [(alert_id, "incorrect data")]


# A wait that somebody else was asked for


async def asked_to_wait(gate: RemoteGate, seconds: int) -> None:
    wish = timedelta(seconds=seconds)
    with pytest.raises(Transient):
        async with gate.admit():
            raise Transient(remote="irp", operation="read", summary="answered 429", status=429, retry_after=wish)


async def test_a_paged_listing_stops_where_kuma_asked_somebody_to_wait(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        for _ in range(251):
            stage.kuma.raise_alert(events=0)
        slow = stage.kuma.faults.add("delay", match="page=1", seconds=0.3)
        polling = asyncio.ensure_future(runtime.poller.poll_once())
        await eventually(lambda: slow.fired)
        await asked_to_wait(runtime.gates["kuma"], 30)
        with pytest.raises(GateClosed, match="asked to wait"):
            await polling
        cursor = await ask(runtime, lambda tx: tx.cursor.read())

    assert [query for query in stage.queries() if "page=2" in query] == []
    assert cursor.watermark is None, "what was not read to its end is read again"


async def test_a_paged_list_of_closed_stops_where_the_irp_asked_somebody_to_wait(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        ids = [stage.kuma.raise_alert(events=0) for _ in range(101)]
        await once(runtime)
        for alert_id in ids:
            stage.irp.analyst_close(stage.incident(alert_id).id, "Done")
        slow = stage.irp.faults.add("delay", match="offset=0", seconds=0.3)
        watching = asyncio.ensure_future(runtime.targets["irp"].watch.watch_once())
        await eventually(lambda: slow.fired)
        await asked_to_wait(runtime.gates["irp"], 30)
        with pytest.raises(GateClosed, match="asked to wait"):
            await watching
        orders = await ask(runtime, lambda tx: tx.closes.jobs())
        until = await ask(runtime, lambda tx: tx.targets.watched_until("irp"))

    assert [request.query for request in stage.irp.requests if "offset=100" in request.query] == []
    assert len(orders) == 100, "what was read counts"
    assert until is None, "what was not read to its end is read again"


# Tokens, roles, switches


@pytest.mark.parametrize("stray", ["bad\ntoken", "жетон", "bad\x7ftoken"])
async def test_a_token_that_no_header_can_carry_pauses_kuma_until_its_file_is_right(
    tmp_path: Path, sqlite_url: str, stray: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        await stage.passes()
        secret = tmp_path / "kuma.token"
        secret.write_text("kuma-token")
        del stage.tables["kuma"]["token"]
        stage.configure(kuma={"token_file": str(secret)})
        stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
        async with stage.runtime() as runtime:
            stage.kuma.token = "changed-in-kuma"
            secret.write_text(stray)
            troubles = await once(runtime)
            paused, jobs, waiting = runtime.gates["kuma"].paused, await parked(runtime), await closes(runtime)
            sent = len(stage.kuma.requests)
            again = await once(runtime)
            unsent = len(stage.kuma.requests) - sent

            secret.write_text(stage.kuma.token)
            await until_rest(runtime)
            mended = await once(runtime)
            still_paused = runtime.gates["kuma"].paused

    assert troubles
    assert again
    assert paused is not None
    assert stray not in paused
    assert (jobs, len(waiting), unsent) == ([], 1, 0)
    assert (mended, still_paused) == ([], None)
    assert stage.kuma.closes == [(alert_id, "incorrect data")]


async def closes(runtime: Runtime) -> list[Job]:
    return await ask(runtime, lambda tx: tx.closes.jobs())


@contextmanager
def poor_role(url: str) -> Iterator[str]:
    """Yield the database's address for a role that may not create tables."""
    address = make_url(url)
    role = f"poor_{address.database}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        connection.execute(f"CREATE ROLE {role} LOGIN")
    yield address.set(username=role).render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP ROLE {role}")


@asynccontextmanager
async def bare_store(url: str) -> AsyncIterator[Store]:
    store = Store(store_url(url), clock=Clock())
    try:
        yield store
    finally:
        await store.aclose()


async def test_a_role_that_may_not_create_tables_is_told_so(tmp_path: Path, new_postgres_url: str) -> None:
    with poor_role(new_postgres_url) as url:
        async with bare_store(url) as store:
            with pytest.raises(StoreError) as upgrading:
                upgrade(store)
        async with staged(tmp_path, url) as stage:
            with pytest.raises(StoreError) as passing:
                await passed(stage)

    for error in (upgrading.value, passing.value):
        assert "its role may not do that" in str(error)
        assert "to create them in its schema" in str(error)
        assert not isinstance(error, StoreUnavailable), "waiting would not help"


async def passed(stage: Stage) -> Outcome:
    """Do what `run --once` does."""
    async with AsyncExitStack() as stack:
        return await complete_pass(stage.settings(), stack)


async def rested(stage: Stage) -> Outcome | None:
    """Do a pass; tell how it went once no back-off is left over."""
    outcome = await passed(stage)
    return None if outcome.waiting else outcome


async def test_an_old_order_is_parked_while_closing_is_off_and_closed_afterwards(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        await stage.passes()
        stage.kuma.knobs.correlator_down = True
        stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
        await stage.passes()
        stage.kuma.knobs.correlator_down = False
        stage.configure(close={"to_kuma": False})
        refused = len(stage.kuma.close_calls)
        off = await eventually(lambda: rested(stage))
        calls = len(stage.kuma.close_calls)

        stage.configure(close={"to_kuma": True})
        async with stage.runtime() as runtime:
            (job,) = await parked(runtime)
            await tell(runtime, lambda tx: operator.retry(tx, [alert_id], by="cli"))
            await until_rest(runtime)
            link = await link_of(runtime, alert_id)
        after = await passed(stage)

    assert job.subject == alert_id
    assert "close.to_kuma" in job.reason
    assert (off.clean, off.parked, calls) == (False, 1, refused)
    assert "1 parked" in off.summary()
    assert stage.kuma.closes == [(alert_id, "incorrect data")]
    assert link.alert_closed
    assert after.clean
