"""The daemon's loops under one roof: started together, drained together, within a grace."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
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
from kuma_sync.sync.outage import outlasting
from kuma_sync.sync.polling.poller import Poller
from kuma_sync.sync.queue.worker import Worker
from kuma_sync.sync.remote.gate import GateClosed, RemoteGate
from kuma_sync.sync.runtime.monitor import observe
from kuma_sync.sync.runtime.periodic_loop import Housekeeping, Polling, Watching
from kuma_sync.sync.runtime.supervisor import happens, supervise, whenever
from kuma_sync.sync.schedule import Bell, ringing
from kuma_sync.telemetry.health import Health, Part
from kuma_sync.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

A_MOMENT = 0.1
"""Seconds: two clocks never agree."""

LOOPS: Mapping[str, Part] = {
    "poll": "poll",
    "watch": "close",
    "housekeeping": "store",
    "delivery": "delivery",
    "close": "close",
}
"""Every loop, and the part that is not well when it fails."""


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
    _expect(runtime)
    try:
        async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
            waiting = group.create_task(_limit(stop, limit, grace))
            aides = [
                group.create_task(runtime.turns.keep()),
                group.create_task(runtime.proof.watch(), name="proof"),
                group.create_task(_observe(runtime)),
            ]
            await _loops(runtime, stop)
            for task in (*aides, waiting):
                task.cancel()
    except TimeoutError:
        log.warning("grace_ran_out", seconds=grace.total_seconds())
        return False
    finally:
        for loop in LOOPS:
            runtime.health.ended(loop)
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


async def _loops(runtime: Runtime, stop: asyncio.Event) -> None:
    polls, watches, hours = Bell(), Bell(), Bell()
    limits, hourly = runtime.limits, runtime.limits.house_kept_every
    at = partial(whenever, stop=stop, last_moments=limits.last_moments)
    polling = Polling(runtime.poller, health=runtime.health, metrics=runtime.metrics)
    keep_house = partial(_keep_house, runtime)
    watching = Watching(runtime.watch, ring=runtime.closes.bell.ring, health=runtime.health)
    with ringing({polls: runtime.poll_interval, watches: runtime.watch_interval, hours: hourly}):
        async with asyncio.TaskGroup() as group:
            loops = {
                "poll": partial(at, polls, outlasting("poll", polling), interval=runtime.poll_interval),
                "watch": partial(at, watches, outlasting("watch", watching), interval=runtime.watch_interval),
                "housekeeping": partial(at, hours, outlasting("housekeeping", keep_house), interval=hourly),
                "delivery": partial(runtime.deliveries.run, stop),
                "close": partial(runtime.closes.run, stop),
            }
            for name, loop in loops.items():
                tell = partial(runtime.health.trouble, LOOPS[name], f"{name} loop")
                group.create_task(supervise(name, loop, stop, tell, restarts=limits.restarts), name=name)
            group.create_task(_ring_for_trials(runtime, polls, stop), name="trials")


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


async def _keep_house(runtime: Runtime) -> None:
    runtime.health.beat("housekeeping")
    await runtime.housekeeping()


async def _limit(stop: asyncio.Event, limit: asyncio.Timeout, grace: timedelta) -> None:
    await stop.wait()
    limit.reschedule(asyncio.get_running_loop().time() + grace.total_seconds())


def _expect(runtime: Runtime) -> None:
    health, limits = runtime.health, runtime.limits
    health.starting("poll")
    health.fresh_within("poll", max(runtime.poll_interval * 2, limits.brief))
    health.fresh_within("store", limits.silence)
    for worker in (runtime.deliveries, runtime.closes):
        health.starting(worker.name)
        health.fresh_within(worker.name, limits.silence)
        health.works_within(worker.name, limits.drought)
        health.expects(worker.name, limits.longest_job)
    # Where the clock was set back, a bell comes after twice its interval.
    health.expects("poll", limits.longest_read + runtime.poll_interval * 2)
    health.expects("watch", limits.longest_read + runtime.watch_interval * 2)
    health.expects("housekeeping", limits.longest_read + limits.house_kept_every * 2)
    if not runtime.closes_on:
        health.off("close")
    if not runtime.irp_asked:
        # Nothing but deliveries speaks to it: what nobody asked is not unwell.
        health.succeeded("irp")
