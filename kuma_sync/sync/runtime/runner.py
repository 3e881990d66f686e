"""The daemon's loops under one roof: started together, drained together, within a grace."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from kuma_sync.core.errors import ClaimLost, RemoteError
from kuma_sync.irp.profile import Profile
from kuma_sync.store import Identity, Store
from kuma_sync.sync.closing.watch import Watch
from kuma_sync.sync.delivery.proof import Proof
from kuma_sync.sync.leader import LeaderLease, NotLeader
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.polling.poller import Poller
from kuma_sync.sync.queue.worker import Worker
from kuma_sync.sync.remote.gate import GateClosed, RemoteGate
from kuma_sync.sync.runtime.housekeeping import Housekeeping
from kuma_sync.sync.runtime.monitor import observe
from kuma_sync.sync.runtime.periodic_loop import PeriodicLoop, Polling, Watching
from kuma_sync.sync.runtime.supervisor import happens, supervise
from kuma_sync.sync.schedule import Bell, ringing
from kuma_sync.telemetry.health import Health
from kuma_sync.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

A_MOMENT = 0.1
"""Seconds: two clocks never agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Everything that works for one configuration; a reload makes a new runtime and lets the old one finish.

    `identity` says whose store it works with; `can_find`, whether its IRP can be asked what it has.
    """

    identity: Identity
    profile: Profile
    can_find: bool
    store: Store
    poller: Poller
    watch: Watch
    deliveries: Worker
    proof: Proof
    closes: Worker
    turns: LeaderLease
    housekeeping: Housekeeping
    gates: Mapping[str, RemoteGate]
    health: Health
    metrics: Metrics
    poll_interval: timedelta
    watch_interval: timedelta
    closes_on: bool
    irp_asked: bool
    limits: Limits


async def work(runtime: Runtime, stop: asyncio.Event, grace: timedelta) -> bool:
    """Let a runtime work until told to stop, then finish what is in flight; false when the grace ran out."""
    periodic = _periodic(runtime)
    _expect(runtime, periodic)
    try:
        async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
            waiting = group.create_task(_limit(stop, limit, grace))
            aides = [
                group.create_task(runtime.turns.keep()),
                group.create_task(runtime.proof.watch(), name="proof"),
                group.create_task(_observe(runtime)),
            ]
            await _loops(runtime, periodic, stop)
            for task in (*aides, waiting):
                task.cancel()
    except TimeoutError:
        log.warning("grace_ran_out", seconds=grace.total_seconds())
        return False
    finally:
        for name in (*(loop.name for loop in periodic), runtime.deliveries.name, runtime.closes.name):
            runtime.health.ended(name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(runtime.limits.last_moments.total_seconds()):
                await runtime.turns.give_back()
    return True


STOPPED = "stopped by a signal before the pass was complete"


async def once(runtime: Runtime, *, stop: asyncio.Event | None = None, grace: timedelta = timedelta()) -> list[str]:
    """Do one complete pass: sweep, ask the IRP, attempt every due delivery and closing; return what went wrong.

    Told to stop it takes up nothing more, and what is in flight has `grace` to end. Raise StoreUnavailable.
    """
    stop = stop or asyncio.Event()
    troubles: list[str] = []
    await runtime.proof.take_up()
    for gate in runtime.gates.values():
        # Every due job is attempted, once: there is no later for which to spare the remote.
        gate.never_trip()
    async with _said(runtime.limits.told_every) as doing:
        try:
            async with asyncio.timeout(None) as limit:
                limiting = asyncio.ensure_future(_limit(stop, limit, grace))
                try:
                    await _pass(runtime, stop, troubles, doing)
                finally:
                    limiting.cancel()
        except TimeoutError:
            log.warning("grace_ran_out", seconds=grace.total_seconds())
            troubles.append(STOPPED)
    return troubles


async def _pass(runtime: Runtime, stop: asyncio.Event, troubles: list[str], doing: _Doing) -> None:
    async with runtime.turns.kept():
        for what, read in (("reading KUMA", _sweep), ("asking the IRP what was closed", _watch)):
            doing.begin(what)
            try:
                troubles += await _unless_stopped(partial(read, runtime), stop, runtime.limits.last_moments)
            except (RemoteError, GateClosed, ClaimLost, NotLeader) as error:
                troubles.append(str(error))
    await _drain(runtime, stop, troubles, doing)
    if (again := runtime.proof.second_look) is not None and not stop.is_set():
        wait = again - runtime.gates["irp"].pace.clock()
        if wait <= runtime.limits.longest_look:
            # No back-off, and all creates wait for it, once in the life of a profile.
            doing.begin("waiting until find shows what create made")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(wait.total_seconds(), 0) + A_MOMENT):
                    await stop.wait()
            await _drain(runtime, stop, troubles, doing)
            if runtime.proof.shown and not stop.is_set():
                await _drain(runtime, stop, troubles, doing)


async def _drain(runtime: Runtime, stop: asyncio.Event, troubles: list[str], doing: _Doing) -> None:
    since = runtime.gates["irp"].pace.clock()
    doing.begin("delivering and closing")
    while not stop.is_set():
        taken = await runtime.deliveries.drain(since, stop) + await runtime.closes.drain(since, stop)
        if not taken:
            return
    troubles.append(STOPPED)


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
    """What a pass does now, for the log."""

    def __init__(self) -> None:
        self._what = ""
        self._since = 0.0

    def begin(self, what: str) -> None:
        """Say what begins."""
        self._what, self._since = what, time.monotonic()
        log.info("pass_goes_on", doing=what, seconds=0)

    def goes_on(self) -> None:
        """Say that it goes on."""
        log.info("pass_goes_on", doing=self._what, seconds=round(time.monotonic() - self._since))


@asynccontextmanager
async def _said(every: timedelta) -> AsyncIterator[_Doing]:
    """Say at this pace what is being done, while the block runs."""
    doing = _Doing()

    async def say() -> None:
        while True:
            await asyncio.sleep(every.total_seconds())
            doing.goes_on()

    saying = asyncio.ensure_future(say())
    try:
        yield doing
    finally:
        saying.cancel()


async def _sweep(runtime: Runtime) -> list[str]:
    round_ = await runtime.poller.poll_once(sweep=True)
    unreadable = sorted(set().union(*round_.unreadable.values()))
    troubles = [f"kuma: {round_.incomplete}"] if round_.incomplete else []
    return troubles + [f"kuma: {alert_id} cannot be had by its id" for alert_id in unreadable]


async def _watch(runtime: Runtime) -> list[str]:
    await runtime.watch.watch_once()
    return []


def _periodic(runtime: Runtime) -> list[PeriodicLoop]:
    limits, health = runtime.limits, runtime.health
    loop = partial(PeriodicLoop, last_moments=limits.last_moments)
    polling = Polling(runtime.poller, health=health, metrics=runtime.metrics)
    watching = Watching(runtime.watch, ring=runtime.closes.bell.ring, health=health)
    return [
        loop("poll", polling, part="poll", interval=runtime.poll_interval),
        loop("watch", watching, part="close", interval=runtime.watch_interval),
        loop("housekeeping", runtime.housekeeping, part="store", interval=limits.house_kept_every),
    ]


async def _loops(runtime: Runtime, periodic: Sequence[PeriodicLoop], stop: asyncio.Event) -> None:
    loops: list[PeriodicLoop | Worker] = [*periodic, runtime.deliveries, runtime.closes]
    with ringing({loop.bell: loop.interval for loop in periodic}):
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                tell = partial(runtime.health.trouble, loop.part, f"{loop.name} loop")
                running = supervise(loop.name, partial(loop.run, stop), stop, tell, restarts=runtime.limits.restarts)
                group.create_task(running, name=loop.name)
            group.create_task(_ring_for_trials(runtime, periodic[0].bell, stop), name="trials")


async def _ring_for_trials(runtime: Runtime, polls: Bell, stop: asyncio.Event) -> None:
    """Have KUMA polled as soon as its pause may be over (its secret's file changed, perhaps), whatever the interval."""
    gate = runtime.gates["kuma"]
    while not await happens(stop, within=runtime.limits.trials_looked_for.total_seconds()):
        if runtime.turns.ours and gate.stands_still(reads=True) and gate.open_at(reads=True) is None:
            polls.ring()


async def _observe(runtime: Runtime) -> None:
    await observe(
        runtime.store,
        health=runtime.health,
        metrics=runtime.metrics,
        gates=runtime.gates,
        every=runtime.limits.observed_every,
    )


async def _limit(stop: asyncio.Event, limit: asyncio.Timeout, grace: timedelta) -> None:
    await stop.wait()
    limit.reschedule(asyncio.get_running_loop().time() + grace.total_seconds())


def _expect(runtime: Runtime, periodic: Sequence[PeriodicLoop]) -> None:
    health, limits = runtime.health, runtime.limits
    health.starting("poll")
    health.fresh_within("poll", max(runtime.poll_interval * 2, limits.brief))
    health.fresh_within("store", limits.silence)
    for worker in (runtime.deliveries, runtime.closes):
        health.starting(worker.name)
        health.fresh_within(worker.name, limits.silence)
        health.works_within(worker.name, limits.drought)
        health.expects(worker.name, limits.longest_job)
    for loop in periodic:
        # Where the clock was set back, a bell comes after twice its interval.
        health.expects(loop.name, limits.longest_read + loop.interval * 2)
    if not runtime.closes_on:
        health.off("close")
    if not runtime.irp_asked:
        # Nothing but deliveries speaks to it: what nobody asked is not unwell.
        health.succeeded("irp")
