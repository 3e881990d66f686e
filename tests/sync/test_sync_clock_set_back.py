"""A clock that is set back: neither a loop nor a remote's gate waits for the time that was lost."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest
from stores import Clock

from kuma_sync.core.errors import AccessDenied, Transient
from kuma_sync.core.retry import RetryPolicy
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.remote.gate import GateClosed, RemoteGate
from kuma_sync.sync.remote.rate import RetryContext
from kuma_sync.sync.runtime.periodic_loop import PeriodicLoop
from kuma_sync.telemetry.health import Health

# Gates


async def test_a_loop_whose_bell_no_longer_rings_acts_after_twice_the_interval() -> None:
    acted, stop, started = list[float](), asyncio.Event(), time.monotonic()

    async def act() -> None:
        acted.append(time.monotonic() - started)
        if len(acted) == 3:
            stop.set()

    loop = PeriodicLoop(
        "poll", act, part="poll", interval=timedelta(milliseconds=50), last_moments=timedelta(seconds=2)
    )
    async with asyncio.timeout(5):
        await loop.run(stop)

    assert acted[0] >= 0.09
    assert acted[2] >= 0.27


def make_gate(clock: Clock) -> RemoteGate:
    """Return a gate without a probe, on a clock that can be set back."""
    policy = RetryPolicy(base=timedelta(seconds=2), max=timedelta(minutes=10))
    pace = RetryContext(clock=clock, policy=policy, jitter=lambda: 0.0, limits=Limits())
    return RemoteGate("irp", pace=pace, health=Health(monotonic=lambda: 0.0))


async def asked_to_wait(gate: RemoteGate, seconds: int) -> None:
    wish = timedelta(seconds=seconds)
    with pytest.raises(Transient):
        async with gate.admit():
            raise Transient(remote="irp", operation="read", summary="answered 429", status=429, retry_after=wish)


async def refused(gate: RemoteGate, answered: asyncio.Event | None = None) -> GateClosed:
    with pytest.raises(GateClosed) as stopped:
        await _ask(gate, answered)
    return stopped.value


async def _ask(gate: RemoteGate, answered: asyncio.Event | None) -> None:
    async with gate.admit():
        if answered is not None:
            await answered.wait()
        raise AccessDenied(remote="irp", operation="read", summary="answered 401", status=401)


async def test_a_wish_to_wait_is_ignored_once_the_clock_was_set_back() -> None:
    clock = Clock()
    gate = make_gate(clock)
    await asked_to_wait(gate, 2)
    kept = gate.open_at()

    clock.advance(minutes=-30)
    a_little = gate.open_at()
    clock.advance(days=-1)

    assert kept is not None
    assert a_little == kept
    assert gate.open_at() is None


async def test_a_clock_set_back_puts_no_trial_off_beyond_the_longest_back_off() -> None:
    clock = Clock()
    gate = make_gate(clock)
    await refused(gate)
    kept = gate.open_at()

    clock.advance(days=-1)
    after = gate.open_at()

    assert kept is not None
    assert after is None
    assert gate.paused


async def test_a_new_wish_to_wait_is_heard_after_the_clock_was_set_back() -> None:
    clock = Clock()
    gate = make_gate(clock)
    await asked_to_wait(gate, 2)
    clock.advance(days=-1)

    await asked_to_wait(gate, 5)

    assert gate.open_at() == clock() + timedelta(seconds=5)


async def test_a_refused_token_pauses_the_side_although_the_clock_was_set_back() -> None:
    clock = Clock()
    gate = make_gate(clock)
    await asked_to_wait(gate, 2)
    clock.advance(days=-1)

    stopped = await refused(gate)

    assert gate.paused
    assert stopped.until <= clock() + timedelta(seconds=2)


async def test_several_requests_refused_at_once_are_one_refusal() -> None:
    clock, answered = Clock(), asyncio.Event()
    gate = make_gate(clock)

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(refused(gate, answered))
        await asyncio.sleep(0)
        answered.set()

    assert gate.open_at() == clock() + timedelta(seconds=2)
