"""The heartbeat of a process: said in the store when something changed, and now and then all the same.

Must not: judge how it goes (that is telemetry/health), or wait for a store that is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial

from kuma_sync.core.condition import CONFIGURATION, REFUSED, Condition, Trouble, same, went_on
from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.daemon.limits import Limits
from kuma_sync.daemon.supervise import happens, supervise
from kuma_sync.store import Process, Store
from kuma_sync.telemetry.health import Health, State

DEAD_AFTER = timedelta(minutes=1)
"""After how long without a word a process counts as dead, where no lock tells. Others judge by it, of any version."""

FORGOTTEN_AFTER = timedelta(days=1)
"""After how long without a word what a process said is removed from the store."""


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
                async with asyncio.timeout(self._limits.last_word.total_seconds()), self._store.begin() as tx:
                    await tx.heartbeats.end(self._process.owner)

    async def _beat(self, over: asyncio.Event) -> None:
        while not over.is_set():
            with contextlib.suppress(StoreUnavailable):
                await self.beat()
            await happens(over, within=self._limits.heartbeat_looked_for.total_seconds())

    async def beat(self) -> None:
        """Say how it is, if that is news or was not said for long. Raise StoreUnavailable."""
        self._condition = went_on(self._condition, condition(self._health, self._clock()))
        old = time.monotonic() - self._said_at > self._limits.heartbeat.total_seconds()
        if self._said is not None and not old and same(self._said, self._condition):
            return
        saying = self._condition
        async with self._store.begin() as tx:
            if self._said is None and self._store.local:
                await tx.heartbeats.forget_others(self._process.owner)
            elif self._said is None:
                await tx.heartbeats.forget(silent_for=FORGOTTEN_AFTER)
            await tx.heartbeats.beat(self._process, saying)
        self._said, self._said_at = saying, time.monotonic()


def condition(health: Health, now: datetime) -> list[Trouble]:
    """Return what is not well by a process's health, as far as it is not switched off."""
    readiness = health.ready()
    troubles = [
        Trouble(part=name, state=part.state.value, reason=part.reason, since=now)
        for name, part in readiness.parts.items()
        if part.state not in (State.OK, State.OFF)
    ]
    if readiness.refused:
        troubles.append(Trouble(part=CONFIGURATION, state=REFUSED, reason=readiness.refused, since=now))
    return troubles
