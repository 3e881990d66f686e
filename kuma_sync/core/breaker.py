"""The circuit breaker before a remote, as states: closed, open, or half open while a trial request is under way.

It opens for different causes: an outage, a refused token, a redirected write, a wrong address. Every function is pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto

from kuma_sync.core.retry import RetryPolicy, backoff


class Ends(Enum):
    """Which success closes an open breaker."""

    ANY = auto()  # any request that is not refused
    OUTAGE = auto()  # the same, and the probe
    WRITE = auto()  # a write: reads go through all the time


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """Requests go through. `failures` counts those that failed in a row."""

    failures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Nothing goes through before `trial_at`, then one trial. `trials` counts the openings in a row."""

    reason: str
    ends: Ends
    trials: int
    trial_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfOpen:
    """A trial is under way. If it fails, the breaker opens for longer."""

    open: Open


Breaker = Closed | Open | HalfOpen

TRIAL_TAKES = timedelta(seconds=1)
"""When to look again while a trial is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long a breaker stays open: the retry policy's back-off, in an outage at most `outage`."""

    policy: RetryPolicy
    outage: timedelta

    def after(self, trials: int, ends: Ends, jitter: float) -> timedelta:
        """Return the wait before the next trial; `jitter` is a draw from 0…1."""
        wait = backoff(trials, self.policy, jitter)
        return min(wait, self.outage) if ends is Ends.OUTAGE else wait


def opened_by(breaker: Breaker) -> Open | None:
    """Return why and until when the breaker is open; None while it is closed."""
    match breaker:
        case Closed():
            return None
        case Open():
            return breaker
        case HalfOpen():
            return breaker.open


def stops(breaker: Breaker, *, reads: bool) -> bool:
    """Tell whether the breaker stops a write, or a request that only `reads`."""
    known = opened_by(breaker)
    return known is not None and not (reads and known.ends is Ends.WRITE)


def opened(breaker: Breaker, *, reason: str, ends: Ends, now: datetime, waits: Waits, jitter: float) -> Breaker:
    """Open the breaker, for longer if a trial failed.

    While it is open already, the failure of a request that went out before says nothing new: only the reason is taken.
    """
    match breaker:
        case Open():
            return replace(breaker, reason=reason, ends=ends)
        case Closed():
            trials = 1
        case HalfOpen():
            trials = breaker.open.trials + 1
    fresh = Open(reason=reason, ends=ends, trials=trials, trial_at=now + waits.after(trials, ends, jitter))
    return HalfOpen(open=fresh) if isinstance(breaker, HalfOpen) else fresh


def failed(breaker: Breaker, *, trips_after: int | None) -> tuple[Breaker, bool]:
    """Count a failure of a closed breaker; tell whether it is one too many. None never trips."""
    if not isinstance(breaker, Closed):
        return breaker, False
    failures = breaker.failures + 1
    return Closed(failures=failures), trips_after is not None and failures >= trips_after


def tried(breaker: Breaker) -> Breaker:
    """Begin a trial."""
    return HalfOpen(open=breaker) if isinstance(breaker, Open) else breaker


def trial_over(breaker: Breaker) -> Breaker:
    """End a trial that did not close the breaker."""
    return breaker.open if isinstance(breaker, HalfOpen) else breaker


def woken(breaker: Breaker, now: datetime) -> Breaker:
    """Let a trial go out at once: the secret or the configuration changed."""
    match breaker:
        case Open():
            return replace(breaker, trials=0, trial_at=now)
        case HalfOpen():
            return HalfOpen(open=replace(breaker.open, trials=0, trial_at=now))
        case Closed():
            return breaker


def trial_due(breaker: Breaker, now: datetime, longest: timedelta) -> tuple[Breaker, datetime | None]:
    """Return when the next trial may go out; None means now. One further away than `longest` is due: the clock was
    set back.
    """
    match breaker:
        case Closed():
            return breaker, None
        case HalfOpen():
            return breaker, now + TRIAL_TAKES
        case Open(trial_at=at):
            if at > now + longest:
                return replace(breaker, trial_at=now), None
            return breaker, at if at > now else None
