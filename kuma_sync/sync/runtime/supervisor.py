"""Loops that go on: one that raised is started again, and the process ends when one keeps failing.

A bug in the poller must not stop deliveries or the door.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from kuma_sync.core.errors import KumaSyncError, StoreError, ValueRefused
from kuma_sync.sync.limits import Restarts

log = structlog.get_logger(__name__)

Loop = Callable[[], Awaitable[None]]


class LoopKeepsFailing(KumaSyncError):
    """A loop failed again and again: the process ends, and whoever supervises it starts it anew."""


def _nobody(_reason: str) -> None:
    return


async def supervise(
    name: str, loop: Loop, stop: asyncio.Event, tell: Callable[[str], None] = _nobody, *, restarts: Restarts
) -> None:
    """Run a loop until it ends by itself (as it does when `stop` is set); start it again when it raises.

    `tell` hears why it failed, and nothing ("") once it has run well for a while.
    """
    clock = asyncio.get_running_loop().time
    failures: deque[float] = deque(maxlen=restarts.too_often)
    wait = first = restarts.first_wait.total_seconds()
    while True:
        started = clock()
        well = asyncio.get_running_loop().call_later(restarts.well_after.total_seconds(), tell, "")
        try:
            await loop()
        except Exception as error:
            if _ends_the_process(error):
                raise
            # The other boundary: whatever a loop's bug is, the others go on.
            failures.append(clock())
            log.exception("loop_failed", loop=name, error=type(error).__name__)
            tell(f"the {name} loop failed: {type(error).__name__}")
            within = restarts.within.total_seconds()
            if len(failures) == restarts.too_often and failures[-1] - failures[0] < within:
                raise LoopKeepsFailing(f"the {name} loop keeps failing") from error
            wait = first if clock() - started > within else min(wait * 2, restarts.longest_wait.total_seconds())
        else:
            return
        finally:
            well.cancel()
        if await happens(stop, within=wait):
            return


def _ends_the_process(error: Exception) -> bool:
    """Tell a store that cannot be used, which is a sentence for people, from a bug."""
    if isinstance(error, ExceptionGroup):
        return all(map(_ends_the_process, error.exceptions))
    return isinstance(error, StoreError) and not isinstance(error, ValueRefused)


async def happens(event: asyncio.Event, *, within: float) -> bool:
    """Wait for an event, at most so many seconds; tell whether it happened."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within):
            await event.wait()
    return event.is_set()
