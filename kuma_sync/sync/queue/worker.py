"""Claim, handle, settle: the loop that empties one durable queue, and what it is told.

One HTTP attempt per claim; the queue's schedule is the retry.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Literal, Protocol

import structlog

from kuma_sync.core.errors import ClaimLost, StoreError, StoreUnavailable, ValueRefused
from kuma_sync.core.retry import Bounce, Park, RetryAt
from kuma_sync.core.routing import IRP
from kuma_sync.store import Claim, DurableQueue, Lane, Store, Tx
from kuma_sync.sync.failpoint import failpoint, turning
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.queue.leased_job import LeasedJob, persist
from kuma_sync.sync.queue.memory_limit import MemoryLimit
from kuma_sync.sync.remote.gate import RemoteGate
from kuma_sync.sync.remote.maintenance import Pausable
from kuma_sync.sync.schedule import Bell
from kuma_sync.sync.troubles import Outage
from kuma_sync.telemetry.health import Health, part_of


def _weightless(_tx: Tx, _subjects: Sequence[str]) -> Mapping[str, int]:
    return {}


class Gate(Protocol):
    """What jobs may have to wait for."""

    def stands_still(self) -> bool:
        """Tell whether nothing goes through but a trial."""

    def open_at(self) -> datetime | None:
        """Return when the next request may go out; None means now."""

    def nothing_waits(self) -> None:
        """Note that there is nothing to try it with, so that nobody can tell how it is."""


class Handler(Protocol):
    """What a worker does with a job."""

    async def handle(self, job: LeasedJob) -> RetryAt | Bounce | Park | None:
        """Do the job and acknowledge it (None), or say what follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """Which queue, of which target, towards which side, with how many jobs in flight.

    `gates` are those of single operations: the jobs on a lane wait while one of its gates is shut. While jobs in flight
    wait for their answers, up to `ready` more are made ready to be sent. `weigh` tells how many bytes each job takes of
    the `allowance`. Nothing is claimed while an operator has paused what is `pausable`.
    """

    name: Literal["delivery", "close"]
    target: str = IRP
    queue: Callable[[Tx], DurableQueue]
    gate: RemoteGate
    concurrency: int
    limits: Limits
    gates: Mapping[Lane, Sequence[Gate]] = field(default_factory=dict)
    ready: int = 0
    weigh: Callable[[Tx, Sequence[str]], Mapping[str, int]] = _weightless
    allowance: MemoryLimit = field(default_factory=lambda: MemoryLimit(0))
    pausable: Pausable = field(default_factory=Pausable)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What to claim: up to `free` jobs, none twice that is `flying`.

    Of each of the `tried` lanes one, to try an operation with that stands still; the others from the `open` lanes. Of
    gates that could be tried, `still` names the lanes that wait for them.
    """

    free: int
    tried: Sequence[Lane]
    open: Sequence[Lane]
    flying: Collection[int]
    still: Mapping[Gate, Sequence[Lane]]
    disown: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claimed:
    """What was claimed, how many bytes each subject's job takes, and gates for which nothing waits any more."""

    claims: Sequence[Claim]
    weights: Mapping[str, int]
    idle: Sequence[Gate]


log = structlog.get_logger(__name__)


