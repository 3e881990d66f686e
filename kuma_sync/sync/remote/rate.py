"""How fast requests to one remote may go out, and how long is waited: the rate, the wait it asked for, the back-off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from kuma_sync.core.errors import RemoteError
from kuma_sync.core.retry import (
    LONGEST_RETRY_AFTER,
    Bounce,
    Park,
    Pause,
    RetryAt,
    RetryPolicy,
    after_failure,
    clamp_retry_after,
)
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.remote.maintenance import Pausable


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryContext:
    """How failures are waited out: the clock, the retry policy, a source of jitter (0…1), and the limits."""

    clock: Callable[[], datetime]
    policy: RetryPolicy
    jitter: Callable[[], float]
    limits: Limits

    def after(self, error: RemoteError, *, attempts: int) -> RetryAt | Bounce | Park:
        """Decide what follows a job's failed attempt; `attempts` counts it. A refused token is its side's matter."""
        now = self.clock()
        decision = after_failure(error, attempts=attempts, now=now, policy=self.policy, jitter=self.jitter())
        if isinstance(decision, Pause):
            return Bounce(until=now + self.policy.base, reason=decision.reason)
        return decision


class RateLimiter:
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


class RetryAfter:
    """Until when a remote asked not to be asked (Retry-After), whoever had that answer."""

    def __init__(self) -> None:
        self._until: datetime | None = None

    def add(self, wait: timedelta, now: datetime) -> None:
        """Note that the remote asked for a wait from now; a longer one that it asked for before stays."""
        until = now + clamp_retry_after(wait)
        self._until = max(self._until or until, until)

    def until(self, now: datetime) -> datetime | None:
        """Return until when to wait; None where there is nothing to wait for."""
        if self._until is not None and self._until > now + LONGEST_RETRY_AFTER:
            # A wait longer than there can be means that the clock was set back meanwhile.
            self._until = None
        return self._until if self._until is not None and self._until > now else None


class Passes:
    """Which requests went through: tells what concerns all of a kind from what concerns one subject alone."""

    def __init__(self) -> None:
        self._through = 0
        self._refused: dict[str, int] = {}

    def through(self, subject: str) -> None:
        """Note that a request about this subject went through."""
        self._through += 1
        self._refused.pop(subject, None)

    def refused(self, subject: str) -> bool:
        """Note that one was refused; tell whether others went through since this subject was first refused."""
        return self._refused.setdefault(subject, self._through) < self._through


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What limits the requests of one gate.

    Failures in a row shut one that `trips` (the circuit breaker). `requested_wait` may be
    another gate's to the same remote, or a former one's. `pausable` says which pauses of an operator it obeys.
    """

    limiter: RateLimiter = field(default_factory=RateLimiter)
    requested_wait: RetryAfter = field(default_factory=RetryAfter)
    trips: bool = True
    pausable: Pausable = field(default_factory=Pausable)
