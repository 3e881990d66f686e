"""The command as a child process with limits of a test's own, held up where a test wants it.

What a test holds up it names as the program does: a point of `sync/failpoint`, or a loop.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from kuma_sync import cli
from kuma_sync.store import StoreLimits
from kuma_sync.sync import failpoint
from kuma_sync.sync.limits import Limits, Restarts

LIVE = 6.0
"""Seconds that a loop may not turn, by the quick limits; some minutes by the real ones."""

SHORT_LEASES = Limits(
    job_lease=timedelta(seconds=3),
    leader_lease=timedelta(seconds=3),
    store=StoreLimits(lock=timedelta(seconds=2)),
)
"""Leases end, and transactions that stand still are ended, after seconds; after half a minute, or a whole one."""

QUICK = replace(
    SHORT_LEASES,
    store=StoreLimits(lock=timedelta(seconds=1), transaction=timedelta(seconds=3)),
    restarts=Restarts(longest_wait=timedelta(seconds=1)),
    longest_read=timedelta(seconds=LIVE),
    longest_job=timedelta(seconds=LIVE),
    page_deadline=timedelta(seconds=LIVE - 1),
    blocked=timedelta(seconds=LIVE),
    given_up=2.0,
    brief=timedelta(seconds=LIVE * 2 / 3),
    silence=timedelta(seconds=LIVE * 2 / 3),
    observed_every=timedelta(milliseconds=500),
)
"""Every wait and every limit is a small fraction of the real one, each in its order: what must be longer is."""

KEPT_ALIVE = replace(QUICK, given_up=1000.0, restarts=replace(QUICK.restarts, too_often=1000))
"""The same for a process that does not end itself, however long it is not well."""


class Does(StrEnum):
    """What a loop that is held up does instead of its work."""

    HANG = "hangs"
    BLOCK = "blocks"
    RAISE = "raises"


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddity:
    """What is odd in a process.

    At the point `freezes_at` it freezes, once, until SIGCONT. The `loop`, once it has turned `after` times, does at
    every turn what `does` says.
    """

    freezes_at: str = ""
    loop: str = ""
    does: Does = Does.HANG
    after: int = 0


def run(words: Sequence[str], limits: Limits, oddity: Oddity) -> None:
    """Be the command `words`, with these limits and this oddity."""
    failpoint.at = _freezes(oddity.freezes_at)
    failpoint.in_turn = _held_up(oddity)
    cli.main(words, limits=limits)


def _freezes(point: str) -> Callable[[str], None]:
    left = [point]

    def at(passed: str) -> None:
        if passed in left:
            left.remove(passed)
            os.kill(os.getpid(), signal.SIGSTOP)

    return at


def _held_up(oddity: Oddity) -> Callable[[str], Awaitable[None]]:
    turns = 0

    async def in_turn(loop: str) -> None:
        nonlocal turns
        turns += loop == oddity.loop
        if loop != oddity.loop or turns <= oddity.after:
            return
        match oddity.does:
            case Does.HANG:
                await asyncio.Event().wait()
            case Does.BLOCK:
                time.sleep(3600)  # noqa: ASYNC251  # that is the oddity
            case Does.RAISE:
                raise ZeroDivisionError

    return in_turn
