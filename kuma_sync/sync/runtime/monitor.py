"""What a process tells about itself: the store's numbers as metrics, systemd's status, its heartbeat."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from kuma_sync.core.condition import CONFIGURATION, REFUSED, Condition, Trouble, same, went_on
from kuma_sync.core.errors import StoreError, StoreReplaced, StoreUnavailable
from kuma_sync.core.maintenance import KUMA
from kuma_sync.core.routing import IRP, NO_ROUTE, UNROUTED
from kuma_sync.store import Process, Store, Tx
from kuma_sync.store.copies import FORGOTTEN_AFTER
from kuma_sync.store.jobs import Depth
from kuma_sync.store.queue import WAITING, QueueCounts
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.remote.gate import RemoteGate
from kuma_sync.sync.runtime.supervisor import happens, supervise
from kuma_sync.telemetry import logs
from kuma_sync.telemetry.health import Health, State, part_of, split_part
from kuma_sync.telemetry.metrics import Metrics
from kuma_sync.telemetry.watchdog import Pulse, Systemd

log = structlog.get_logger(__name__)


async def observe(
    store: Store,
    *,
    health: Health,
    metrics: Metrics,
    gates: Mapping[str, RemoteGate],
    targets: Sequence[str],
    every: timedelta,
) -> None:
    """Keep the gauges of these targets true, for ever, looking at the store at this pace.

    Raise StoreReplaced where the store is not what was opened any more.
    """
    for part, gate in gates.items():
        remote, target = split_part(part)
        metrics.breaker_open.labels(remote=remote, target=target).set_function(partial(_unwell, gate))
    metrics.ready.set_function(lambda: float(health.ready().ready))
    while True:
        try:
            await store.write(lambda _tx: None)  # a store that can be read may yet refuse every write
            await look(store, health=health, metrics=metrics, targets=targets)
            health.succeeded("store")
        except StoreReplaced as error:
            # It will not become ours again, and what is there instead nobody may touch with what was read from ours.
            log.error("store_replaced", reason=str(error))
            raise
        except StoreUnavailable as error:
            health.failed("store", str(error))
        await asyncio.sleep(every.total_seconds())


def _unwell(gate: RemoteGate) -> float:
    return float(gate.unwell)


async def look(store: Store, *, health: Health, metrics: Metrics, targets: Sequence[str] = (IRP,)) -> None:
    """Read depths, ages and counts once."""
    seen = await store.read(_standing)
    deliveries = {(part_of("delivery", name), name): seen.deliveries.get(name, QueueCounts()) for name in targets}
    for (part, target), counts in {**deliveries, ("close", ""): seen.closes}.items():
        labels = {"queue": split_part(part)[0], "target": target}
        if not any(counts.jobs.get(state) for state in WAITING):
            health.worked(part)
        for state in Depth:
            metrics.queue_depth.labels(state=state, **labels).set(counts.jobs.get(state, 0))
        since = counts.oldest
        metrics.queue_oldest_seconds.labels(**labels).set((seen.now - since).total_seconds() if since else 0)
        # A piece that is no alert goes to no target: it is counted with the first.
        pieces = seen.rejected if target == targets[0] else 0
        metrics.parked.labels(**labels).set(counts.jobs.get(Depth.PARKED, 0) + pieces)
    unserved = {
        name: sum(counts.jobs.values())
        for name, counts in seen.deliveries.items()
        if name not in targets and name != NO_ROUTE
    }
    for name in sorted(health.unserved(unserved)):
        log.error("target_unserved", target=name, jobs=unserved[name])
    nowhere = seen.deliveries.get(NO_ROUTE, QueueCounts())
    unrouted = metrics.queue_depth.labels(queue="delivery", state=Depth.HELD, target=UNROUTED)
    unrouted.set(nowhere.jobs.get(Depth.HELD, 0))
    every = {**seen.deliveries, KUMA: seen.closes}
    parked = {name: counts.jobs.get(Depth.PARKED, 0) for name, counts in every.items()}
    parked[targets[0]] = parked.get(targets[0], 0) + seen.rejected
    held = {name: counts.jobs.get(Depth.HELD, 0) for name, counts in every.items()}
    metrics.brake_held.set(sum(held.values()))
    health.backlog(parked=parked, held=held)


async def scraped(
    store: Store, *, health: Health, metrics: Metrics, targets: Sequence[str], within: timedelta
) -> bytes:
    """Return the metrics as they are at this moment; as they were seen last where the store does not answer in time."""
    with contextlib.suppress(StoreError, TimeoutError):
        async with asyncio.timeout(within.total_seconds()):
            await look(store, health=health, metrics=metrics, targets=targets)
    return metrics.render()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """The counts of the queues, and of parked pieces that are no alerts; held links count with their target's jobs."""

    deliveries: Mapping[str, QueueCounts]
    closes: QueueCounts
    rejected: int
    now: datetime


