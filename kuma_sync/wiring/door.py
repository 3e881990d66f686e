"""The HTTP doors joined to the store: what the web room asks for, in the daemon's words.

Must not: decide anything.
"""

from __future__ import annotations

from collections.abc import Callable

from kuma_sync.core.closing import CloseRequest, KumaAnswer
from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.daemon.answers import Waiters
from kuma_sync.daemon.desk import Counter
from kuma_sync.settings import Settings
from kuma_sync.store import Store
from kuma_sync.web.rules import DoorRules


class ClosingDoor:
    """Takes closings from the IRP, once the store is ready."""

    def __init__(self, store: Store, waiters: Waiters, *, ring: Callable[[], None]) -> None:
        self._counter = Counter(store=store, waiters=waiters, ring=ring)
        self.open = False

    async def take(self, request: CloseRequest, wait: float | None) -> KumaAnswer | None:
        """Store a closing; with `wait`, hand over KUMA's final answer if it comes in time."""
        if not self.open:
            raise StoreUnavailable("the store is not ready yet")
        return await self._counter.take(request, wait)


def door_rules(settings: Settings) -> DoorRules:
    """Return who may pass which door."""
    return DoorRules(
        to_kuma=settings.close.to_kuma,
        tokens=settings.web.tokens,
        metrics_token=settings.web.metrics_token,
        metrics_public=settings.web.metrics_public,
    )
