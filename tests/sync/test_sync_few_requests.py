"""A refused token, and a remote that asks for a wait: few requests, and none sooner than it asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from email.utils import format_datetime
from random import Random

import pytest
from stores import Clock, opened

from kuma_sync.core.errors import AccessDenied, RemoteError, Transient
from kuma_sync.core.retry import Bounce, Park, RetryAt, RetryPolicy
from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.server import SimServer
from kuma_sync.store import Lane, Put
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.queue.leased_job import LeasedJob
from kuma_sync.sync.queue.worker import Worker, WorkerConfig
from kuma_sync.sync.remote.gate import AuthProbe, GateClosed, RemoteGate
from kuma_sync.sync.remote.rate import RetryContext
from kuma_sync.telemetry.health import Health
from kuma_sync.transport import Endpoint, Outgoing, RemoteClient, refusal

SHIPPED = RetryPolicy(base=timedelta(seconds=2), max=timedelta(minutes=10))
"""What `[retry]` is where nobody changed it."""


async def test_a_revoked_token_costs_a_dozen_requests_in_the_first_minute_and_few_after_it() -> None:
    clock, calls = Clock(), list[datetime]()

    async def probe() -> None:
        calls.append(clock())
        raise AccessDenied(remote="irp", operation="probe", summary="answered 401", status=401)

    pace = RetryContext(clock=clock, policy=SHIPPED, jitter=lambda: 1.0, limits=Limits())
    gate = RemoteGate("irp", pace=pace, health=Health(monotonic=lambda: 0.0), auth=AuthProbe(probe=probe))
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


def in_seconds(_now: datetime) -> str:
    return "7"


def as_a_date(now: datetime) -> str:
    return format_datetime(now + timedelta(seconds=7), usegmt=True)


class Caller:
    """The handler of a queue: one request to the IRP a job, through the gate."""

    def __init__(self, wire: RemoteClient, gate: RemoteGate) -> None:
        self._client = wire
        self._gate = gate
        self.sent: list[datetime] = []

    async def handle(self, job: LeasedJob) -> RetryAt | Bounce | Park | None:
        try:
            async with self._gate.admit():
                self.sent.append(self._gate.pace.clock())
                request = Outgoing(
                    method="GET", path="/api/v1/incidents", headers={"Authorization": "Bearer irp-token"}
                )
                answer = await self._client.send(request, operation="find", changes=False)
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
