"""The daemon's loops under one roof: started together, drained together, within a grace."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from kuma_sync.core.errors import ClaimLost, RemoteError, StoreUnavailable
from kuma_sync.core.routing import IRP, Routing
from kuma_sync.irp.profile import Profile
from kuma_sync.store import Identity, Store
from kuma_sync.sync.closing.watch import Watch
from kuma_sync.sync.delivery.proof import Proof
from kuma_sync.sync.delivery.write_back import WriteBackLoop
from kuma_sync.sync.handout.expecting import Expecting
from kuma_sync.sync.leader import LeaderLease, NotLeader
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.polling.poller import Poller
from kuma_sync.sync.queue.worker import Worker
from kuma_sync.sync.remote.gate import GateClosed, RemoteGate
from kuma_sync.sync.runtime.housekeeping import Housekeeping
from kuma_sync.sync.runtime.maintenance import MaintenanceWatch
from kuma_sync.sync.runtime.monitor import observe
from kuma_sync.sync.runtime.periodic_loop import PeriodicLoop, Polling, Watching
from kuma_sync.sync.runtime.supervisor import happens, supervise
from kuma_sync.sync.schedule import Bell, ringing
from kuma_sync.telemetry.health import Health, part_of, split_part
from kuma_sync.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

A_MOMENT = 0.1
"""Seconds: two clocks never agree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRuntime:
    """Everything that works for one target, and for no other: whatever stops it stops it alone.

    `can_find` says whether it can be asked for its incidents; `asked`, whether more than deliveries speaks to it. One
    that polls us is not asked, proven or watched; it is expected.
    """

    name: str
    profile: Profile
    can_find: bool
    gate: RemoteGate
    deliveries: Worker
    asked: bool
    proof: Proof | None = None
    watch: Watch | None = None
    expecting: Expecting | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Everything that works for one configuration; a reload makes a new runtime and lets the old one finish.

    `identity` says whose store it works with. Of a `broken` target a sentence says what is wrong with it.
    """

    identity: Identity
    routing: Routing
    targets: Mapping[str, TargetRuntime]
    broken: Mapping[str, str]
    store: Store
    poller: Poller
    closes: Worker
    kuma: RemoteGate
    turns: LeaderLease
    housekeeping: Housekeeping
    maintenance: MaintenanceWatch
    write_back: WriteBackLoop | None
    health: Health
    metrics: Metrics
    poll_interval: timedelta
    watch_interval: timedelta
    closes_on: bool
    limits: Limits

    @property
    def gates(self) -> dict[str, RemoteGate]:
        """Return the gates of all remotes, by their part of the process."""
        return {"kuma": self.kuma} | {part_of("irp", name): target.gate for name, target in self.targets.items()}

    @property
    def proofs(self) -> list[Proof]:
        """Return the proofs of the targets that have one."""
        return [target.proof for target in self.targets.values() if target.proof is not None]

    @property
    def watches(self) -> dict[str, Watch]:
        """Return the watches by target."""
        return {name: target.watch for name, target in self.targets.items() if target.watch is not None}

    @property
    def expectations(self) -> list[Expecting]:
        """Return what waits for the targets that poll us."""
        return [target.expecting for target in self.targets.values() if target.expecting is not None]

    @property
    def workers(self) -> list[Worker]:
        """Return the workers of both queues."""
        return [*(target.deliveries for target in self.targets.values()), self.closes]


async def work(runtime: Runtime, stop: asyncio.Event, grace: timedelta) -> bool:
    """Let a runtime work until told to stop, then finish what is in flight; false when the grace ran out."""
    periodic = _periodic(runtime)
    _expect(runtime, periodic)
    with contextlib.suppress(StoreUnavailable):
        # Before the first request, and not beside it.
        await runtime.maintenance.look()
    try:
        async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:
            waiting = group.create_task(_limit(stop, limit, grace))
            aides = [
                group.create_task(runtime.turns.keep()),
                group.create_task(_observe(runtime)),
                *([group.create_task(runtime.write_back.watch(), name="write-back")] if runtime.write_back else []),
                group.create_task(runtime.maintenance.watch(every=runtime.limits.maintenance_looked_for)),
                *(group.create_task(proof.watch(), name="proof") for proof in runtime.proofs),
                *(group.create_task(one.watch(), name="expecting") for one in runtime.expectations),
            ]
            await _loops(runtime, periodic, stop)
            for task in (*aides, waiting):
                task.cancel()
    except TimeoutError:
        log.warning("grace_ran_out", seconds=grace.total_seconds())
        return False
    finally:
        for name in (*(loop.name for loop in periodic), *(worker.part for worker in runtime.workers)):
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
    _expect_targets(runtime)
    await runtime.maintenance.look()
    troubles += [f"{part_of('irp', name)}: {problem}" for name, problem in runtime.broken.items()]
    for proof in runtime.proofs:
        await proof.take_up()
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
        reads = [("reading KUMA", runtime.kuma, partial(sweep, runtime))]
        for name, watch in runtime.watches.items():
            whom = "the IRP" if name == IRP else name
            reads.append((f"asking {whom} what was closed", runtime.targets[name].gate, partial(_watch, watch)))
        for what, gate, read in reads:
            if gate.maintenance is not None:
                continue
            doing.begin(what)
            try:
                troubles += await _unless_stopped(read, stop, runtime.limits.last_moments)
            except (RemoteError, GateClosed, ClaimLost, NotLeader) as error:
                troubles.append(str(error))
    await _drain(runtime, stop, troubles, doing)
    await _write_back(runtime, stop)
    proofs = runtime.proofs
    looks = [proof.second_look for proof in proofs if proof.second_look is not None]
    if looks and not stop.is_set():
        wait = max(looks) - runtime.kuma.pace.clock()
        if wait <= runtime.limits.longest_look:
            # No back-off, and all creates wait for it, once in the life of a profile.
            doing.begin("waiting until find shows what create made")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(wait.total_seconds(), 0) + A_MOMENT):
                    await stop.wait()
            await _drain(runtime, stop, troubles, doing)
            if any(proof.shown for proof in proofs) and not stop.is_set():
                await _drain(runtime, stop, troubles, doing)


async def _write_back(runtime: Runtime, stop: asyncio.Event) -> None:
    if runtime.write_back is not None and not stop.is_set():
        await runtime.write_back.write()


async def _drain(runtime: Runtime, stop: asyncio.Event, troubles: list[str], doing: _Doing) -> None:
    since = runtime.kuma.pace.clock()
    doing.begin("delivering and closing")
    while not stop.is_set():
        # All targets at once: none waits for a slow one.
        async with asyncio.TaskGroup() as group:
            draining = [group.create_task(target.deliveries.drain(since, stop)) for target in runtime.targets.values()]
        taken = sum(task.result() for task in draining) + await runtime.closes.drain(since, stop)
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


async def sweep(runtime: Runtime) -> list[str]:
    """Read KUMA once with a sweep, as a single pass does; return what went wrong."""
    round_ = await runtime.poller.poll_once(sweep=True)
    unreadable = sorted(set().union(*round_.unreadable.values()))
    troubles = [f"kuma: {round_.incomplete}"] if round_.incomplete else []
    return troubles + [f"kuma: {alert_id} cannot be had by its id" for alert_id in unreadable]


async def _watch(watch: Watch) -> list[str]:
    await watch.watch_once()
    return []


def _periodic(runtime: Runtime) -> list[PeriodicLoop]:
    limits, health = runtime.limits, runtime.health
    loop = partial(PeriodicLoop, last_moments=limits.last_moments)
    polling = Polling(runtime.poller, runtime.kuma, health=health, metrics=runtime.metrics)
    watching = {
        part_of("watch", name): Watching(
            watch, name, runtime.targets[name].gate, ring=runtime.closes.bell.ring, health=health
        )
        for name, watch in runtime.watches.items()
    }
    return [
        loop("poll", polling, part="poll", interval=runtime.poll_interval),
        *(loop(name, watch, part="close", interval=runtime.watch_interval) for name, watch in watching.items()),
        loop("housekeeping", runtime.housekeeping, part="store", interval=limits.house_kept_every),
    ]


async def _loops(runtime: Runtime, periodic: Sequence[PeriodicLoop], stop: asyncio.Event) -> None:
    loops: list[PeriodicLoop | Worker] = [*periodic, *runtime.workers]
    with ringing({loop.bell: loop.interval for loop in periodic}):
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                name = loop.part if isinstance(loop, Worker) else loop.name
                tell = partial(runtime.health.trouble, loop.part, f"{name} loop")
                running = supervise(name, partial(loop.run, stop), stop, tell, restarts=runtime.limits.restarts)
                context = copy_context()
                if len(runtime.targets) > 1:
                    context.run(_name_target, name)
                group.create_task(running, name=name, context=context)
            group.create_task(_ring_for_trials(runtime, periodic[0].bell, stop), name="trials")


def _name_target(loop: str) -> None:
    """Have every log line of a target's loop name the target."""
    _name, target = split_part(loop)
    if target:
        structlog.contextvars.bind_contextvars(target=target)


