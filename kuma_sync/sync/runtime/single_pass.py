"""A single complete pass, as `run --once` does it: read both sides, then attempt every delivery and closing due."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial

import structlog

from kuma_sync.core.errors import ClaimLost, RemoteError
from kuma_sync.core.routing import IRP
from kuma_sync.sync.closing.watch import Watch
from kuma_sync.sync.leader import NotLeader
from kuma_sync.sync.remote.gate import GateClosed
from kuma_sync.sync.runtime.runner import Runtime, TargetRuntime, end_within, expect_targets
from kuma_sync.sync.runtime.supervisor import happens
from kuma_sync.telemetry.health import part_of

log = structlog.get_logger(__name__)

A_MOMENT = 0.1
"""Seconds: two clocks never agree."""

DELIVERING = "delivering and closing"
STOPPED = "stopped by a signal before the pass was complete"


async def once(
    runtime: Runtime,
    *,
    stop: asyncio.Event | None = None,
    grace: timedelta = timedelta(),
    told: Callable[[str], None] | None = None,
) -> list[str]:
    """Do one complete pass: sweep, ask the IRP, attempt every due delivery and closing; return what went wrong.

    Told to stop it takes up nothing more, and what is in flight has `grace` to end. `told` hears each step that begins;
    without it the log does, and how long each takes. Raise StoreUnavailable.
    """
    stop = stop or asyncio.Event()
    troubles: list[str] = []
    expect_targets(runtime)
    await runtime.maintenance.look()
    troubles += [f"{part_of('irp', name)}: {problem}" for name, problem in runtime.broken.items()]
    for proof in runtime.proofs:
        await proof.take_up()
    for gate in runtime.gates.values():
        # Every due job is attempted, once: there is no later for which to spare the remote.
        gate.never_trip()
    async with _said(runtime.limits.told_every, told) as doing:
        try:
            async with asyncio.timeout(None) as limit:
                limiting = asyncio.ensure_future(end_within(stop, limit, grace))
                try:
                    await _pass(runtime, stop, troubles, doing)
                finally:
                    limiting.cancel()
        except TimeoutError:
            log.warning("grace_ran_out", seconds=grace.total_seconds())
            troubles.append(STOPPED)
    return troubles


async def _pass(runtime: Runtime, stop: asyncio.Event, troubles: list[str], doing: _Doing) -> None:
    async with runtime.leader.kept():
        if runtime.kuma.maintenance is None:
            doing.begin("reading KUMA")
            troubles += await _read_kuma(runtime, stop)
        watches = {
            name: watch for name, watch in runtime.watches.items() if runtime.targets[name].gate.maintenance is None
        }
        if watches:
            doing.begin(f"asking {', '.join('the IRP' if name == IRP else name for name in watches)} what was closed")
        # All at once: none waits for a slow one.
        async with asyncio.TaskGroup() as group:
            asked = [group.create_task(_read_closed(runtime, name, stop)) for name in watches]
        for watch in asked:
            troubles += watch.result()
    await _drain(runtime, stop, troubles, doing)
    await _write_back(runtime, stop)


async def _read_kuma(runtime: Runtime, stop: asyncio.Event) -> list[str]:
    """Read KUMA, and say in the process's health how that went."""
    found = await _read(partial(sweep, runtime), stop, runtime)
    if found and runtime.leader.ours:
        runtime.health.failed("poll", found[0].removeprefix("kuma: "))
    elif not found and not stop.is_set():
        runtime.health.succeeded("poll")
    return found


async def _read_closed(runtime: Runtime, target: str, stop: asyncio.Event) -> list[str]:
    """Ask a target what was closed there, and say in the process's health how that went."""
    found = await _read(partial(_watch, runtime.watches[target]), stop, runtime)
    if found:
        part = part_of("watch", target)
        runtime.health.trouble("close", part, f"{part}: {found[0]}")
    return found


async def _read(read: Callable[[], Awaitable[list[str]]], stop: asyncio.Event, runtime: Runtime) -> list[str]:
    """Read one side; return what went wrong with it."""
    try:
        return await _unless_stopped(read, stop, runtime.limits.last_moments)
    except (RemoteError, GateClosed, ClaimLost, NotLeader) as error:
        return [str(error)]


