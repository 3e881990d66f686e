"""The daemon's loops: started together, ended together, within a grace."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.core.privacy import Privacy
from kuma_sync.core.routing import IRP, Routing
from kuma_sync.irp.profile import Profile
from kuma_sync.store import Identity, Store
from kuma_sync.sync.closing.watch import Watch
from kuma_sync.sync.delivery.context import ContentsReader
from kuma_sync.sync.delivery.looking import IncidentLook
from kuma_sync.sync.delivery.proof import Proof
from kuma_sync.sync.handout.expecting import Expecting
from kuma_sync.sync.leader import LeaderLease
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.passing import Passing
from kuma_sync.sync.polling.poller import Poller
from kuma_sync.sync.queue.worker import Worker
from kuma_sync.sync.remote.gate import RemoteGate
from kuma_sync.sync.runtime.housekeeping import Housekeeping
from kuma_sync.sync.runtime.maintenance import MaintenanceWatch
from kuma_sync.sync.runtime.monitor import observe
from kuma_sync.sync.runtime.periodic_loop import PeriodicLoop, Polling, Watching
from kuma_sync.sync.runtime.supervisor import happens, supervise
from kuma_sync.sync.schedule import Bell, ringing
from kuma_sync.sync.write_back import WriteBackLoop
from kuma_sync.telemetry.health import Health, part_of, split_part
from kuma_sync.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRuntime:
    """Everything that works for one target, and for no other: whatever stops it stops it alone.

    `can_find` says whether it can be asked for its incidents, `find_always` that it must be before creates; `asked`,
    whether more than deliveries speaks to it. One that polls us is not asked, proven or watched; it is expected.
    """

    name: str
    profile: Profile
    can_find: bool
    find_always: bool
    gate: RemoteGate
    deliveries: Worker
    asked: bool
    look: IncidentLook | None = None
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
    privacy: Privacy
    targets: Mapping[str, TargetRuntime]
    broken: Mapping[str, str]
    store: Store
    poller: Poller
    closes: Worker
    kuma: RemoteGate
    contents: ContentsReader
    passing: Passing
    leader: LeaderLease
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
    def names(self) -> list[str]:
        """Return the names of all targets, the broken ones too."""
        return [*self.targets, *self.broken]

    @property
    def gates(self) -> dict[str, RemoteGate]:
        """Return the gates of all remotes, by their part of the process."""
        return {"kuma": self.kuma} | {part_of("irp", name): target.gate for name, target in self.targets.items()}

    @property
    def tries(self) -> dict[str, datetime]:
        """Return when a remote that is asked nothing now is tried next, by its part of the process."""
        return {part: at for part, gate in self.gates.items() if (at := gate.tried_at) is not None}

    @property
    def proofs(self) -> list[Proof]:
        """Return the proofs of the targets that have one."""
        return [target.proof for target in self.targets.values() if target.proof is not None]

    @property
    def looks(self) -> dict[str, IncidentLook]:
        """Return what asks for a person what an incident holds, by target."""
        return {name: target.look for name, target in self.targets.items() if target.look is not None}

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
            waiting = group.create_task(end_within(stop, limit, grace))
            aides = [
                group.create_task(runtime.leader.keep()),
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
        await _give_back(runtime)
    return True


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
            reading: list[asyncio.Task[None]] = []
            for loop in loops:
                name = loop.part if isinstance(loop, Worker) else loop.name
                tell = partial(runtime.health.trouble, loop.part, f"{name} loop")
                running = supervise(name, partial(loop.run, stop), stop, tell, restarts=runtime.limits.restarts)
                context = copy_context()
                if runtime.names != [IRP]:
                    context.run(_name_target, name)
                task = group.create_task(running, name=name, context=context)
                if isinstance(loop, PeriodicLoop):
                    reading.append(task)
            group.create_task(_ring_for_trials(runtime, periodic[0].bell, stop), name="trials")
            group.create_task(_ring_for_the_lease(runtime, periodic[0].bell, stop), name="lease")
            group.create_task(_hand_over(runtime, reading, stop), name="hand over")


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
        if runtime.leader.ours and waits and gate.open_at(reads=True) is None:
            polls.ring()


async def _ring_for_the_lease(runtime: Runtime, polls: Bell, stop: asyncio.Event) -> None:
    """Have a copy that stands by ask for the lease, whatever the interval: the one that reads may be gone.

    Another loop may be the one that gets it: then KUMA was not polled in this turn yet.
    """
    while not await happens(stop, within=runtime.limits.leader_asked_every.total_seconds()):
        if runtime.leader.fence is None or runtime.leader.fence != runtime.poller.turn:
            polls.ring()


async def _hand_over(runtime: Runtime, reading: Sequence[asyncio.Task[None]], stop: asyncio.Event) -> None:
    """Give the lease back as soon as nothing reads any more: deliveries in flight may take all of the grace."""
    await stop.wait()
    await asyncio.wait(reading)
    await _give_back(runtime)


async def _give_back(runtime: Runtime) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(runtime.limits.last_moments.total_seconds()):
            await runtime.leader.give_back()


async def _observe(runtime: Runtime) -> None:
    await observe(
        runtime.store,
        health=runtime.health,
        metrics=runtime.metrics,
        gates=runtime.gates,
        targets=runtime.names,
        every=runtime.limits.observed_every,
    )


async def end_within(stop: asyncio.Event, limit: asyncio.Timeout, grace: timedelta) -> None:
    await stop.wait()
    limit.reschedule(asyncio.get_running_loop().time() + grace.total_seconds())


def expect_targets(runtime: Runtime) -> None:
    """Have the parts of these targets judged, and their metrics shown."""
    runtime.health.expect_targets(runtime.names)
    runtime.metrics.expect_targets(runtime.names)
    for name, problem in runtime.broken.items():
        for part in ("irp", "delivery"):
            runtime.health.failed(part_of(part, name), problem)


def _expect(runtime: Runtime, periodic: Sequence[PeriodicLoop]) -> None:
    health, limits = runtime.health, runtime.limits
    expect_targets(runtime)
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
            health.presumed(part_of("irp", name))
