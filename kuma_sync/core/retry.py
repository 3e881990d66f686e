"""The decision after a failure: try again at a time, park the job, or stop all requests to that side."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from kuma_sync.core.errors import AccessDenied, Permanent, Redirected, RemoteError, Transient
from kuma_sync.core.lanes import Lane

LONGEST_RETRY_AFTER = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """First wait and longest wait; the wait doubles in between."""

    base: timedelta
    max: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryAt:
    """Try again at this moment. `counts` is false where nothing was attempted, so that no back-off is burnt."""

    at: datetime
    reason: str
    counts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounce:
    """Nothing was attempted: that side, or one operation alone, is shut until then. No back-off is burnt.

    `lane` is where it waits, if not where it was.
    """

    until: datetime
    reason: str
    lane: Lane | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """Set the job aside for a human, with its reason.

    `detail` is what the other side answered: it is kept with the job, and never logged.
    """

    reason: str
    detail: str = ""

    @property
    def kept(self) -> str:
        """Return the whole reason, for the record of the one job."""
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """That side refuses us altogether: stop it and keep everything."""

    reason: str


def after_failure(
    error: RemoteError, *, attempts: int, now: datetime, policy: RetryPolicy, jitter: float
) -> RetryAt | Park | Pause:
    """Decide what follows a failed attempt. `attempts` counts it; `jitter` is a fair draw from 0…1.

    A wait that was asked for is never shortened, but lengthened by up to a quarter: what was refused together must not
    come back together.
    """
    match error:
        case Transient():
            asked = min(clamp_retry_after(error.retry_after) * (1 + jitter / 4), LONGEST_RETRY_AFTER)
            return RetryAt(at=now + max(asked, backoff(attempts, policy, jitter)), reason=error.summary)
        case AccessDenied() | Redirected():
            return Pause(reason=error.summary)
        case Permanent():
            return Park(reason=error.summary, detail=error.detail)
        case _:
            return Park(reason=error.summary)


def backoff(attempts: int, policy: RetryPolicy, jitter: float) -> timedelta:
    """Return the wait after `attempts` failures: doubling from `base` up to `max`, less up to a quarter of jitter."""
    doublings = min(max(attempts - 1, 0), 20)
    return min(policy.base * (1 << doublings), policy.max) * (1 - jitter / 4)


def clamp_retry_after(asked: timedelta | None) -> timedelta:
    """Return the wait the other side asked for, honoured up to an hour."""
    return min(max(asked or timedelta(), timedelta()), LONGEST_RETRY_AFTER)
