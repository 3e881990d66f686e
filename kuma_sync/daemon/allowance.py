"""How many bytes of contents may be in work at once, by the poller and all workers together.

Contents take five to ten times their bytes as objects; without a limit a page of large alerts, or many deliveries of
them at once, would take all the memory there is. Must not: measure anything itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CONTENTS_IN_WORK = 6 * 1024 * 1024
"""Bytes of contents that are unpacked at once, a single larger alert aside."""


class Allowance:
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
