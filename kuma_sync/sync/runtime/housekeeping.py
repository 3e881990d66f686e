"""Pruning to its end: as many short transactions as it takes, between which everybody else goes on."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

import structlog

from kuma_sync.core.errors import ClaimLost
from kuma_sync.core.window import late_since
from kuma_sync.store import Leadership, Mark, Store, Tx
from kuma_sync.store.locks import lock
from kuma_sync.sync.leader import READER, LeaderLease
from kuma_sync.telemetry.health import Health

log = structlog.get_logger(__name__)


class Housekeeping:
    """Prunes while this copy is the one that reads."""

    def __init__(
        self, store: Store, *, leader: LeaderLease, retention: timedelta, overlap: timedelta, health: Health
    ) -> None:
        self._store = store
        self._leader = leader
        self._retention = retention
        self._overlap = overlap
        self._health = health

    async def __call__(self) -> None:
        """Prune once."""
        self._health.beat("housekeeping")
        leadership = await self._leader.take()
        if leadership is None:
            return
        try:
            removed = await prune(self._store, self._retention, overlap=self._overlap, leadership=leadership)
        except ClaimLost:
            # The clock jumped, or another copy reads now: the next hour will do.
            return
        if removed:
            log.info("pruned", alerts=removed)


async def prune(
    store: Store, retention: timedelta, *, overlap: timedelta = timedelta(), leadership: Leadership | None = None
) -> int:
    """Remove alerts older than `retention`, but none that the late listing, by `overlap`, shows; return how many.

    With a leadership, raise ClaimLost once the lease is lost; what was removed by then stays removed. Without one
    no read is recorded meanwhile: an alert that it shows anew must not be removed.
    """
    removed, reached = 0, None
    while True:
        some = partial(_remove_some, retention=retention, overlap=overlap, leadership=leadership, after=reached)
        removed_now, reached = await store.write(some, long=True)
        removed += removed_now
        if reached is None:
            return removed
        await asyncio.sleep(0)


def _remove_some(
    tx: Tx, *, retention: timedelta, overlap: timedelta, leadership: Leadership | None, after: Mark | None
) -> tuple[int, Mark | None]:
    lock(tx, leadership=leadership if leadership is not None else READER)
    before = tx.now - retention
    listed_since = late_since(tx.cursor.read(), overlap)
    found = tx.pruning.alerts(before, listed_since=listed_since, after=after)
    if found.reached is None:
        tx.pruning.records(before, now=tx.now)
        tx.handouts.sweep()
        tx.handout_pages.sweep()
    return found.removed, found.reached