class Worker:
    """Empties one queue with up to `config.concurrency` jobs in flight."""

    def __init__(
        self,
        *,
        config: WorkerConfig,
        store: Store,
        handler: Handler,
        owner: str,
        health: Health,
    ) -> None:
        self.name: Literal["delivery", "close"] = config.name
        self.part = part_of(config.name, config.target)
        self.bell = Bell()
        self._config = config
        self._queue = config.queue
        self._gate = config.gate
        self._limits = config.limits
        self._lease = config.limits.job_lease
        self._store = store
        self._handler = handler
        self._owner = owner
        self._health = health
        self._outage = Outage(queue=config.name)
        self._flying: dict[int, LeasedJob] = {}
        self._in_doubt = False  # whether a claim may have been committed although its answer never came
        self._since: datetime | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop; then take nothing new and finish what is in flight."""
        async with asyncio.TaskGroup() as group:
            renewing = group.create_task(self._renew(), name=f"{self.part}-renew")
            jobs: set[asyncio.Task[None]] = set()
            while not stop.is_set():
                self._health.beat(self.part)
                await turning(self.part)
                started = await self._start_some(group, jobs)
                self._tell()
                if not started:
                    await self._rest(stop)
            while jobs:
                await asyncio.wait(jobs, timeout=self._limits.idle.total_seconds())
                self._health.beat(self.part)
            renewing.cancel()

    async def drain(self, since: datetime | None = None, stop: asyncio.Event | None = None) -> int:
        """Attempt once what was due at that moment (now), and what came since; return how many jobs were taken.

        Told to stop, take nothing more and finish what is in flight.
        """
        taken, self._since = 0, since or self._gate.pace.clock()
        async with asyncio.TaskGroup() as group:
            renewing = group.create_task(self._renew())
            jobs: set[asyncio.Task[None]] = set()
            while (started := await self._start_some(group, jobs) if stop is None or not stop.is_set() else 0) or jobs:
                taken += started
                if jobs:
                    await self.bell.wait()
            renewing.cancel()
        return taken

    async def _start_some(self, group: asyncio.TaskGroup, jobs: set[asyncio.Task[None]]) -> int:
        free = self._config.concurrency + self._config.ready - len(jobs)
        if self._gate.paused is not None:
            free = min(free, 1 - len(jobs))
        elif free < self._config.ready // 2:
            # A claim is a transaction: several jobs at a time, while there are enough to go on with.
            return 0
        maintenance = self._config.pausable.now(self._gate.pace.clock()) is not None
        shut = maintenance or (self._gate.open_at() is not None and self._since is None)
        if free <= 0 or shut:
            return 0
        valid_until = time.monotonic() + self._lease.total_seconds() * 0.9
        try:
            claimed = await self._store.write(partial(self._claim, self._wanted(free)))
        except StoreUnavailable as error:
            self._in_doubt = True
            if self._since is not None:
                raise
            self._outage.lasts(error)
            self._health.failed(self.part, str(error))
            return 0
        self._in_doubt = False
        self._outage.over()
        self._health.succeeded(self.part)
        _let_go(claimed.idle)
        fresh = [claim for claim in claimed.claims if not self._flies(claim, valid_until)]
        for claim in fresh:
            job = LeasedJob(claim, valid_until, self._limits, weight=claimed.weights.get(claim.subject, 0))
            self._flying[claim.id] = job
            task = group.create_task(self._work(job), name=f"{self.part}-{claim.subject}")
            jobs.add(task)
            task.add_done_callback(jobs.discard)
            task.add_done_callback(lambda _ended: self.bell.ring())
        return len(fresh)

    def _tell(self) -> None:
        """Say that the loop turns, and whether the store takes what jobs have done: while all wait, none is claimed."""
        now = time.monotonic()
        waits = max((now - job.unwritten for job in self._flying.values() if job.unwritten is not None), default=0.0)
        slow = waits > self._limits.slow_write.total_seconds()
        trouble = f"the store has not taken a result for {waits:.0f} s" if slow else ""
        self._health.trouble(self.part, "store", trouble)
        self._health.moved_on(self.part)

    def _flies(self, claim: Claim, valid_until: float) -> bool:
        """Tell whether a claimed job is in flight here already: its lease had run out, and now is ours again."""
        flying = self._flying.get(claim.id)
        if flying is not None:
            flying.valid_until = valid_until
        return flying is not None

    def _wanted(self, free: int) -> _Wanted:
        """Decide what to claim; of what waits for an operation that stands still, one job to try it with."""
        gates = {} if self._since is not None else self._config.gates
        open_lanes, tried = list[Lane](), list[Lane]()
        under_trial = {job.claim.lane for job in self._flying.values()}
        for lane in Lane:
            its = gates.get(lane, ())
            if not any(gate.stands_still() for gate in its):
                open_lanes.append(lane)
            elif lane not in under_trial and all(gate.open_at() is None for gate in its):
                tried.append(lane)
        lanes: dict[Gate, list[Lane]] = {self._gate: list(Lane)} if gates else {}
        for lane, its in gates.items():
            for gate in its:
                lanes.setdefault(gate, []).append(lane)
        still = {gate: its for gate, its in lanes.items() if gate.stands_still() and gate.open_at() is None}
        return _Wanted(
            free=free, tried=tried, open=open_lanes, flying=set(self._flying), still=still, disown=self._in_doubt
        )

    def _claim(self, wanted: _Wanted, tx: Tx) -> _Claimed:
        queue = self._queue(tx)
        if wanted.disown:
            queue.disown(self._owner, keep=wanted.flying)
        owner, lease, target = self._owner, self._lease, self._config.target
        claim = partial(queue.claim, owner=owner, lease=lease, target=target, since=self._since)
        claims: list[Claim] = []
        for lane in wanted.tried:
            # One after the other: of two at once the same one might always be the trial.
            claims += claim(min(1, wanted.free - len(claims)), lanes=[lane])
        if wanted.open:
            claims += claim(wanted.free - len(claims), lanes=wanted.open)
        # What waited for a gate may have been done otherwise, or dropped.
        look = not claims and not wanted.flying
        idle = [gate for gate, its in wanted.still.items() if look and not queue.waits(its, target=target)]
        weights = self._config.weigh(tx, [claim.subject for claim in claims])
        return _Claimed(claims=claims, weights=weights, idle=idle)

    async def _rest(self, stop: asyncio.Event) -> None:
        """Sleep until a bell, which the end of a job rings as well, the stop, or the next look."""
        idle = self._limits.idle.total_seconds()
        waiting = {asyncio.ensure_future(self.bell.wait(idle)), asyncio.ensure_future(stop.wait())}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def _work(self, job: LeasedJob) -> None:
        failpoint("job_claimed")
        try:
            async with AsyncExitStack() as held:
                job.take = lambda size: held.enter_async_context(self._config.allowance.take(size))
                await job.take(job.weight)
                await self._handle(job)
        finally:
            self._flying.pop(job.claim.id, None)

    async def _handle(self, job: LeasedJob) -> None:
        claim = job.claim
        outcome: RetryAt | Bounce | Park | None
        try:
            outcome = await self._handler.handle(job)
        except ClaimLost as error:
            log.warning("claim_lost", queue=self.name, alert_id=claim.subject, reason=str(error))
            return
        except ValueRefused as error:
            # No bug, but tried again it would be refused again.
            outcome = Park(reason=str(error))
        except StoreError as error:
            # No bug either, and nothing of the job's doing: it is due again as soon as the store can be told so.
            outcome = RetryAt(at=self._gate.pace.clock(), reason=str(error), counts=False)
        except Exception as error:
            # The worker's boundary: one job's bug must not stop the line, nor lose the job.
            log.exception("job_failed", queue=self.name, alert_id=claim.subject, error=type(error).__name__)
            outcome = Park(reason=f"a bug in kuma-sync: {type(error).__name__}")
        if outcome is None:
            self._health.worked(self.part)
        else:
            await self._write(job, outcome)

    async def _write(self, job: LeasedJob, outcome: RetryAt | Bounce | Park) -> None:
        with contextlib.suppress(ClaimLost):
            try:
                await persist(job, lambda: self._settle(job, outcome))
            except ValueRefused as error:
                # Whatever the database does not take, in plain letters it takes the reason.
                plain = Park(reason=f"{_plain(outcome.reason)}; {error}", detail=_plain(_detail(outcome)))
                await persist(job, lambda: self._settle(job, plain))
            except (ClaimLost, StoreError):
                return
            except Exception as error:
                # The same boundary: a bug in settling must not stop the line either.
                log.exception("job_failed", queue=self.name, alert_id=job.claim.subject, error=type(error).__name__)
                bug = f"a bug in kuma-sync: {type(error).__name__} while settling"
                parked = Park(reason=f"{bug} {_plain(outcome.reason)}", detail=_plain(_detail(outcome)))
                await persist(job, lambda: self._settle(job, parked))

    async def _settle(self, job: LeasedJob, outcome: RetryAt | Bounce | Park) -> None:
        await self._store.write(partial(self._put_back, job, outcome))
        if isinstance(outcome, Park):
            log.error("job_parked", queue=self.name, alert_id=job.claim.subject, reason=outcome.reason)

    def _put_back(self, job: LeasedJob, outcome: RetryAt | Bounce | Park, tx: Tx) -> None:
        claim, queue = job.claim, self._queue(tx)
        match outcome:
            case RetryAt():
                at, counts = outcome.at, outcome.counts
                queue.again(claim, at=at, reason=outcome.reason, counts=counts, lane=job.lane)
            case Bounce():
                # Due at once, for the gate alone decides: the first success there lets all go on.
                at = outcome.until if self._since is not None else tx.now
                lane = job.lane if outcome.lane is None else outcome.lane
                queue.again(claim, at=at, reason=outcome.reason, counts=False, lane=lane)
            case Park():
                queue.park(claim, outcome.kept)
                tx.audit.note("kuma-sync", "parked", claim.subject, outcome.kept)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 4)
            flying = list(self._flying.values())
            if not flying:
                continue
            asked = time.monotonic()
            try:
                kept = await self._store.write(partial(self._prolong, [job.claim for job in flying]))
            except StoreUnavailable:
                continue
            for job in flying:
                if job.claim.id in kept:
                    job.valid_until = asked + self._lease.total_seconds() * 0.9

    def _prolong(self, claims: Sequence[Claim], tx: Tx) -> Collection[int]:
        return self._queue(tx).renew(claims, lease=self._lease)


def _let_go(idle: Sequence[Gate]) -> None:
    """Let no gate stand still that no job is left to try, unless it was shut anew meanwhile."""
    for gate in idle:
        if gate.stands_still() and gate.open_at() is None:
            gate.nothing_waits()


def _detail(outcome: RetryAt | Bounce | Park) -> str:
    return outcome.detail if isinstance(outcome, Park) else ""


def _plain(text: str) -> str:
    """Return the beginning of a text with every unusual sign written out."""
    return ascii(text)[1:-1][:300]
