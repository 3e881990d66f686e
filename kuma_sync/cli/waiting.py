"""What is said after an order that only a daemon carries out, where none runs.

Must not: wait.
"""

from __future__ import annotations

from collections.abc import Sequence

from kuma_sync.cli.out import say
from kuma_sync.store import Store
from kuma_sync.wiring.running import running


async def say_if_it_waits(store: Store, ordered: Sequence[str]) -> bool:
    """Say that what was ordered waits, if no daemon runs; tell whether it does."""
    if not ordered:
        return False
    async with store.read() as tx:
        now = await running(store, tx)
    if now.daemon:
        return False
    say("No daemon is running: this waits on the queue until one does (`kuma-sync run`, or `run --once`).")
    return True
