"""How many bytes of contents deliveries may have in work at once.

Contents take up to ten times their bytes as objects; without a limit many deliveries of large alerts at once would take
all the memory there is. The poller needs none: it has one portion in hand at a time, and must not wait for an IRP that
is slow.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class MemoryLimit:
    """So many bytes, taken for a while; who comes first is served first, so that a large one is not starved."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()

    @asynccontextmanager
    async def take(self, size: int) -> AsyncIterator[None]:
        """Hold `size` bytes while the block runs. More than there are in all means all of them."""
        held = min(size, self._total)
        if held:
            async with self._turn:
                while self._free < held:
                    self._freed.clear()
                    await self._freed.wait()
                self._free -= held
        try:
            yield
        finally:
            self._free += held
            self._freed.set()