def _standing(tx: Tx) -> _Standing:
    return _Standing(deliveries=tx.deliveries(), closes=tx.closes.total(), rejected=tx.rejects.count(), now=tx.now)


async def report(systemd: Systemd, health: Health, pulse: Pulse, limits: Limits) -> None:
    """Tell systemd how it goes, for ever; the watchdog is fed only while the loops turn. End the process for dead ones.

    A remote that is away keeps no loop from turning: every wait for it is bounded.
    """
    said, stuck = "", tuple[str, ...]()
    every = limits.observed_every
    interval = min(systemd.watchdog_interval or every, every).total_seconds()
    while True:
        pulse.beat()
        logs.tell_repeats()
        status = _status(health)
        if status != said:
            systemd.status(status)
            log.info("state", state=status)
            said = status
        if dead := health.stuck(limits.given_up):
            pulse.end_process(dead)
        if health.live():
            systemd.watchdog()
        elif health.stuck() != stuck:
            log.error("loops_stuck", loops=health.stuck())
        stuck = health.stuck()
        before = time.monotonic()
        await asyncio.sleep(interval)
        late = time.monotonic() - before - interval
        if late > limits.late.total_seconds():
            health.stood_still(late)


def _status(health: Health) -> str:
    readiness = health.ready()
    unwell = [f"{name} {part.state}" for name, part in readiness.parts.items() if part.state not in ("ok", "off")]
    paused = [name for name, part in readiness.parts.items() if part.maintenance]
    status = "ready" if readiness.ready else "not ready: " + ", ".join(unwell)
    if paused and readiness.ready:
        status += f"; paused by an operator: {', '.join(paused)}"
    counts = f"; {readiness.parked} parked, {readiness.held} held" if readiness.parked or readiness.held else ""
    return status + counts + (f"; configuration on disk refused: {readiness.refused}" if readiness.refused else "")


class Heart:
    """Says that a process lives and how it is."""

    def __init__(
        self, store: Store, process: Process, *, health: Health, clock: Callable[[], datetime], limits: Limits
    ) -> None:
        self._limits = limits
        self._store = store
        self._process = process
        self._health = health
        self._clock = clock
        self._condition: Condition = ()
        self._said: Condition | None = None
        self._said_at = 0.0
        self.tried = asyncio.Event()
        """Set once the first beat was written, or the store was found away."""

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Beat while the block runs; then take leave. Beats that fail on and on end the block, as every loop's do."""
        over = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                beating = group.create_task(
                    supervise("heartbeat", partial(self._beat, over), over, restarts=self._limits.restarts)
                )
                try:
                    yield
                finally:
                    over.set()
                    beating.cancel()
        finally:
            with contextlib.suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(self._limits.last_word.total_seconds()):
                    await self._store.write(lambda tx: tx.heartbeats.end(self._process.owner))

    async def _beat(self, over: asyncio.Event) -> None:
        while not over.is_set():
            with contextlib.suppress(StoreUnavailable):
                await self.beat()
            self.tried.set()
            await happens(over, within=self._limits.heartbeat_looked_for.total_seconds())

    async def beat(self) -> None:
        """Say how it is, if that is news or was not said for long. Raise StoreUnavailable."""
        self._condition = went_on(self._condition, condition(self._health, self._clock()))
        old = time.monotonic() - self._said_at > self._limits.heartbeat.total_seconds()
        if self._said is not None and not old and same(self._said, self._condition):
            return
        saying, first = self._condition, self._said is None

        def beat(tx: Tx) -> None:
            if first and self._store.local:
                tx.heartbeats.forget_others(self._process.owner)
            elif first:
                tx.heartbeats.forget(silent_for=FORGOTTEN_AFTER)
                tx.heartbeats.forget_predecessors(self._process)
            tx.heartbeats.beat(self._process, saying)

        await self._store.write(beat)
        self._said, self._said_at = saying, time.monotonic()


def condition(health: Health, now: datetime) -> list[Trouble]:
    """Return what is not well by a process's health, as far as it is not switched off.

    That an operator paused a part is not told here, but what fails beneath that is.
    """
    readiness = health.ready()
    parts = {name: part.beneath if part.maintenance else part for name, part in readiness.parts.items()}
    troubles = [
        Trouble(
            part=name,
            state=part.state.value,
            reason=part.reason,
            since=now,
            maintained=readiness.parts[name].maintenance,
        )
        for name, part in parts.items()
        if part is not None and part.state not in (State.OK, State.OFF)
    ]
    if readiness.refused:
        troubles.append(Trouble(part=CONFIGURATION, state=REFUSED, reason=readiness.refused, since=now))
    return troubles
