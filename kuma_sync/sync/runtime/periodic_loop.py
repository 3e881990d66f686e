"""The loops' bodies: one poll, one watch round, one hour's housekeeping, each with what is reported about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from kuma_sync.core.errors import ClaimLost, RemoteError, StoreUnavailable
from kuma_sync.store import Store
from kuma_sync.sync.closing.watch import Watch
from kuma_sync.sync.failpoint import turning
from kuma_sync.sync.leader import LeaderLease, NotLeader
from kuma_sync.sync.polling.poller import Poller
from kuma_sync.sync.remote.gate import GateClosed
from kuma_sync.sync.runtime.housekeeping import prune
from kuma_sync.telemetry.health import Health
from kuma_sync.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


class Polling:
    """Polls once per call and says how it went; a change of that is one log line."""

    def __init__(self, poller: Poller, *, health: Health, metrics: Metrics) -> None:
        self._poller = poller
        self._health = health
        self._metrics = metrics
        self._trouble = ""

    async def __call__(self) -> None:
        """Poll once."""
        self._health.beat("poll")
        await turning("poll")
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
        if self._trouble:
            log.info("poll_recovered")
        self._trouble = ""
        self._health.succeeded("poll")

    def _failed(self, reason: str) -> None:
        if reason != self._trouble:
            log.warning("poll_failed", reason=reason)
        self._trouble = reason
        self._health.failed("poll", reason)


class Watching:
    """Watches once per call; while that fails, closings do not come back, and part `close` says so."""

    def __init__(self, watch: Watch, *, ring: Callable[[], None], health: Health) -> None:
        self._watch = watch
        self._ring = ring
        self._health = health
        self._trouble = ""

    async def __call__(self) -> None:
        """Watch once."""
        self._health.beat("watch")
        trouble = ""
        try:
            await self._watch.watch_once()
        except GateClosed:
            return
        except (RemoteError, ClaimLost) as error:
            trouble = error.summary if isinstance(error, RemoteError) else str(error)
        finally:
            self._ring()  # a round that failed may have found closings before
        if trouble and trouble != self._trouble:
            log.warning("watch_failed", reason=trouble)
        elif self._trouble and not trouble:
            log.info("watch_recovered")
        self._trouble = trouble
        self._health.trouble("close", "watch", f"watch: {trouble}" if trouble else "")


class Housekeeping:
    """Prunes what is old, in the reader's turn."""

    def __init__(self, store: Store, *, turns: LeaderLease, retention: timedelta, overlap: timedelta) -> None:
        self._store = store
        self._turns = turns
        self._retention = retention
        self._overlap = overlap

    async def __call__(self) -> None:
        """Prune once."""
        turn = await self._turns.take()
        if turn is None:
            return
        try:
            removed = await prune(self._store, self._retention, overlap=self._overlap, turn=turn)
        except ClaimLost:
            # The clock jumped, or another copy reads now: the next hour will do.
            return
        if removed:
            log.info("pruned", alerts=removed)
