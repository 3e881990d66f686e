"""The gate in front of one remote: waits it asked for, pauses after a refused token, one trial at a time.

Every request to that remote goes through it, probes too. Must not: retry, or know what a request is for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from kuma_sync.core.errors import AccessDenied, KumaSyncError, Permanent, RemoteError, Transient
from kuma_sync.core.retry import (
    LONGEST_RETRY_AFTER,
    Bounce,
    Park,
    Pause,
    RetryAt,
    RetryPolicy,
    after_failure,
    backoff,
    clamp_retry_after,
)
from kuma_sync.telemetry.health import Health, Part

log = structlog.get_logger(__name__)


class SideStopped(KumaSyncError):
    """That side takes no requests until `until`; nothing was sent."""

    def __init__(self, side: Side, reason: str, until: datetime) -> None:
        super().__init__(f"{side.remote} is not asked before {until:%H:%M:%S}: {reason}")
        self.side = side
        self.reason = reason
        self.until = until


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How failures are waited out: the clock, the retry policy, and a source of jitter (0…1)."""

    clock: Callable[[], datetime]
    policy: RetryPolicy
    jitter: Callable[[], float]

    def after(self, error: RemoteError, *, attempts: int) -> RetryAt | Bounce | Park:
        """Decide what follows a job's failed attempt; `attempts` counts it. A refused token is its side's matter."""
        now = self.clock()
        decision = after_failure(error, attempts=attempts, now=now, policy=self.policy, jitter=self.jitter())
        if isinstance(decision, Pause):
            return Bounce(until=now + self.policy.base, reason=decision.reason)
        return decision


class Side:
    """One remote as a door that may be shut.

    `probe` judges a 401 or 403 (None: every one counts as a refused token); `reload` reads the secret file again and
    tells whether it changed. `narrower` is a gate behind this one: while it stands still, this side is not well.
    """

    def __init__(
        self,
        remote: Part,
        *,
        pace: Pace,
        health: Health,
        probe: Callable[[], Awaitable[object]] | None = None,
        reload: Callable[[], bool] = lambda: False,
        narrower: Side | None = None,
    ) -> None:
        self.remote = remote
        self.pace = pace
        self._health = health
        self._narrower = narrower
        self._probe = probe
        self._reload = reload
        self._asked_to_wait: datetime | None = None
        self._pause: str | None = None
        self._trials = 0
        self._trial_at = pace.clock()
        self._on_trial = False

    @property
    def paused(self) -> str | None:
        """Return why this side stands still, or None."""
        return self._pause

    @property
    def unwell(self) -> bool:
        """Tell whether this side, or the narrower gate behind it, stands still."""
        return self.paused is not None or (self._narrower is not None and self._narrower.unwell)

    def open_at(self) -> datetime | None:
        """Return when the next request may go out; None means now."""
        now = self.pace.clock()
        if self._asked_to_wait is not None and self._asked_to_wait > now + LONGEST_RETRY_AFTER:
            # A wait longer than there can be means that the clock was set back meanwhile.
            self._asked_to_wait = None
        if self._asked_to_wait is not None and self._asked_to_wait > now:
            return self._asked_to_wait
        if self._pause is None:
            return None
        if self._trial_at > now + self.pace.policy.max:
            self._trial_at = now
        if self._reload():
            self.wake()
        if self._on_trial:
            return now + timedelta(seconds=1)
        return self._trial_at if self._trial_at > now else None

    def assure_open(self) -> None:
        """Raise SideStopped where a request would not be let through."""
        until = self.open_at()
        if until is not None:
            raise SideStopped(self, self._pause or "it asked to wait", until)

    def wake(self) -> None:
        """Let a trial go out at once: the secret or the configuration changed."""
        self._trial_at = self.pace.clock()
        self._trials = 0

    @asynccontextmanager
    async def admit(self) -> AsyncIterator[None]:
        """Let one request through and learn from how it ends; raise SideStopped without sending where it is shut."""
        self.assure_open()
        trial = self._pause is not None
        self._on_trial = self._on_trial or trial
        try:
            yield
        except RemoteError as error:
            await self._learn(error)
            raise
        else:
            self._resume()
        finally:
            if trial:
                self._on_trial = False

    def stand_still(self, reason: str) -> SideStopped:
        """Stop this side; return the error that says so."""
        if self._pause is None or self._on_trial:
            # What was in flight when the side was shut says nothing new.
            self._trials += 1
            self._trial_at = self.pace.clock() + backoff(self._trials, self.pace.policy, self.pace.jitter())
        if self._pause != reason:
            log.error("side_paused", remote=self.remote, reason=reason)
        self._pause = reason
        self._health.paused(self.remote, reason)
        return SideStopped(self, reason, self._trial_at)

    async def _learn(self, error: RemoteError) -> None:
        match error:
            case AccessDenied():
                await self._judge(error)
            case Transient():
                if error.retry_after is not None:
                    until = self.pace.clock() + clamp_retry_after(error.retry_after)
                    self._asked_to_wait = max(self._asked_to_wait or until, until)
                # The error itself goes on: whether its effect may have happened matters to whoever sent it.
                if self._pause is not None:
                    self.stand_still(self._pause)
                else:
                    self._health.failed(self.remote, error.summary)
            case _:
                # It answered, and it took the token.
                self._resume()

    async def _judge(self, error: AccessDenied) -> None:
        """Tell a refused token from one request that is not allowed."""
        reason = f"token refused ({error.summary})"
        until = self._asked_to_wait
        if until is not None and until > self.pace.clock():
            raise SideStopped(self, "it asked to wait", until) from None
        if self._probe is None:
            raise self.stand_still(reason) from None
        try:
            await self._probe()
        except (AccessDenied, Permanent):
            # A probe that is refused for another reason says nothing about the token: as if there were none.
            raise self.stand_still(reason) from None
        except Transient as failed:
            await self._learn(failed)
            raise
        self._resume()
        raise Permanent(
            remote=error.remote,
            operation=error.operation,
            summary=f"not allowed ({error.summary}), though the token is accepted",
            status=error.status,
            detail=error.detail,
        ) from None

    def _resume(self) -> None:
        if self._pause is not None:
            log.info("side_resumed", remote=self.remote)
        self._pause = None
        self._trials = 0
        if not self.unwell:
            self._health.succeeded(self.remote)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """The IRP's gate, and a gate of its own for creates: a wrong path stops them alone."""

    irp: Side
    creates: Side