async def _write_back(runtime: Runtime, stop: asyncio.Event) -> None:
    if runtime.write_back is not None and not stop.is_set():
        await runtime.write_back.write()


async def _drain(runtime: Runtime, stop: asyncio.Event, troubles: list[str], doing: _Doing) -> None:
    since = runtime.kuma.pace.clock()
    doing.begin(DELIVERING)
    while not stop.is_set():
        # Both queues and all targets at once: none waits for a slow one.
        async with asyncio.TaskGroup() as group:
            draining = [group.create_task(_deliver(runtime, one, since, stop)) for one in runtime.targets.values()]
            draining.append(group.create_task(runtime.closes.drain(since, stop)))
        if not sum(task.result() for task in draining):
            return
    troubles.append(STOPPED)


async def _deliver(runtime: Runtime, target: TargetRuntime, since: datetime, stop: asyncio.Event) -> int:
    """Deliver what is due in a target; where its creates wait for a second look of `find`, wait for that, and go on.

    That wait is no back-off, and comes once in the life of a profile. Return how many jobs were taken.
    """
    clock, proof = runtime.kuma.pace.clock, target.proof
    taken = await target.deliveries.drain(since, stop)
    look = proof.second_look if proof is not None else None
    if proof is None or look is None or look - clock() > runtime.limits.longest_look or stop.is_set():
        return taken
    log.info("second_look_awaited", target=target.name)
    if not await happens(stop, within=max((look - clock()).total_seconds(), 0) + A_MOMENT):
        taken += await target.deliveries.drain(clock(), stop)
    if proof.shown and not stop.is_set():
        taken += await target.deliveries.drain(clock(), stop)
    return taken


async def _unless_stopped(
    read: Callable[[], Awaitable[list[str]]], stop: asyncio.Event, last_moments: timedelta
) -> list[str]:
    """Read; what is still being read a moment after the stop is cut off, for it is simply read again."""
    if stop.is_set():
        return []
    reading, stopping = asyncio.ensure_future(read()), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({reading}, timeout=last_moments.total_seconds())
        if not reading.done():
            reading.cancel()
            await asyncio.wait({reading})
        return [] if reading.cancelled() else reading.result()
    finally:
        reading.cancel()
        stopping.cancel()


class _Doing:
    """What a pass does now, for the log, or for who is `told`."""

    def __init__(self, told: Callable[[str], None] | None) -> None:
        self._told = told
        self._what = ""
        self._since = 0.0

    def begin(self, what: str) -> None:
        """Say what begins."""
        self._what, self._since = what, time.monotonic()
        if self._told is None:
            log.info("pass_goes_on", doing=what, seconds=0)
        else:
            self._told(what)

    def goes_on(self) -> None:
        """Say that it goes on."""
        log.info("pass_goes_on", doing=self._what, seconds=round(time.monotonic() - self._since))


@asynccontextmanager
async def _said(every: timedelta, told: Callable[[str], None] | None) -> AsyncIterator[_Doing]:
    """Say in the log at this pace what is being done, while the block runs; nothing where somebody is `told`."""
    doing = _Doing(told)
    if told is not None:
        yield doing
        return

    async def say() -> None:
        while True:
            await asyncio.sleep(every.total_seconds())
            doing.goes_on()

    saying = asyncio.ensure_future(say())
    try:
        yield doing
    finally:
        saying.cancel()


async def sweep(runtime: Runtime) -> list[str]:
    """Read KUMA once with a sweep, as a single pass does; return what went wrong."""
    round_ = await runtime.poller.poll_once(sweep=True)
    unreadable = sorted(set().union(*round_.unreadable.values()))
    troubles = [f"kuma: {round_.incomplete}"] if round_.incomplete else []
    return troubles + [f"kuma: {alert_id} cannot be had by its id" for alert_id in unreadable]


async def _watch(watch: Watch) -> list[str]:
    await watch.watch_once()
    return []