async def _ring_for_trials(runtime: Runtime, polls: Bell, stop: asyncio.Event) -> None:
    """Have KUMA polled as soon as its pause may be over (its secret's file changed, perhaps), whatever the interval.

    An operator's pause is over when he says so, or by the clock.
    """
    gate, maintained = runtime.kuma, False
    while not await happens(stop, within=runtime.limits.trials_looked_for.total_seconds()):
        resumed, maintained = maintained, gate.maintenance is not None
        waits = gate.stands_still(reads=True) or (resumed and not maintained)
        if runtime.turns.ours and waits and gate.open_at(reads=True) is None:
            polls.ring()


async def _observe(runtime: Runtime) -> None:
    await observe(
        runtime.store,
        health=runtime.health,
        metrics=runtime.metrics,
        gates=runtime.gates,
        targets=[*runtime.targets, *runtime.broken],
        every=runtime.limits.observed_every,
    )


async def _limit(stop: asyncio.Event, limit: asyncio.Timeout, grace: timedelta) -> None:
    await stop.wait()
    limit.reschedule(asyncio.get_running_loop().time() + grace.total_seconds())


def _expect_targets(runtime: Runtime) -> None:
    targets = [*runtime.targets, *runtime.broken]
    runtime.health.expect_targets(targets)
    runtime.metrics.expect_targets(targets)


def _expect(runtime: Runtime, periodic: Sequence[PeriodicLoop]) -> None:
    health, limits = runtime.health, runtime.limits
    _expect_targets(runtime)
    health.starting("poll")
    health.fresh_within("poll", max(runtime.poll_interval * 2, limits.brief))
    health.fresh_within("store", limits.silence)
    for worker in runtime.workers:
        health.starting(worker.part)
        health.fresh_within(worker.part, limits.silence)
        health.works_within(worker.part, limits.drought)
        health.expects(worker.part, limits.longest_job)
    for loop in periodic:
        # Where the clock was set back, a bell comes after twice its interval.
        health.expects(loop.name, limits.longest_read + loop.interval * 2)
    if not runtime.closes_on:
        health.off("close")
    for name, target in runtime.targets.items():
        if not target.asked:
            # Nothing but deliveries speaks to it: what nobody asked is not unwell.
            health.succeeded(part_of("irp", name))
    for name, problem in runtime.broken.items():
        for part in ("irp", "delivery"):
            health.failed(part_of(part, name), problem)
