"""A claimed job together with the certainty that it is still ours, and the writing down of what became of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from kuma_sync.core.errors import ClaimLost, StoreReplaced, StoreUnavailable
from kuma_sync.core.lanes import Lane
from kuma_sync.store import Claim
from kuma_sync.sync.limits import Limits

T = TypeVar("T")


async def _nothing(_size: int) -> None:
    return


@dataclass(slots=True)
class LeasedJob:
    """A claim together with the certainty that it is still ours.

    `unwritten` is the moment since which the store has not taken what came of it, None while nothing waits; `weight` is
    how many bytes of contents it takes up, and `take` waits for room for more, until the job ends; `missed` names the
    operation that the IRP answered last as if it did not know the incident; `lane` is where the job waits, unless for
    an operation that stands still; None: where it was.
    """

    claim: Claim
    valid_until: float
    limits: Limits
    unwritten: float | None = None
    weight: int = 0
    take: Callable[[int], Awaitable[object]] = _nothing
    missed: str = ""
    lane: Lane | None = None

    def ensure_valid(self) -> None:
        """Raise ClaimLost when the lease may have run out (a frozen process wakes up late); ask before sending."""
        if time.monotonic() >= self.valid_until:
            raise ClaimLost(f"job {self.claim.id} was held too long")


async def persist(job: LeasedJob, write: Callable[[], Awaitable[T]]) -> T:
    """Write what became of a job, however often the store says no, while the claim is ours.

    Shielded: once the other side acted, being cancelled must not keep us from writing it down.
    """
    task = asyncio.ensure_future(insist(job, write))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_unheard)
        await asyncio.wait([task], timeout=job.limits.last_result.total_seconds())
        raise


async def insist(job: LeasedJob, write: Callable[[], Awaitable[T]]) -> T:
    """Ask the store for something, however often it is away, while the claim is ours."""
    job.unwritten = time.monotonic()
    while True:
        try:
            written = await write()
        except StoreReplaced:
            raise  # it will never take it
        except StoreUnavailable:  # the loops tell; told here, it would be a line a job and try
            job.ensure_valid()
            await asyncio.sleep(job.limits.result_tried_again.total_seconds())
        else:
            job.unwritten = None
            return written


def _unheard(task: asyncio.Future[Any]) -> None:
    """Take note of how a write ended whose job was cancelled: asyncio would log what nobody asked for."""
    if not task.cancelled():
        task.exception()
