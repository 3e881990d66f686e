"""The daemon's loops under one roof: started together, drained together, within a grace.

Must not: build anything (that is wiring), or know signals (that is the command).
"""

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
from kuma_sync.daemon.limits import Limits
from kuma_sync.daemon.loops import Housekeeping, Polling, Watching
from kuma_sync.daemon.observe import observe
from kuma_sync.daemon.outage import outlasting
from kuma_sync.daemon.poller import Poller
from kuma_sync.daemon.proof import Proof
from kuma_sync.daemon.schedule import Bell, ringing
from kuma_sync.daemon.side import Side, SideStopped
from kuma_sync.daemon.supervise import happens, supervise, whenever
from kuma_sync.daemon.turn import NotOurTurn, ReadersTurn
from kuma_sync.daemon.watch import Watch
from kuma_sync.daemon.worker import Worker
from kuma_sync.irp.profile import Profile
from kuma_sync.store import Identity, Store
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
class Crew:
    """Everything that works for one configuration; a reload makes a new crew and lets the old one finish.

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
    turns: ReadersTurn
    housekeeping: Housekeeping
    sides: Mapping[str, Side]
    health: Health
    metrics: Metrics
    poll_interval: timedelta
    watch_interval: timedelta
    closes_on: bool
    irp_asked: bool
    limits: Limits


async def work(crew: Crew, stop: asyncio.Event, grace: timedelta) -> bool:
    """Let a crew work until told to stop, then finish what is in flight; false when the grace ran out."""
    _expect(crew)
    try:
        async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
            waiting = group.create_task(_limit(stop, limit, grace))
            aides = [
                group.create_task(crew.turns.keep()),
                group.create_task(crew.proof.watch(), name="proof"),
                group.create_task(_observe(crew)),
            ]
            await _loops(crew, stop)
            for task in (*aides, waiting):
                task.cancel()
    except TimeoutError:
        log.warning("grace_ran_out", seconds=grace.total_seconds())
        return False
    finally:
        for loop in LOOPS:
            crew.health.ended(loop)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(crew.limits.last_moments.total_seconds()):
                await crew.turns.give_back()
    return True


STOPPED = "stopped by a signal before the pass was complete"


async def once(crew: Crew, *, stop: asyncio.Event | None = None, grace: timedelta = timedelta()) -> list[str]:
    """Do one complete pass: sweep, ask the IRP, attempt every due delivery and closing; return what went wrong.

    Told to stop it takes up nothing more, and what is in flight has `grace` to end. Raise StoreUnavailable.
    """
    stop = stop or asyncio.Event()
    troubles: list[str] = []
    await crew.proof.take_up()
    for side in crew.sides.values():
        # Every due job is attempted, once: there is no later for which to spare the remote.
        side.never_trip()
    async with _said(crew.limits.told_every) as doing:
        try:
            async with asyncio.timeout(None) as limit:
                limiting = asyncio.ensure_future(_limit(stop, limit, grace))
                try:
                    await _pass(crew, stop, troubles, doing)
                finally:
                    limiting.cancel()
        except TimeoutError:
            log.warning("grace_ran_out", seconds=grace.total_seconds())
            troubles.append(STOPPED)
    return troubles


async def _pass(crew: Crew, stop: asyncio.Event, troubles: list[str], doing: _Doing) -> None:
    async with crew.turns.kept():
        for what, read in (("reading KUMA", _sweep), ("asking the IRP what was closed", _watch)):
            doing.begin(what)
            try:
                troubles += await _unless_stopped(partial(read, crew), stop, crew.limits.last_moments)
            except (RemoteError, SideStopped, ClaimLost, NotOurTurn) as error:
                troubles.append(str(error))
    await _drain(crew, stop, troubles, doing)
    if (again := crew.proof.second_look) is not None and not stop.is_set():
        wait = again - crew.sides["irp"].pace.clock()
        if wait <= crew.limits.longest_look:
            # No back-off, and all creates wait for it, once in the life of a profile.
            doing.begin("waiting until find shows what create made")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(wait.total_seconds(), 0) + A_MOMENT):
                    await stop.wait()
            await _drain(crew, stop, troubles, doing)
            if crew.proof.shown and not stop.is_set():
                await _drain(crew, stop, troubles, doing)


async def _drain(crew: Crew, stop: asyncio.Event, troubles: list[str], doing: _Doing) -> None:
    since = crew.sides["irp"].pace.clock()
    doing.begin("delivering and closing")
    while not stop.is_set():
        taken = await crew.deliveries.drain(since, stop) + await crew.closes.drain(since, stop)
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


async def _sweep(crew: Crew) -> list[str]:
    round_ = await crew.poller.poll_once(sweep=True)
    unreadable = sorted(set().union(*round_.unreadable.values()))
    troubles = [f"kuma: {round_.incomplete}"] if round_.incomplete else []
    return troubles + [f"kuma: {alert_id} cannot be had by its id" for alert_id in unreadable]


async def _watch(crew: Crew) -> list[str]:
    await crew.watch.watch_once()
    return []


async def _loops(crew: Crew, stop: asyncio.Event) -> None:
    polls, watches, hours = Bell(), Bell(), Bell()
    limits, hourly = crew.limits, crew.limits.house_kept_every
    at = partial(whenever, stop=stop, last_moments=limits.last_moments)
    polling = Polling(crew.poller, health=crew.health, metrics=crew.metrics)
    keep_house = partial(_keep_house, crew)
    watching = Watching(crew.watch, ring=crew.closes.bell.ring, health=crew.health)
    with ringing({polls: crew.poll_interval, watches: crew.watch_interval, hours: hourly}):
        async with asyncio.TaskGroup() as group:
            loops = {
                "poll": partial(at, polls, outlasting("poll", polling), interval=crew.poll_interval),
                "watch": partial(at, watches, outlasting("watch", watching), interval=crew.watch_interval),
                "housekeeping": partial(at, hours, outlasting("housekeeping", keep_house), interval=hourly),
                "delivery": partial(crew.deliveries.run, stop),
                "close": partial(crew.closes.run, stop),
            }
            for name, loop in loops.items():
                tell = partial(crew.health.trouble, LOOPS[name], f"{name} loop")
                group.create_task(supervise(name, loop, stop, tell, restarts=limits.restarts), name=name)
            group.create_task(_ring_for_trials(crew, polls, stop), name="trials")


async def _ring_for_trials(crew: Crew, polls: Bell, stop: asyncio.Event) -> None:
    """Have KUMA polled as soon as its pause may be over (its secret's file changed, perhaps), whatever the interval."""
    side = crew.sides["kuma"]
    while not await happens(stop, within=crew.limits.trials_looked_for.total_seconds()):
        if crew.turns.ours and side.stands_still(reads=True) and side.open_at(reads=True) is None:
            polls.ring()


async def _observe(crew: Crew) -> None:
    await observe(
        crew.store,
        health=crew.health,
        metrics=crew.metrics,
        sides=crew.sides,
        every=crew.limits.observed_every,
    )


async def _keep_house(crew: Crew) -> None:
    crew.health.beat("housekeeping")
    await crew.housekeeping()


async def _limit(stop: asyncio.Event, limit: asyncio.Timeout, grace: timedelta) -> None:
    await stop.wait()
    limit.reschedule(asyncio.get_running_loop().time() + grace.total_seconds())


def _expect(crew: Crew) -> None:
    health, limits = crew.health, crew.limits
    health.starting("poll")
    health.fresh_within("poll", max(crew.poll_interval * 2, limits.brief))
    health.fresh_within("store", limits.silence)
    for worker in (crew.deliveries, crew.closes):
        health.starting(worker.name)
        health.fresh_within(worker.name, limits.silence)
        health.works_within(worker.name, limits.drought)
        health.expects(worker.name, limits.longest_job)
    # Where the clock was set back, a bell comes after twice its interval.
    health.expects("poll", limits.longest_read + crew.poll_interval * 2)
    health.expects("watch", limits.longest_read + crew.watch_interval * 2)
    health.expects("housekeeping", limits.longest_read + limits.house_kept_every * 2)
    if not crew.closes_on:
        health.off("close")
    if not crew.irp_asked:
        # Nothing but deliveries speaks to it: what nobody asked is not unwell.
        health.succeeded("irp")
