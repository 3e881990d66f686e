"""Numbers that stand in the store: queue depths and ages, what is parked or held; and the word to systemd.

Must not: change anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.daemon.side import Side
from kuma_sync.store import Store
from kuma_sync.telemetry.health import Health
from kuma_sync.telemetry.metrics import Metrics
from kuma_sync.telemetry.systemd import Systemd

log = structlog.get_logger(__name__)

EVERY = 5.0
STATES = ("pending", "backoff", "running", "parked", "held")


async def observe(store: Store, *, health: Health, metrics: Metrics, sides: Mapping[str, Side]) -> None:
    """Keep the gauges true, for ever."""
    while True:
        for name, side in sides.items():
            metrics.breaker_open.labels(remote=name).set(side.unwell)
        try:
            await look(store, health=health, metrics=metrics)
            health.succeeded("store")
        except StoreUnavailable as error:
            health.failed("store", str(error))
        await asyncio.sleep(EVERY)


async def look(store: Store, *, health: Health, metrics: Metrics) -> None:
    """Read depths, ages and counts once."""
    async with store.read() as tx:
        queues = {"delivery": tx.delivery, "close": tx.closes}
        depths = {name: await queue.depths() for name, queue in queues.items()}
        oldest = {name: await queue.oldest() for name, queue in queues.items()}
        rejected = await tx.records.parked_count()
        held = len(await tx.links.held()) + depths["close"].get("held", 0)
        now = tx.now
    for name, depth in depths.items():
        for state in STATES:
            metrics.queue_depth.labels(queue=name, state=state).set(depth.get(state, 0))
        since = oldest[name]
        metrics.queue_oldest_seconds.labels(queue=name).set((now - since).total_seconds() if since else 0)
    parked = {name: depth.get("parked", 0) for name, depth in depths.items()}
    parked["delivery"] += rejected
    for name, count in parked.items():
        metrics.parked.labels(queue=name).set(count)
    metrics.brake_held.set(held)
    health.backlog(parked=sum(parked.values()), held=held)


async def report(systemd: Systemd, health: Health) -> None:
    """Tell systemd how it goes, for ever; the watchdog is fed only while the loops turn."""
    said = ""
    while True:
        readiness = health.ready()
        unwell = [f"{name} {part.state}" for name, part in readiness.parts.items() if part.state not in ("ok", "off")]
        status = "ready" if readiness.ready else "not ready: " + ", ".join(unwell)
        status += f"; {readiness.parked} parked, {readiness.held} held" if readiness.parked or readiness.held else ""
        if status != said:
            systemd.status(status)
            log.info("state", state=status)
            said = status
        if health.live():
            systemd.watchdog()
        else:
            log.error("loops_stuck", loops=health.stuck())
        interval = systemd.watchdog_interval
        await asyncio.sleep(min(interval.total_seconds() if interval else EVERY, EVERY))
