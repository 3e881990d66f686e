"""Notes in the store how much this process did, from the counters that it has anyway.

A statistic: where the store is away, what happened is noted later, and nothing else waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from kuma_sync.core.errors import StoreError
from kuma_sync.store import Store
from kuma_sync.store.activity import NOBODYS, Counts, Growth, slot_of
from kuma_sync.telemetry.metrics import TARGET, Metrics, sums


class ActivityLog:
    """Adds the growth of a process's counters to its slots."""

    def __init__(self, store: Store, metrics: Metrics, *, owner: str, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._metrics = metrics
        self._owner = owner
        self._clock = clock
        self._noted: Growth = totals(metrics)
        self._longest: dict[str, float] = {}
        self._since = clock()
        self._one = asyncio.Lock()

    async def keep(self, *, every: timedelta) -> None:
        """Note at this pace, for ever."""
        while True:
            await asyncio.sleep(every.total_seconds())
            await self.note()

    async def note(self) -> None:
        """Note what happened since the last time. Several may ask at once: what one notes no other notes again."""
        async with self._one:
            await self._add()

    async def _add(self) -> None:
        for target, seconds in self._metrics.take_longest().items():
            self._longest[target] = max(seconds, self._longest.get(target, 0.0))
        now, slot = totals(self._metrics), slot_of(self._since)
        growth = _growth(self._noted, now, self._longest)
        try:
            if growth:
                await self._store.write(lambda tx: tx.activity.add(self._owner, slot, growth))
        except StoreError:
            return  # told by others; it is in the counters, and is noted next time
        self._noted, self._longest, self._since = now, {}, self._clock()


def totals(metrics: Metrics) -> dict[str, Counts]:
    """Return all that the counters hold, by target."""
    found = {NOBODYS: _of_kuma(metrics)}
    waited = sums(metrics.end_to_end_seconds, "_sum", TARGET)
    closed = sums(metrics.deliveries, "_total", TARGET, operation="close", result="ok")
    failed = _failed(metrics)
    delivered = sums(metrics.end_to_end_seconds, "_count", TARGET)
    for target in waited.keys() | closed.keys() | failed.keys():
        found[target] = Counts(
            delivered=int(delivered.get(target, 0)),
            waited=waited.get(target, 0.0),
            closed=int(closed.get(target, 0)),
            failed=int(failed.get(target, 0)),
        )
    return found


def _of_kuma(metrics: Metrics) -> Counts:
    changes, closes = sums(metrics.alerts, "_total", "change"), sums(metrics.closes, "_total", "result")
    return Counts(
        arrived=int(changes.get("new", 0)),
        changed=int(changes.get("updated", 0)),
        closed=int(closes.get("closed", 0) + closes.get("already_closed", 0)),
        failed=int(closes.get("refused", 0) + closes.get("failed", 0)),
    )


def _failed(metrics: Metrics) -> dict[str, float]:
    every, well = sums(metrics.deliveries, "_total", TARGET), sums(metrics.deliveries, "_total", TARGET, result="ok")
    return {target: count - well.get(target, 0) for target, count in every.items()}


def _growth(before: Growth, now: Growth, longest: dict[str, float]) -> dict[str, Counts]:
    more = {}
    for target, counts in now.items():
        grown = counts.since(before.get(target, Counts())).plus(Counts(longest=longest.get(target, 0.0)))
        if grown != Counts():
            more[target] = grown
    return more
