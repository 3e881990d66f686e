"""Learns from the store what an operator paused or resumed, and tells it: gates, health and metrics go by it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta

import structlog

from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.core.maintenance import CLOSE, KUMA, Maintenance
from kuma_sync.store import Store
from kuma_sync.sync.remote.maintenance import Paused
from kuma_sync.telemetry.health import Health, Part, part_of, split_part
from kuma_sync.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

KUMA_PARTS = (KUMA, "poll", CLOSE)
"""What stands still while KUMA is asked nothing."""


class MaintenanceWatch:
    """Looks for pauses of KUMA, of closings, and of these targets."""

    def __init__(
        self,
        store: Store,
        paused: Paused,
        *,
        health: Health,
        metrics: Metrics,
        targets: Collection[str],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._paused = paused
        self._health = health
        self._metrics = metrics
        self._targets = targets
        self._clock = clock
        self._told: dict[str, Maintenance] | None = None

    async def watch(self, *, every: timedelta) -> None:
        """Look, for ever. A store that is away changes nothing but what the clock ends."""
        while True:
            await asyncio.sleep(every.total_seconds())
            with contextlib.suppress(StoreUnavailable):
                await self.look()
            self._tell()

    async def look(self) -> list[Maintenance]:
        """Look once, and return what is paused. Raise StoreUnavailable."""
        self._paused.learn(await self._store.read(lambda tx: tx.pauses.all()))
        self._tell()
        return self._paused.all(self._clock())

    def _tell(self) -> None:
        now = {one.part: one for one in self._paused.all(self._clock())}
        if now == self._told:
            return
        before = self._told or {}
        for part in now.keys() - before.keys():
            log.info("maintenance_begun", part=part, reason=now[part].reason, by=now[part].by)
        for part in before.keys() - now.keys():
            log.info("maintenance_over", part=part)
        self._told = now
        self._health.maintained(self._reasons(now))
        for part in (KUMA, CLOSE, *(part_of("irp", target) for target in self._targets)):
            name, target = split_part(part)
            self._metrics.maintenance.labels(part=name, target=target).set((target or part) in now)

    def _reasons(self, now: Mapping[str, Maintenance]) -> dict[Part, str]:
        of = {KUMA: KUMA_PARTS, CLOSE: (CLOSE,)}
        of |= {target: (part_of("irp", target), part_of("delivery", target)) for target in self._targets}
        known = sorted(now, key=lambda part: part == KUMA)  # KUMA's reason holds for its closings, too
        return {part: now[name].reason for name in known for part in of.get(name, ())}
