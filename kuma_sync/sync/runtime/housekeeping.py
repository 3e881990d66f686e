"""Pruning to its end: as many short transactions as it takes, between which everybody else goes on."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

from kuma_sync.core.window import late_since
from kuma_sync.store import Mark, Store, Turn, Tx
from kuma_sync.store.locks import lock
from kuma_sync.sync.leader import READER


async def prune(
    store: Store, retention: timedelta, *, overlap: timedelta = timedelta(), turn: Turn | None = None
) -> int:
    """Remove what is older than `retention`, but nothing that the late listing, by `overlap`, shows; return how many.

    With a turn, raise ClaimLost when it went to another daemon; what was removed by then stays removed. Without one no
    read is written down meanwhile: what it shows anew must not be removed.
    """
    removed, reached = 0, None
    while True:
        removed_now, reached = await store.write(partial(_some, retention, overlap, turn, reached), long=True)
        removed += removed_now
        if reached is None:
            return removed
        await asyncio.sleep(0)


def prune_here(store: Store, retention: timedelta, *, overlap: timedelta) -> int:
    """Do the same without an event loop, as a command does."""
    removed, reached = 0, None
    while True:
        with store.writing() as tx:
            removed_now, reached = _some(retention, overlap, None, reached, tx)
        removed += removed_now
        if reached is None:
            return removed


def _some(
    retention: timedelta, overlap: timedelta, turn: Turn | None, after: Mark | None, tx: Tx
) -> tuple[int, Mark | None]:
    lock(tx, turn=turn if turn is not None else READER)
    before = tx.now - retention
    listed_since = late_since(tx.cursor.read(), overlap)
    found = tx.pruning.alerts(before, listed_since=listed_since, after=after)
    if found.reached is None:
        tx.pruning.records(before, now=tx.now)
    return found.removed, found.reached
