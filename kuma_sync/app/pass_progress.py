"""How far a single pass is: alerts read, jobs done of those that were due, and what of them failed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.store.jobs import Depth
from kuma_sync.store.queue import QueueCounts
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import DELIVERING
from kuma_sync.sync.runtime.supervisor import happens

PACE = timedelta(seconds=1)
"""How often the queues are counted."""

LEFT = (Depth.PENDING, Depth.RUNNING)


@dataclass(slots=True)
class Tally:
    """The jobs of a queue during a pass: the most that were left at once, and what is left now."""

    due: int = 0
    left: int = 0
    again: int = 0
    parked: int = 0
    parked_before: int | None = None

    def count(self, counts: QueueCounts) -> None:
        """Take over the counts of this moment. Jobs that come while others are done make more due, not fewer done."""
        jobs, before = counts.jobs, self.left
        self.left = sum(jobs.get(depth, 0) for depth in LEFT)
        self.due += max(self.left - before, 0)
        self.again = jobs.get(Depth.BACKOFF, 0)
        self.parked = jobs.get(Depth.PARKED, 0)
        if self.parked_before is None:
            self.parked_before = self.parked

    def __str__(self) -> str:
        """Say it in a few words."""
        new = self.parked - (self.parked_before or 0)
        rest = [f"{count} {what}" for count, what in ((self.again, "to be tried again"), (new, "parked")) if count > 0]
        return f"{self.due - self.left} of {self.due}" + "".join(f", {one}" for one in rest)


class Follower:
    """Tells, each second, how far a single pass is."""

    def __init__(self, runtime: Runtime, told: Callable[[str], None]) -> None:
        self._runtime = runtime
        self._told = told
        self._step = "beginning"
        self._begun = asyncio.Event()
        self._deliveries, self._closings = Tally(), Tally()

    def begin(self, step: str) -> None:
        """Note the step that begins."""
        self._step = step
        self._told(step)
        self._begun.set()

    async def follow(self) -> None:
        """Tell it for ever."""
        while True:
            if self._step == DELIVERING:
                await self._count()
                self._told(self._delivered())
            elif read := self._runtime.poller.read:
                self._told(f"{self._step}: {read} alerts read")
            await happens(self._begun, within=PACE.total_seconds())
            self._begun.clear()

    async def _count(self) -> None:
        """Count both queues; where the store is away the pass itself says so."""
        try:
            counts = await self._runtime.store.read(lambda tx: tx.queues())
        except StoreUnavailable:
            return
        self._deliveries.count(counts["delivery"])
        self._closings.count(counts["close"])

    def _delivered(self) -> str:
        said = f"delivered {self._deliveries}"
        return f"{said}; closed in KUMA {self._closings}" if self._closings.due else said
