"""The rate at which requests go out to one remote.

Must not: know what a request is for.
"""

from __future__ import annotations

import asyncio


class Turnstile:
    """Lets so many requests a second through, evenly and in the order they came; 0 is no limit."""

    def __init__(self, per_second: float = 0) -> None:
        self._gap = 1 / per_second if per_second else 0.0
        self._free_at = 0.0

    async def pass_through(self) -> None:
        """Wait for one's turn."""
        if not self._gap:
            return
        now = asyncio.get_running_loop().time()
        turn = max(now, self._free_at)
        self._free_at = turn + self._gap
        await asyncio.sleep(turn - now)
