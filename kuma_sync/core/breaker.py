"""The circuit breaker before a remote, as states: closed, open, or half open while a trial request is under way.

It opens for different causes: an outage, a refused token, a redirected write, a wrong address. The gate before a remote
stops requests while its breaker is open. Every function is pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto

from kuma_sync.core.retry import RetryPolicy, backoff

OUT_OF_SERVICE = "out of service"
"""How the reason of a pause begins that an outage is the cause of, and that ends with it."""

TOKEN_REFUSED = "token refused"  # noqa: S105  # a text, and no secret
"""How the reason of a pause begins that a person must end: the token is refused again until somebody mends it."""


class Ends(Enum):
    """Which success closes an open breaker."""

    ANY = auto()  # any request that is not refused
    OUTAGE = auto()  # the same, and the probe
    WRITE = auto()  # a write: reads go through all the time


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """Requests go through. `failures` counts those that failed in a row.

    `trial`: a trial that was under way has not ended yet; another request closed the breaker meanwhile.
    """

    failures: int = 0
    trial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Nothing goes through before `trial_at`, then one trial. `trials` counts the openings in a row."""

    reason: str
    ends: Ends
    trials: int
    trial_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfOpen:
    """A trial is under way. Any failure meanwhile opens the breaker for longer."""

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


def pause_of(breaker: Breaker) -> Open | None:
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
    known = pause_of(breaker)
    return known is not None and not (reads and known.ends is Ends.WRITE)


def opened(breaker: Breaker, *, reason: str, ends: Ends, now: datetime, waits: Waits, jitter: float) -> Breaker:
    """Open the breaker, for longer if a trial failed.

    While it is open already, the wait stays: a request that went out before says nothing new. Only reason and `ends`
    change.
    """
    match breaker:
        case Open():
            return replace(breaker, reason=reason, ends=ends)
        case Closed():
            trials, trial = 1, breaker.trial
        case HalfOpen():
            trials, trial = breaker.open.trials + 1, True
    fresh = Open(reason=reason, ends=ends, trials=trials, trial_at=now + waits.after(trials, ends, jitter))
    return HalfOpen(open=fresh) if trial else fresh


def closed(breaker: Breaker) -> Breaker:
    """Close the breaker: a request went through."""
    return Closed(trial=isinstance(breaker, HalfOpen) or (isinstance(breaker, Closed) and breaker.trial))


def failed(breaker: Breaker, *, trips_after: int | None) -> tuple[Breaker, bool]:
    """Count a failure of a closed breaker; tell whether it is one too many. None never trips."""
    if not isinstance(breaker, Closed):
        return breaker, False
    failures = breaker.failures + 1
    return replace(breaker, failures=failures), trips_after is not None and failures >= trips_after


def trial_begun(breaker: Breaker) -> Breaker:
    """Begin a trial."""
    return HalfOpen(open=breaker) if isinstance(breaker, Open) else breaker


def trial_over(breaker: Breaker) -> Breaker:
    """End a trial; whether it closed the breaker or not, another one may follow."""
    match breaker:
        case HalfOpen():
            return breaker.open
        case Closed():
            return replace(breaker, trial=False)
        case Open():
            return breaker


def woken(breaker: Breaker, now: datetime) -> Breaker:
    """Let a trial go out at once: the secret or the configuration changed."""
    match breaker:
        case Open():
            return replace(breaker, trials=0, trial_at=now)
        case HalfOpen():
            return HalfOpen(open=replace(breaker.open, trials=0, trial_at=now))
        case Closed():
            return breaker


def next_trial(breaker: Breaker) -> datetime | None:
    """Return when it is tried next; None where nothing stands still, or a trial is under way."""
    return breaker.trial_at if isinstance(breaker, Open) else None


def trial_due(breaker: Breaker, now: datetime, longest: timedelta) -> tuple[Breaker, datetime | None]:
    """Return the time of the next trial; None means now.

    A trial further away than `longest` is due: the clock was set back.
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
