"""How failures are waited out.

Must not: wait itself, or know which side failed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from kuma_sync.core.errors import RemoteError
from kuma_sync.core.retry import Bounce, Park, Pause, RetryAt, RetryPolicy, after_failure
from kuma_sync.daemon.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
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
