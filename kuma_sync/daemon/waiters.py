"""KUMA's answers to closings, handed to whoever waits for them in this process.

Must not: store anything; what nobody waits for is in the store anyway.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from kuma_sync.core.closing import KumaAnswer
from kuma_sync.core.errors import TooManyWait


class Waiters:
    """Who waits for which alert: `most` at once."""

    def __init__(self, *, most: int) -> None:
        self.most = most
        self._waiting: defaultdict[str, list[asyncio.Future[KumaAnswer]]] = defaultdict(list)
        self._count = 0
        self._somebody = asyncio.Event()

    def waits(self, alert_id: str) -> bool:
        """Tell whether somebody waits for this alert's closing."""
        return any(not future.done() for future in self._waiting.get(alert_id, ()))

    def answer(self, alert_id: str, answer: KumaAnswer) -> None:
        """Hand the answer to all who wait."""
        for future in self._waiting.get(alert_id, ()):
            if not future.done():
                future.set_result(answer)

    async def somebody(self) -> list[str]:
        """Return which alerts are waited for, as soon as there is one."""
        await self._somebody.wait()
        return list(self._waiting)

    @contextmanager
    def waiting(self, alert_id: str) -> Iterator[asyncio.Future[KumaAnswer]]:
        """Wait for an alert's closing while the block runs; raise TooManyWait."""
        if self._count >= self.most:
            raise TooManyWait(f"{self.most} callers wait already")
        future: asyncio.Future[KumaAnswer] = asyncio.get_running_loop().create_future()
        self._waiting[alert_id].append(future)
        self._count += 1
        self._somebody.set()
        try:
            yield future
        finally:
            with contextlib.suppress(ValueError):
                self._waiting[alert_id].remove(future)
            self._count -= 1
            if not self._waiting[alert_id]:
                del self._waiting[alert_id]
            if not self._waiting:
                self._somebody.clear()
