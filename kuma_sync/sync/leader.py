"""The leader's lease, kept for as long as this daemon lives: who reads among several copies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import structlog

from kuma_sync.core.errors import ClaimLost, KumaSyncError, StoreUnavailable
from kuma_sync.store import Leadership, Store

log = structlog.get_logger(__name__)

READER = "reader"


class NotLeader(KumaSyncError):
    """Another copy of the daemon reads; this one stands by."""


class LeaderLease:
    """Takes the lease, renews it, and gives it back. On a local file it is ours by right: nobody else can be there."""

    def __init__(self, store: Store, *, owner: str, ttl: timedelta) -> None:
        self._store = store
        self._owner = owner
        self._ttl = ttl
        self._leadership: Leadership | None = None

    @property
    def ours(self) -> bool:
        """Tell whether it was ours at the last look."""
        return self._leadership is not None

    @property
    def fence(self) -> int | None:
        """Return the number of our turn, counted over all copies; None while the lease is not ours."""
        return self._leadership.fence if self._leadership is not None else None

    async def take(self) -> Leadership | None:
        """Take or renew the lease; None while another copy has it."""
        leadership = await self._store.write(
            lambda tx: tx.lease.take(READER, self._owner, ttl=self._ttl, force=self._store.local)
        )
        if (leadership is None) != (self._leadership is None):
            log.info("readers_turn", ours=leadership is not None)
        self._leadership = leadership
        return leadership

    async def keep(self) -> None:
        """Renew the lease as long as it is ours, for ever; run beside the reads, which may take minutes."""
        while True:
            await asyncio.sleep(self._ttl.total_seconds() / 3)
            if self._leadership is not None:
                try:
                    await self.take()
                except StoreUnavailable:
                    continue

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Keep the lease, once it is taken, while the block runs; then give it back."""
        keeping = asyncio.ensure_future(self.keep())
        try:
            yield
        finally:
            keeping.cancel()
            await self.give_back()

    async def give_back(self) -> None:
        """Let another copy read at once."""
        leadership = self._leadership
        if leadership is None:
            return
        with suppress(StoreUnavailable, ClaimLost):
            await self._store.write(lambda tx: tx.lease.give_back(leadership))
        self._leadership = None
