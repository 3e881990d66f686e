"""How far a single pass is: alerts read, jobs done of those that were due, and what of them failed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
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
    """The jobs of a queue during a pass: how many were due, are left, and failed since it began."""

    due: int = 0
    left: int = 0
    again: int = 0
    parked: int = 0
    before: Mapping[Depth, int] | None = None

    def count(self, counts: QueueCounts) -> None:
        """Take over the counts of this moment. Jobs that come while others are done make more due, not fewer done."""
        jobs = counts.jobs
        self.before = jobs if self.before is None else self.before
        left = sum(jobs.get(depth, 0) for depth in LEFT)
        self.due += max(left - self.left, 0)
        self.left = left
        self.again = self._since(Depth.BACKOFF, jobs)
        self.parked = self._since(Depth.PARKED, jobs)

    def _since(self, depth: Depth, jobs: Mapping[Depth, int]) -> int:
        return max(jobs.get(depth, 0) - (self.before or {}).get(depth, 0), 0)

    def __str__(self) -> str:
        """Say it in a few words."""
        done = max(self.due - self.left - self.again - self.parked, 0)
        failed = ((self.again, "to be tried again"), (self.parked, "parked"))
        return f"{done} of {self.due}" + "".join(f", {count} {what}" for count, what in failed if count)


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
