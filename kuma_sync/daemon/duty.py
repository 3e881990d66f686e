"""What a worker is told: which queue, towards whom, how much at once, and what to do with a job.

Must not: work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from kuma_sync.core.retry import Bounce, Park, RetryAt
from kuma_sync.daemon.allowance import Allowance
from kuma_sync.daemon.limits import Limits
from kuma_sync.daemon.owned import OwnedJob
from kuma_sync.daemon.side import Side
from kuma_sync.store import DurableQueue, Lane, Tx


async def _weightless(_tx: Tx, _subjects: Sequence[str]) -> Mapping[str, int]:
    return {}


class Gate(Protocol):
    """What jobs may have to wait for."""

    def stands_still(self) -> bool:
        """Tell whether nothing goes through but a trial."""

    def open_at(self) -> datetime | None:
        """Return when the next request may go out; None means now."""

    def nothing_waits(self) -> None:
        """Note that there is nothing to try it with, so that nobody can tell how it is."""


class Handler(Protocol):
    """What a worker does with a job."""

    async def handle(self, job: OwnedJob) -> RetryAt | Bounce | Park | None:
        """Do the job and acknowledge it (None), or say what follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """Which queue, towards which side, with how many jobs in flight.

    `gates` are those of single operations: the jobs on a lane wait while one of its gates is shut. While jobs in flight
    wait for their answers, up to `ready` more are made ready to be sent. `weigh` tells how many bytes each job takes of
    the `allowance`.
    """

    name: Literal["delivery", "close"]
    queue: Callable[[Tx], DurableQueue]
    side: Side
    concurrency: int
    limits: Limits
    gates: Mapping[Lane, Sequence[Gate]] = field(default_factory=dict)
    ready: int = 0
    weigh: Callable[[Tx, Sequence[str]], Awaitable[Mapping[str, int]]] = _weightless
    allowance: Allowance = field(default_factory=lambda: Allowance(0))
