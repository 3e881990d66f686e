"""A test build of the program: the command with short leases and limits, and with one oddity in it.

By hand: `python tests/walk/odd_build.py '{"freeze": "intent_committed"}' run -c config.toml`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from kuma_sync import cli
from kuma_sync.daemon import observe, owned, points, run, supervise, turn
from kuma_sync.daemon.loops import Polling
from kuma_sync.daemon.worker import Worker
from kuma_sync.store import engine, postgres, session
from kuma_sync.store.lease import Lease
from kuma_sync.telemetry import pulse

CLAIM = 3.0
TURN = 3.0
TRANSACTION = 2.0
"""Seconds that leases last, and that a transaction may stand still; for half a minute, or a whole one."""

LIVE = 6.0
"""Seconds that a loop may not turn; for some minutes."""


def freezes(point: str) -> Callable[[str], None]:
    """Return what a process does at every point it passes: at the first of these it freezes, until SIGCONT."""
    left = [point]

    def at(passed: str) -> None:
        if passed in left:
            left.remove(passed)
            os.kill(os.getpid(), signal.SIGSTOP)

    return at


def freeze_in_transaction() -> None:
    """Freeze once while the transaction holds the reader's row: the first time it is about to write what was read."""
    assure, left = Lease.assure, [1]

    async def frozen(self: Lease, turn: Any) -> None:
        await assure(self, turn)
        if left:
            left.clear()
            os.kill(os.getpid(), signal.SIGSTOP)

    Lease.assure = frozen  # type: ignore[method-assign]  # the oddity


def unfenced() -> None:
    """Write whatever was read, as if there were no fence: what the fence's test must notice."""

    async def assure(self: Lease, turn: Any) -> None:
        return

    Lease.assure = assure  # type: ignore[method-assign]  # the oddity


def poll_odd(kind: str, after: int) -> None:
    """Let the poll loop hang, block the event loop, or raise, once it has polled so many times."""
    poll, polls = Polling.__call__, [0]

    async def odd(self: Polling) -> None:
        polls[0] += 1
        self._health.beat("poll")
        if polls[0] <= after:
            await poll(self)
        elif kind == "hangs":
            await asyncio.Event().wait()
        elif kind == "blocks":
            time.sleep(3600)  # noqa: ASYNC251  # that is the oddity
        else:
            raise ZeroDivisionError

    Polling.__call__ = odd  # type: ignore[method-assign]  # the oddity


def delivery_odd(kind: str, after: int) -> None:
    """Let the delivery loop hang or raise, once it has looked at its queue so many times."""
    start, looks = Worker._start_some, [0]

    async def odd(self: Worker, group: asyncio.TaskGroup, jobs: set[asyncio.Task[None]]) -> int:
        looks[0] += self.name == "delivery"
        if self.name != "delivery" or looks[0] <= after:
            return await start(self, group, jobs)
        if kind == "hangs":
            await asyncio.Event().wait()
        raise ZeroDivisionError

    Worker._start_some = odd  # type: ignore[method-assign]  # the oddity


def shorten_leases() -> None:
    """Let leases end after seconds."""
    owned.LEASE = timedelta(seconds=CLAIM)
    turn.TTL = timedelta(seconds=TURN)
    postgres.PATIENCE = TRANSACTION


def shorten_limits() -> None:
    """Make every wait and every limit a small fraction of the real one, each in its order: what must be longer is."""
    postgres.PATIENCE = 1.0
    engine.open_engine.__kwdefaults__["busy_timeout"] = 1.0
    session.LONGEST = 3.0
    run.LONGEST_READ = run.LONGEST_JOB = timedelta(seconds=LIVE)
    run.BRIEF = run.SILENCE = timedelta(seconds=LIVE * 2 / 3)
    observe.EVERY = 0.5
    observe.GIVEN_UP = 2.0
    pulse.LIMIT = LIVE
    supervise.LONGEST_WAIT = 1.0


def main(oddities: dict[str, Any], words: list[str]) -> None:
    """Be the command, with these oddities."""
    shorten_leases()
    if oddities.get("short_limits"):
        shorten_limits()
    if oddities.get("kept_alive"):
        observe.GIVEN_UP, supervise.TOO_OFTEN = 1000.0, 1000
    if oddities.get("unfenced"):
        unfenced()
    if oddities.get("freeze_in_transaction"):
        freeze_in_transaction()
    points.at = freezes(oddities.get("freeze", ""))
    for part, oddity in (("poll", poll_odd), ("delivery", delivery_odd)):
        if part in oddities:
            oddity(oddities[part], oddities.get("after", 0))
    cli.main(words)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
