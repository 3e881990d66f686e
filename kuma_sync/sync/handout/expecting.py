"""Whether an IRP that polls us still does: where nobody took an answer for too long, the target is not well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.store import Store
from kuma_sync.sync.handout.giving import LOOKS, Puller
from kuma_sync.sync.remote.maintenance import Pausable
from kuma_sync.telemetry.health import Health, part_of

log = structlog.get_logger(__name__)

SLOWEST = timedelta(seconds=5)
NOBODY_ASKED = "nobody asked for alerts"
"""How the reason begins for which such a target is not well."""


class Expecting:
    """Watches for a target that polls us. Another copy of the daemon may be the one that it asks.

    While an operator has paused the target nobody is expected, and afterwards it has its full time again.
    """

    def __init__(
        self, puller: Puller, *, store: Store, health: Health, clock: Callable[[], datetime], pausable: Pausable
    ) -> None:
        self._puller = puller
        self._store = store
        self._health = health
        self._clock = clock
        self._pausable = pausable
        self._since = clock()
        self._missed = False

    async def watch(self) -> None:
        """Look, for ever."""
        within = self._puller.expect_every
        while within is not None:
            await asyncio.sleep(min(within / LOOKS, SLOWEST).total_seconds())
            try:
                await self.look(within)
            except StoreUnavailable:  # told by the loops
                continue

    async def look(self, within: timedelta) -> None:
        """Look once: has somebody asked within this time? Raise StoreUnavailable."""
        name = self._puller.name
        if self._pausable.now(self._clock()) is not None:
            return
        asked_at = (await self._store.read(lambda tx: tx.targets.asked_at())).get(name)
        since = max(self._since, self._pausable.last() or self._since)
        silent = self._clock() - max(since, asked_at or since)
        if silent <= within:
            if self._missed:
                if asked_at is not None and self._clock() - asked_at <= within:  # else it has a pause's time again
                    log.info("asked_again", target=name)
                self._health.succeeded(part_of("irp", name))
            self._missed = False
            return
        last = f"the last time was {asked_at:%Y-%m-%d %H:%M:%S} UTC" if asked_at else "nobody ever did"
        seconds = f"{silent.total_seconds():.0f} s"
        problem = f"{NOBODY_ASKED} for {seconds}, or took no whole answer (expect_every); {last}"
        if not self._missed:
            log.error("nobody_asks", target=name, reason=problem)
        self._missed = True
        self._health.failed(part_of("irp", name), problem)
