"""Tokens that are rotated or revoked, and a wish to be left alone: few requests, nothing parked, nothing sooner."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from random import Random

import pytest
from stage import Stage, ask, eventually, metric, parked, staged
from stores import Clock, opened

from kuma_sync.app.build import build, open_store
from kuma_sync.app.remotes import kuma_endpoint
from kuma_sync.app.shared_state import SharedState
from kuma_sync.core.errors import AccessDenied, RemoteError, Transient
from kuma_sync.core.retry import Bounce, Park, RetryAt, RetryPolicy
from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.server import SimServer
from kuma_sync.store import Lane, Put
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.queue.leased_job import LeasedJob
from kuma_sync.sync.queue.worker import Worker, WorkerConfig
from kuma_sync.sync.remote.gate import GateClosed, RemoteGate, Token
from kuma_sync.sync.remote.rate import RetryContext
from kuma_sync.telemetry.health import Health
from kuma_sync.telemetry.metrics import Metrics
from kuma_sync.telemetry.redact import masked
from kuma_sync.transport import Endpoint, Outgoing, RemoteClient, refusal

SHIPPED = RetryPolicy(base=timedelta(seconds=2), max=timedelta(minutes=10))
"""What `[retry]` is where nobody changed it."""


# Rotated


@asynccontextmanager
async def with_token_files(tmp_path: Path, database: str) -> AsyncIterator[Stage]:
    """Open a stage whose tokens come from files, and whose back-off is too long to be waited for."""
    async with staged(tmp_path, database, retry={"base": "5m", "max": "10m"}) as stage:
        for remote in ("kuma", "irp"):
            secret = tmp_path / f"{remote}.token"
            secret.write_text(f"{stage.tables[remote].pop('token')}\n")
            stage.configure(**{remote: {"token_file": str(secret)}})
        yield stage


def rotate(stage: Stage) -> None:
    for remote, sim in (("kuma", stage.kuma), ("irp", stage.irp)):
        sim.token = f"another-{remote}-token"
        (stage.folder / f"{remote}.token").write_text(sim.token)


def refused(stage: Stage) -> tuple[int, int]:
    return tuple(sum(one.status in (401, 403) for one in sim.requests) for sim in (stage.kuma, stage.irp))  # type: ignore[return-value]  # two sides


async def test_a_token_that_is_rotated_while_the_daemon_idles_costs_each_side_one_request(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with with_token_files(tmp_path, sqlite_url) as stage, stage.working() as runtime:
        stage.kuma.raise_alert()
        await eventually(stage.agrees)
        rotate(stage)
        await eventually(lambda: min(refused(stage)) > 0)
        late = stage.kuma.raise_alert()
        await eventually(lambda: stage.incidents(late))
        jobs, ready = await parked(runtime), runtime.health.ready().ready

    assert refused(stage) == (1, 1)
    assert (jobs, ready) == ([], True)
    assert stage.agrees(), stage.verdict()


async def test_tokens_that_are_rotated_under_load_fail_no_delivery(tmp_path: Path, sqlite_url: str) -> None:
    metrics = Metrics()
    async with with_token_files(tmp_path, sqlite_url) as stage, stage.working(metrics) as runtime:
        stage.irp.knobs.latency = 0.02
        for _ in range(40):
            stage.kuma.raise_alert(events=1)
        await eventually(lambda: len(stage.irp.incidents) > 12)
        rotate(stage)
        await eventually(stage.agrees)

        async def nothing_waits() -> bool:
            return await ask(runtime, lambda tx: tx.delivery.jobs()) == []

        await eventually(nothing_waits)

    in_flight = 8 + 1
    assert 1 <= refused(stage)[1] <= in_flight, "a request that is on its way cannot know"
    assert metric(metrics, "deliveries_total", operation="create", result="ok") == 40
    assert len(stage.wrote("create")) == 40


# Revoked


async def test_a_revoked_token_costs_a_dozen_requests_in_the_first_minute_and_few_after_it() -> None:
    clock, calls = Clock(), list[datetime]()

    async def probe() -> None:
        calls.append(clock())
        raise AccessDenied(remote="irp", operation="probe", summary="answered 401", status=401)

    pace = RetryContext(clock=clock, policy=SHIPPED, jitter=lambda: 1.0, limits=Limits())
    gate = RemoteGate("irp", pace=pace, health=Health(monotonic=lambda: 0.0), token=Token(probe=probe))
    began = clock.now
    while clock.now < began + timedelta(hours=1):
        try:
            async with gate.admit():
                calls.append(clock())
                raise AccessDenied(remote="irp", operation="create", summary="answered 401", status=401)
        except GateClosed:
            clock.now += timedelta(seconds=0.25)

    first_minute = sum(at < began + timedelta(minutes=1) for at in calls)
    assert gate.paused == "token refused (answered 401)"
    assert first_minute <= 12
    assert len(calls) <= 40


async def test_a_revoked_token_parks_nothing_and_is_tried_ever_more_seldom(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, retry={"base": "30s", "max": "10m"}) as stage, stage.working() as runtime:
        old = stage.kuma.raise_alert()
        await eventually(lambda: stage.incidents(old))
        good, stage.irp.token = stage.irp.token, "revoked"
        for _ in range(20):
            stage.kuma.raise_alert(events=1)
        gate = runtime.gates["irp"]
        await eventually(lambda: gate.paused)
        await eventually(lambda: all(request.status for request in stage.irp.requests))
        burst, began = refused(stage)[1], time.monotonic()
        gate.pace = replace(gate.pace, policy=replace(gate.pace.policy, base=timedelta(milliseconds=50)))
        gate.wake()  # the burst was counted before the first trial; they begin now, and need no minutes
        await eventually(lambda: refused(stage)[1] >= burst + 10)
        took, jobs = time.monotonic() - began, await parked(runtime)
        await eventually(lambda: len(stage.kuma.shown) == 21)
        stage.irp.token = good
        gate.wake()
        await eventually(stage.agrees)

    assert burst <= 2 * (8 + 1), "what was in flight, each with a question whether it is the token"
    assert took > 0.75 * (0.05 + 0.1 + 0.2 + 0.4), f"five trials, each with its probe, within {took:.2f} s"
    assert jobs == []
    assert len(stage.wrote("create")) == 21


# Asked to wait


def in_seconds(_now: datetime) -> str:
    return "7"


def as_a_date(now: datetime) -> str:
    return format_datetime(now + timedelta(seconds=7), usegmt=True)


class Caller:
    """The handler of a queue: one request to the IRP a job, through the gate."""

    def __init__(self, wire: RemoteClient, gate: RemoteGate) -> None:
        self._wire = wire
        self._gate = gate
        self.sent: list[datetime] = []

    async def handle(self, job: LeasedJob) -> RetryAt | Bounce | Park | None:
        try:
            async with self._gate.admit():
                self.sent.append(self._gate.pace.clock())
                request = Outgoing(
                    method="GET", path="/api/v1/incidents", headers={"Authorization": "Bearer irp-token"}
                )
                answer = await self._wire.send(request, operation="find", changes=False)
                if answer.status != 200:
                    raise refusal(answer)
        except GateClosed as stopped:
            return Bounce(until=stopped.until, reason=stopped.summary)
        except RemoteError as error:
            return self._gate.pace.after(error, attempts=job.claim.attempts + 1)
        return None


@pytest.mark.parametrize("wish", [in_seconds, as_a_date])
async def test_after_a_429_nothing_is_sent_for_the_seven_seconds_it_asked_for(
    sqlite_url: str, wish: Callable[[datetime], str]
) -> None:
    clock = Clock()
    irp = IrpSim(token="irp-token", clock=clock)
    pace = RetryContext(clock=clock, policy=SHIPPED, jitter=lambda: 1.0, limits=Limits())
    gate = RemoteGate("irp", pace=pace, health=Health(monotonic=lambda: 0.0))
    async with SimServer(irp.app) as server, opened(sqlite_url, clock=clock) as store:
        irp.faults.add("status", code=429, headers={"Retry-After": wish(clock.now)}, times=1)
        wire = RemoteClient(Endpoint(remote="irp", url=server.url), clock=clock)
        caller = Caller(wire, gate)
        config = WorkerConfig(name="delivery", queue=lambda tx: tx.delivery, gate=gate, concurrency=1, limits=Limits())
        worker = Worker(config=config, store=store, handler=caller, owner="me", health=Health(monotonic=lambda: 0.0))
        with store.writing() as tx:
            tx.delivery.put([Put(subject=f"job {number}", lane=Lane.UPDATE) for number in range(20)])
        began = clock.now
        while clock.now < began + timedelta(seconds=10):
            await worker.drain()
            clock.now += timedelta(seconds=0.1)
        await wire.aclose()

    waits = [(at - began).total_seconds() for at in caller.sent]
    assert len(waits) == 21
    assert waits[0] == 0
    assert min(waits[1:]) >= 7
    assert max(waits) < 9


@pytest.mark.parametrize("asked", [None, 7], ids=["no wish", "seven seconds"])
def test_what_failed_together_does_not_come_back_together(asked: float | None) -> None:
    wish = None if asked is None else timedelta(seconds=asked)
    error = Transient(remote="irp", operation="create", summary="answered 429", status=429, retry_after=wish)
    clock = Clock()
    pace = RetryContext(clock=clock, policy=SHIPPED, jitter=Random(1).random, limits=Limits())

    outcomes = [pace.after(error, attempts=1) for _job in range(100)]

    waits = [(one.at - clock.now).total_seconds() for one in outcomes if isinstance(one, RetryAt)]
    assert len(waits) == 100
    assert min(waits) >= (asked or 0)
    assert max(waits) - min(waits) >= 0.2 * min(waits)


async def test_a_wait_that_a_remote_asked_for_outlives_a_reload(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, AsyncExitStack() as stack:
        shared = SharedState(store=open_store(stage.settings()))
        stack.push_async_callback(shared.store.aclose)
        before, after = [await build(stage.settings(), shared, stack) for _ in range(2)]
        for remote, gate in before.gates.items():
            with pytest.raises(Transient):
                async with gate.admit():
                    raise Transient(remote=remote, operation="any", summary="busy", retry_after=timedelta(minutes=1))

        assert [remote for remote, gate in after.gates.items() if gate.open_at() is not None] == ["kuma", "irp"]


async def test_a_proxys_password_is_read_again_from_its_file_and_kept_out_of_logs(
    tmp_path: Path, sqlite_url: str
) -> None:
    secret = tmp_path / "proxy"
    secret.write_text("http://u:0ld-passw0rd@proxy:3128\n")
    async with staged(tmp_path, sqlite_url, kuma={"proxy_file": str(secret)}) as stage:
        endpoint = kuma_endpoint(stage.settings().kuma, Limits())
        secret.write_text("http://u:n3w-passw0rd@proxy:3128\n")

    assert endpoint.proxy() == "http://u:n3w-passw0rd@proxy:3128"
    assert "n3w-passw0rd" not in masked("by http://u:n3w-passw0rd@proxy:3128")
