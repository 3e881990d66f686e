"""Loops that do one thing at an interval; and the two that tell how it went: polling KUMA, watching the IRP."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import structlog

from kuma_sync.core.errors import ClaimLost, RemoteError, StoreUnavailable
from kuma_sync.sync.closing.watch import Watch
from kuma_sync.sync.failpoint import turning
from kuma_sync.sync.leader import NotLeader
from kuma_sync.sync.polling.poller import Poller
from kuma_sync.sync.remote.gate import GateClosed, RemoteGate
from kuma_sync.sync.schedule import Bell
from kuma_sync.sync.troubles import Lasting, Outage
from kuma_sync.telemetry.health import Health, Part, part_of
from kuma_sync.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


class PeriodicLoop:
    """Acts at every ring of its bell. `part` is the part of the process that is not well when it fails.

    A store that is away is told of once, and left for the next time. Anything else that `act` raises ends the loop.
    """

    def __init__(
        self, name: str, act: Callable[[], Awaitable[None]], *, part: Part, interval: timedelta, last_moments: timedelta
    ) -> None:
        self.name = name
        self.part = part
        self.interval = interval
        self.bell = Bell()
        self._act = act
        self._last_moments = last_moments
        self._outage = Outage(loop=name)

    async def run(self, stop: asyncio.Event) -> None:
        """Act until told to stop; an act under way then has its last moments, and is cut off.

        The scheduler goes by the wall clock: when that is set back no bell rings, so it acts after twice its interval.
        """
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set():
                ringing = asyncio.ensure_future(self.bell.wait(self.interval.total_seconds() * 2))
                try:
                    await asyncio.wait({ringing, stopping}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    ringing.cancel()
                if not stop.is_set():
                    await self._cut_off(stopping)
        finally:
            stopping.cancel()

    async def _cut_off(self, stopping: asyncio.Future[Any]) -> None:
        acting = asyncio.ensure_future(self._acted())
        try:
            await asyncio.wait({acting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not acting.done():
                await asyncio.wait({acting}, timeout=self._last_moments.total_seconds())
        finally:
            acting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await acting

    async def _acted(self) -> None:
        try:
            await self._act()
        except StoreUnavailable as error:
            self._outage.lasts(error)
        else:
            self._outage.over()


class Polling:
    """Polls once per call and says how it went; a change of that is one log line. An operator's pause is no failure."""

    def __init__(self, poller: Poller, gate: RemoteGate, *, health: Health, metrics: Metrics) -> None:
        self._poller = poller
        self._gate = gate
        self._health = health
        self._metrics = metrics
        self._trouble = Lasting()

    async def __call__(self) -> None:
        """Poll once."""
        self._health.beat("poll")
        await turning("poll")
        if self._gate.maintenance is not None:
            return
        started = time.monotonic()
        try:
            round_ = await self._poller.poll_once()
        except NotLeader:
            self._health.standby("poll")
            self._health.standby("kuma")
        except (GateClosed, RemoteError) as error:
            self._failed(error.summary)
        except ClaimLost as error:
            self._failed(str(error))
        except StoreUnavailable as error:
            self._failed(str(error))
            raise
        else:
            self._metrics.poll_seconds.observe(time.monotonic() - started)
            if round_.incomplete:
                self._failed(round_.incomplete)
            else:
                self._went_well()
            log.debug("polled", reads=[read.query.kind.value for read in round_.passes])

    def _went_well(self) -> None:
        if failures := self._trouble.ends():
            log.info("poll_recovered", failures=failures)
        self._health.succeeded("poll")

    def _failed(self, reason: str) -> None:
        if self._gate.maintenance is not None:
            return
        if self._trouble.begins(reason):
            log.warning("poll_failed", reason=reason)
        self._health.failed("poll", reason)


class Watching:
    """Watches once per call; while that fails, closings do not come back, and part `close` says so."""

    def __init__(
        self, watch: Watch, target: str, gate: RemoteGate, *, ring: Callable[[], None], health: Health
    ) -> None:
        self._watch = watch
        self._gate = gate
        self._name = part_of("watch", target)
        self._ring = ring
        self._health = health
        self._trouble = Lasting()

    async def __call__(self) -> None:
        """Watch once."""
        self._health.beat(self._name)
        trouble = ""
        if self._gate.maintenance is not None:
            self._health.trouble("close", self._name, "")
            return
        try:
            await self._watch.watch_once()
        except GateClosed:
            return
        except (RemoteError, ClaimLost) as error:
            trouble = error.summary if isinstance(error, RemoteError) else str(error)
        finally:
            self._ring()  # a round that failed may have found closings before
        if trouble and self._trouble.begins(trouble):
            log.warning("watch_failed", reason=trouble)
        elif not trouble and (failures := self._trouble.ends()):
            log.info("watch_recovered", failures=failures)
        self._health.trouble("close", self._name, f"{self._name}: {trouble}" if trouble else "")
