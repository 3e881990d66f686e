"""The gate in front of one remote: waits it asked for, pauses (a refused token, an outage), one trial at a time.

Every request to that remote goes through it, probes too. Must not: retry, or know what a request is for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from kuma_sync.core.errors import AccessDenied, KumaSyncError, Permanent, RemoteError, Transient
from kuma_sync.core.retry import backoff
from kuma_sync.daemon.pace import Pace
from kuma_sync.daemon.traffic import Traffic
from kuma_sync.telemetry.health import Health, Part

log = structlog.get_logger(__name__)

LONGEST_OUTAGE_WAIT = timedelta(seconds=30)
"""The longest wait between two trials in an outage: unlike a refused token, it ends without anybody's doing."""


class SideStopped(KumaSyncError):
    """That side takes no requests until `until`; nothing was sent."""

    def __init__(self, side: Side, summary: str, until: datetime) -> None:
        super().__init__(f"{side.remote} is not asked before {until:%H:%M:%S}: {summary}")
        self.side = side
        self.summary = summary
        self.until = until


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """How a side finds out about its token.

    `probe` judges a 401 or 403 (None: every one counts as a refused token), and whether an outage is over; `reload`
    reads the secret file again and tells whether it changed.
    """

    probe: Callable[[], Awaitable[object]] | None = None
    reload: Callable[[], bool] = lambda: False


class Side:
    """One remote as a door that may be shut.

    `narrower` is a gate behind this one: while it stands still, this side is not well.
    """

    def __init__(
        self,
        remote: Part,
        *,
        pace: Pace,
        health: Health,
        token: Token | None = None,
        traffic: Traffic | None = None,
        narrower: Side | None = None,
    ) -> None:
        self.remote = remote
        self.pace = pace
        self._health = health
        self._narrower = narrower
        traffic = traffic or Traffic()
        self._turnstile = traffic.turnstile
        self._requested_wait = traffic.requested_wait
        self._trips_after = traffic.trips_after
        self._token = token or Token()
        self._pause: str | None = None
        self._failures = 0
        self._outage = False
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

    def open_at(self, *, paced: bool = False) -> datetime | None:
        """Return when the next request may go out; None means now. `paced` is one that comes at its own interval."""
        now = self.pace.clock()
        if (wait := self._requested_wait.until(now)) is not None:
            return wait
        if self._pause is None or (paced and self._outage):
            return None
        if self._trial_at > now + self.pace.policy.max:
            self._trial_at = now
        if self._token.reload():
            self.wake()
        if self._on_trial:
            return now + timedelta(seconds=1)
        return self._trial_at if self._trial_at > now else None

    def assure_open(self, *, paced: bool = False) -> None:
        """Raise SideStopped where a request would not be let through."""
        until = self.open_at(paced=paced)
        if until is not None:
            raise SideStopped(self, self._pause or "it asked to wait", until)

    async def turn_page(self) -> None:
        """Let a request that was admitted go on with the next one: in its turn, and not where a wait was asked for
        meanwhile.

        Raise SideStopped; whether the side stands still for another reason the request itself will tell.
        """
        await self._turnstile.pass_through()
        if (wait := self._requested_wait.until(self.pace.clock())) is not None:
            raise SideStopped(self, "it asked to wait", wait)

    def never_trip(self) -> None:
        """Attempt every request, however many failed before."""
        self._trips_after = None

    def wake(self) -> None:
        """Let a trial go out at once: the secret or the configuration changed."""
        self._trial_at = self.pace.clock()
        self._trials = 0

    @asynccontextmanager
    async def admit(self, *, paced: bool = False) -> AsyncIterator[None]:
        """Let one request through and learn from how it ends; raise SideStopped without sending where it is shut.

        In an outage a `paced` request, one that comes at its own interval, is the trial; before any other the probe
        is, so that no job's attempt is burnt to find out that the remote is still away.
        """
        self.assure_open(paced=paced)
        await self._turnstile.pass_through()
        self.assure_open(paced=paced)
        trial = self._pause is not None
        self._on_trial = self._on_trial or trial
        try:
            if self._outage and not paced:
                await self._look_first()
            yield
        except RemoteError as error:
            await self._learn(error)
            raise
        else:
            self._resume()
        finally:
            if trial:
                self._on_trial = False

    def stand_still(self, reason: str, *, outage: bool = False) -> SideStopped:
        """Stop this side; return the error that says so."""
        self._outage = outage
        if self._pause is None or self._on_trial:
            # What was in flight when the side was shut says nothing new.
            self._trials += 1
            wait = backoff(self._trials, self.pace.policy, self.pace.jitter())
            self._trial_at = self.pace.clock() + (min(wait, LONGEST_OUTAGE_WAIT) if outage else wait)
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
                    self._requested_wait.add(error.retry_after, self.pace.clock())
                # The error itself goes on: whether its effect may have happened matters to whoever sent it.
                self._failures += 1
                if self._pause is not None:
                    self.stand_still(self._pause, outage=self._outage)
                elif self._trips_after is not None and self._failures >= self._trips_after:
                    self.stand_still(f"out of service: {error.summary}", outage=True)
                else:
                    self._health.failed(self.remote, error.summary)
            case _:
                # It answered, and it took the token.
                self._resume()

    async def _look_first(self) -> None:
        """Ask the probe whether the outage is over; raise SideStopped where it goes on."""
        if self._token.probe is None:
            return
        await self._turnstile.pass_through()
        try:
            await self._token.probe()
        except Transient as error:
            await self._learn(error)
            raise SideStopped(self, f"out of service: {error.summary}", self._trial_at) from None
        except RemoteError:
            # It answers. Whether it lets us in, the request itself will tell.
            return
        self._resume()

    async def _judge(self, error: AccessDenied) -> None:
        """Tell a refused token from one request that is not allowed."""
        reason = f"token refused ({error.summary})"
        if (wait := self._requested_wait.until(self.pace.clock())) is not None:
            raise SideStopped(self, "it asked to wait", wait) from None
        if self._token.probe is None:
            raise self.stand_still(reason) from None
        await self._turnstile.pass_through()
        try:
            await self._token.probe()
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
        self._outage = False
        self._failures = self._trials = 0
        if not self.unwell:
            self._health.succeeded(self.remote)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """The IRP's gate, and a gate of its own for creates: a wrong path stops them alone.

    `places` are as many as requests of deliveries may be in flight.
    """

    irp: Side
    creates: Side
    places: asyncio.Semaphore
