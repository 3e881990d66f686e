"""The gate in front of one remote: an operator's pause, waits it asked for, its own pauses, one trial at a time.

Every request to that remote goes through it, probes too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import structlog

from kuma_sync.core import breaker
from kuma_sync.core.breaker import OUT_OF_SERVICE, TOKEN_REFUSED, Closed, Ends, Waits
from kuma_sync.core.errors import AccessDenied, KumaSyncError, NotAllowed, Permanent, Redirected, RemoteError, Transient
from kuma_sync.core.maintenance import Maintenance
from kuma_sync.sync.remote.rate import Passes, RetryContext, Traffic
from kuma_sync.telemetry.health import Health, Part

log = structlog.get_logger(__name__)

T = TypeVar("T")


class GateClosed(KumaSyncError):
    """That side takes no requests until `until`.

    `cause` is the answer that this very request had; None where nothing of it was sent.
    """

    def __init__(self, gate: RemoteGate, summary: str, until: datetime, cause: RemoteError | None = None) -> None:
        when = f" before {until:%H:%M:%S}" if gate.maintenance is None else ""
        super().__init__(f"{gate.remote} is not asked{when}: {summary}")
        self.gate = gate
        self.summary = summary
        self.until = until
        self.cause = cause


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthProbe:
    """How a side finds out about its token, and whether an outage is over.

    `probe` asks the remote for something that the token allows; None: every 401 or 403 counts as a refused token.
    `reload` reads the secret file again and tells whether it changed.
    """

    probe: Callable[[], Awaitable[object]] | None = None
    reload: Callable[[], bool] = lambda: False


class RemoteGate:
    """One remote behind a circuit breaker, a rate limiter and the waits it asked for.

    `narrower` are gates of single kinds of requests, which go through those first: while one stands still, this side
    is not well.
    """

    def __init__(
        self,
        remote: Part,
        *,
        pace: RetryContext,
        health: Health,
        auth: AuthProbe | None = None,
        traffic: Traffic | None = None,
        narrower: Collection[RemoteGate] = (),
    ) -> None:
        self.remote = remote
        self.pace = pace
        self._health = health
        self._family: list[RemoteGate] = [self, *narrower]
        for gate in narrower:
            gate._family = self._family
        traffic = traffic or Traffic()
        self.pausable = traffic.pausable
        self._limiter = traffic.limiter
        self._requested_wait = traffic.requested_wait
        self._trips_after = pace.limits.trips_after if traffic.trips else None
        self._auth = auth or AuthProbe()
        self._breaker: breaker.Breaker = Closed()
        self._passes = Passes()
        self._failures = 0

    @property
    def paused(self) -> str | None:
        """Return why this side stands still, or None."""
        known = breaker.pause_of(self._breaker)
        return None if known is None else known.reason

    @property
    def maintenance(self) -> Maintenance | None:
        """Return the operator's pause that lasts, or None."""
        return self.pausable.now(self.pace.clock())

    @property
    def unwell(self) -> bool:
        """Tell whether this side, or a gate before or behind it, stands still."""
        return any(gate.paused is not None for gate in self._family)

    def stands_still(self, *, reads: bool = False) -> bool:
        """Tell whether this side stands still for a write, or for one that only `reads`."""
        return breaker.stops(self._breaker, reads=reads)

    def open_at(self, *, paced: bool = False, reads: bool = False) -> datetime | None:
        """Return when the next request may go out; None means now. `paced` is one that comes at its own interval."""
        now = self.pace.clock()
        if (maintenance := self.pausable.now(now)) is not None:
            # It may be resumed before its end.
            look = now + self.pace.limits.maintenance_wait
            return min(look, maintenance.until or look)
        if (wait := self._requested_wait.until(now)) is not None:
            return wait
        if not self.stands_still(reads=reads) or (paced and self._in_outage):
            return None
        if self._auth.reload():
            self.wake()
        self._breaker, due = breaker.trial_due(self._breaker, now, self.pace.policy.max)
        return due

    @property
    def _in_outage(self) -> bool:
        known = breaker.pause_of(self._breaker)
        return known is not None and known.ends is Ends.OUTAGE

    @property
    def tried_at(self) -> datetime | None:
        """Return when this side, or what stands still of it, is tried next; None where that is now, or not known."""
        now = self.pace.clock()
        if self.maintenance is not None:
            return None
        whole = self._family[0]
        gates = [whole] if whole.paused is not None else self._family  # all must pass the whole side first
        trials = [at for gate in gates if (at := breaker.next_trial(gate._breaker)) is not None]
        at = max(self._requested_wait.until(now) or now, min(trials, default=now))
        return at if now < at <= now + self.pace.policy.max else None

    def assure_open(self, *, paced: bool = False, reads: bool = False) -> None:
        """Raise GateClosed where a request would not be let through."""
        until = self.open_at(paced=paced, reads=reads)
        if until is not None:
            maintenance = self.maintenance
            why = maintenance.reason if maintenance is not None else self.paused or "it asked to wait"
            raise GateClosed(self, why, until)

    async def turn_page(self) -> None:
        """Let a request that was admitted go on with the next one: in its turn, and not where a wait was asked for
        meanwhile.

        Raise GateClosed, also where an operator paused it; another reason to stand still the request itself will tell.
        """
        await self._limiter.pass_through()
        if self.maintenance is not None:
            self.assure_open()
        if (wait := self._requested_wait.until(self.pace.clock())) is not None:
            raise GateClosed(self, "it asked to wait", wait)

    def asked_to_wait(self, delay: timedelta) -> None:
        """Note that the remote asked for a wait, in an answer that is not looked into otherwise."""
        self._requested_wait.add(delay, self.pace.clock())

    def never_trip(self) -> None:
        """Attempt every request, however many failed before."""
        self._trips_after = None

    def wake(self) -> None:
        """Let a trial go out at once: the secret or the configuration changed."""
        self._breaker = breaker.woken(self._breaker, self.pace.clock())

    async def ask(
        self, send: Callable[[], Awaitable[T]], *, paced: bool = False, reads: bool = False, subject: str | None = ""
    ) -> T:
        """Send through this gate, as `admit` lets it; once more where this request alone was answered 401 or 403.

        Raise NotAllowed where it is refused again, and the token is accepted all the same.
        """
        try:
            async with self.admit(paced=paced, reads=reads, subject=subject):
                return await send()
        except NotAllowed:
            # One node of several that has not heard of the token yet, or a right that is just being given.
            pass
        async with self.admit(paced=paced, reads=reads, subject=subject):
            return await send()

    async def aside(self, send: Callable[[], Awaitable[T]]) -> T:
        """Send what nothing waits for, where this side is open: how it ends says nothing about the side.

        Raise GateClosed, or RemoteError; a wait that the remote asks for counts all the same.
        """
        self.assure_open()
        if self.stands_still():
            raise self._closed(self.paused or "")
        await self.turn_page()
        try:
            return await send()
        except Transient as error:
            if error.retry_after is not None:
                self._requested_wait.add(error.retry_after, self.pace.clock())
            raise

    @asynccontextmanager
    async def admit(self, *, paced: bool = False, reads: bool = False, subject: str | None = "") -> AsyncIterator[None]:
        """Let one request through and learn from how it ends; raise GateClosed without sending where it is shut.

        In an outage a `paced` request, one that comes at its own interval, is the trial; before any other the probe
        is, so that no job's attempt is burnt to find out that the remote is still away. One that only `reads` is let
        through where writes alone are redirected. `subject` names what the request is about, to tell what concerns that
        one alone; None is known to.
        """
        self.assure_open(paced=paced, reads=reads)
        await self._limiter.pass_through()
        self.assure_open(paced=paced, reads=reads)
        trial = self.stands_still(reads=reads)
        if trial:
            self._breaker = breaker.trial_begun(self._breaker)
        try:
            if self._in_outage and not paced:
                await self._look_first()
            yield
        except RemoteError as error:
            await self._learn(error, reads=reads, subject=subject)
            raise
        else:
            if not reads and subject is not None:
                self._passes.through(subject)
            self._resume(reads=reads)
        finally:
            if trial:
                self._breaker = breaker.trial_over(self._breaker)

    def alone(self, subject: str) -> bool:
        """Note that this subject was refused in a way that should concern all; tell whether it concerns it alone.

        It does where others went through since it was first refused: one bad item must not stop the line.
        """
        return self._passes.refused(subject)

    def stand_still(self, reason: str, *, ends: Ends = Ends.ANY, cause: RemoteError | None = None) -> GateClosed:
        """Stop this side; return the error that says so."""
        before = self.paused
        self._breaker = breaker.opened(
            self._breaker,
            reason=reason,
            ends=ends,
            now=self.pace.clock(),
            waits=Waits(policy=self.pace.policy, outage=self.pace.limits.outage_wait),
            jitter=self.pace.jitter(),
        )
        if before != reason:
            log.error("side_paused", remote=self.remote, reason=reason)
        self._health.paused(self.remote, reason)
        return self._closed(reason, cause)

    def _closed(self, reason: str, cause: RemoteError | None = None) -> GateClosed:
        known = breaker.pause_of(self._breaker)
        return GateClosed(self, reason, known.trial_at if known else self.pace.clock(), cause)

    def go_on(self) -> None:
        """End a pause: another way told that it is over."""
        if self.paused is not None:
            self._resume()

    def nothing_waits(self) -> None:
        """End a pause that nothing would end: no request of its kind is left to try it with. The next one will tell."""
        known = breaker.pause_of(self._breaker)
        if known is not None and (self._family[0] is not self or known.ends is Ends.WRITE):
            self.go_on()

    async def _learn(self, error: RemoteError, *, reads: bool = False, subject: str | None = "") -> None:
        self._failures += 1
        match error:
            case AccessDenied():
                await self._judge(error)
            case Redirected():
                self._redirected(error, subject)
            case Transient():
                if error.retry_after is not None:
                    self._requested_wait.add(error.retry_after, self.pace.clock())
                # The error itself goes on: whether its effect may have happened matters to whoever sent it.
                self._breaker, trips = breaker.failed(self._breaker, trips_after=self._trips_after)
                if trips:
                    self.stand_still(f"{OUT_OF_SERVICE}: {error.summary}", ends=Ends.OUTAGE)
                elif not self._fail_again():
                    self._health.failed(self.remote, error.summary)
            case _:
                # It answered, and it took the token.
                self._resume(reads=reads)

    def _redirected(self, error: Redirected, subject: str | None) -> None:
        """Stop the side: where one write is redirected, all are. Only a write can tell that this is over.

        Where others pass, it is a matter of the gate behind this one, and in the end of one job.
        """
        if subject is not None and not self.alone(subject):
            reason = f"{error.operation} {error.summary}: is the address right, and what stands in front of it?"
            raise self.stand_still(reason, ends=Ends.WRITE, cause=error) from None
        self._fail_again()
        if self is self._family[0] and len(self._family) > 1:
            return
        raise Transient(
            remote=error.remote,
            operation=error.operation,
            summary=f"{error.summary}, though others pass",
            status=error.status,
            detail=error.detail,
            ambiguous=error.ambiguous,
        ) from None

    def _fail_again(self) -> bool:
        """Count a failure while this side is paused; tell whether it is paused."""
        known = breaker.pause_of(self._breaker)
        if known is not None:
            self.stand_still(known.reason, ends=known.ends)
        return known is not None

    async def _look_first(self) -> None:
        """Ask the probe whether the outage is over; raise GateClosed where it goes on."""
        if self._auth.probe is None:
            return
        await self._limiter.pass_through()
        try:
            await self._auth.probe()
        except Transient as error:
            await self._learn(error)
            raise self._closed(f"{OUT_OF_SERVICE}: {error.summary}") from None
        except RemoteError:
            # It answers. Whether it lets us in, the request itself will tell.
            return
        self._resume()

    async def _judge(self, error: AccessDenied) -> None:
        """Tell a refused token from one request that is not allowed."""
        reason = f"{TOKEN_REFUSED} ({error.summary})"
        if (wait := self._requested_wait.until(self.pace.clock())) is not None:
            raise GateClosed(self, "it asked to wait", wait, error) from None
        if self._auth.probe is None:
            raise self.stand_still(reason, cause=error) from None
        await self._limiter.pass_through()
        try:
            await self._auth.probe()
        except (AccessDenied, Permanent):
            # A probe that is refused for another reason says nothing about the token: as if there were none.
            raise self.stand_still(reason, cause=error) from None
        except Transient as failed:
            await self._learn(failed)
            raise
        self._resume()
        raise NotAllowed(
            remote=error.remote,
            operation=error.operation,
            summary=f"not allowed ({error.summary}), though the token is accepted",
            status=error.status,
            detail=error.detail,
        ) from None

    def _resume(self, *, reads: bool = False) -> None:
        known = breaker.pause_of(self._breaker)
        if reads and known is not None and known.ends is Ends.WRITE:
            return
        if known is not None:
            log.info("side_resumed", remote=self.remote, failures=self._failures)
        self._failures = 0
        self._breaker = breaker.closed(self._breaker)
        still = next((gate.paused for gate in self._family if gate.paused is not None), None)
        if still is None:
            self._health.succeeded(self.remote)
        else:
            self._health.paused(self.remote, still)
