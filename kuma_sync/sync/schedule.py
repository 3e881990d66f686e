"""The schedule: APScheduler rings the bells of loops, and does nothing else.

A job that did the work itself would be cancelled on shutdown even with `wait=True` (APScheduler 3.11), so the work runs
in our own tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler


class Bell:
    """Rings until somebody comes; several rings before that are one."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Call whoever waits, now or next time."""
        self._rung.set()

    async def wait(self, at_most: float | None = None) -> bool:
        """Wait for a ring (at most so many seconds) and silence it; tell whether it rang."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most):
                await self._rung.wait()
        rang = self._rung.is_set()
        self._rung.clear()
        return rang


@contextmanager
def ringing(bells: dict[Bell, timedelta]) -> Iterator[None]:
    """Ring each bell at once and then at its interval, with a little jitter, while the block runs."""
    scheduler = AsyncIOScheduler(timezone="UTC")
    for bell, interval in bells.items():
        seconds = interval.total_seconds()
        bell.ring()
        scheduler.add_job(
            _ring,
            "interval",
            args=[bell],
            seconds=seconds,
            jitter=min(seconds * 0.05, 5),
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=False)


async def _ring(bell: Bell) -> None:
    # A coroutine, because APScheduler runs a plain function in a thread, and an asyncio.Event is not for threads.
    bell.ring()
