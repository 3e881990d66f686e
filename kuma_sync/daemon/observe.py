"""Numbers that stand in the store: queue depths and ages, what is parked or held; and the word to systemd.

Must not: change anything, but that it ends the process when a loop is dead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import partial

import structlog

from kuma_sync.core.errors import StoreReplaced, StoreUnavailable
from kuma_sync.daemon.limits import Limits
from kuma_sync.daemon.side import Side
from kuma_sync.store import DurableQueue, Store
from kuma_sync.store.backlog import WAITING
from kuma_sync.store.jobs import Depth
from kuma_sync.telemetry import logs
from kuma_sync.telemetry.health import Health, Part
from kuma_sync.telemetry.metrics import Metrics
from kuma_sync.telemetry.pulse import Pulse
from kuma_sync.telemetry.systemd import Systemd

log = structlog.get_logger(__name__)


async def observe(
    store: Store, *, health: Health, metrics: Metrics, sides: Mapping[str, Side], every: timedelta
) -> None:
    """Keep the gauges true, for ever, looking at the store at this pace.

    Raise StoreReplaced where the store is not what was opened any more.
    """
    for name, side in sides.items():
        metrics.breaker_open.labels(remote=name).set_function(partial(_unwell, side))
    while True:
        try:
            async with store.begin():
                pass  # a store that can be read may yet refuse every write
            await look(store, health=health, metrics=metrics)
            health.succeeded("store")
        except StoreReplaced as error:
            # It will not become ours again, and what is there instead nobody may touch with what was read from ours.
            log.error("store_replaced", reason=str(error))
            raise
        except StoreUnavailable as error:
            health.failed("store", str(error))
        await asyncio.sleep(every.total_seconds())


def _unwell(side: Side) -> float:
    return float(side.unwell)


async def look(store: Store, *, health: Health, metrics: Metrics) -> None:
    """Read depths, ages and counts once."""
    async with store.read() as tx:
        queues: dict[Part, DurableQueue] = {"delivery": tx.delivery, "close": tx.closes}
        depths = {name: await queue.depths() for name, queue in queues.items()}
        oldest = {name: await queue.oldest() for name, queue in queues.items()}
        rejected = await tx.records.parked_count()
        marked = len(await tx.links.held())
        now = tx.now
    # What the brake keeps from the IRP is no job yet, but a mark on its link.
    depths["delivery"][Depth.HELD] = depths["delivery"].get(Depth.HELD, 0) + marked
    held = sum(depth.get(Depth.HELD, 0) for depth in depths.values())
    for name, depth in depths.items():
        if not any(depth.get(state) for state in WAITING):
            health.worked(name)
        for state in Depth:
            metrics.queue_depth.labels(queue=name, state=state).set(depth.get(state, 0))
        since = oldest[name]
        metrics.queue_oldest_seconds.labels(queue=name).set((now - since).total_seconds() if since else 0)
    parked = {name: depth.get(Depth.PARKED, 0) for name, depth in depths.items()}
    parked["delivery"] += rejected
    for name, count in parked.items():
        metrics.parked.labels(queue=name).set(count)
    metrics.brake_held.set(held)
    health.backlog(parked=sum(parked.values()), held=held)


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
    status = "ready" if readiness.ready else "not ready: " + ", ".join(unwell)
    counts = f"; {readiness.parked} parked, {readiness.held} held" if readiness.parked or readiness.held else ""
    return status + counts + (f"; configuration on disk refused: {readiness.refused}" if readiness.refused else "")
