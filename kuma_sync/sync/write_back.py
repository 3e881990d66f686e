"""`kuma.write_back`: an incident's number and link become a comment of its alert, once, beside everything else.

Nothing waits for it. A comment that KUMA does not take is tried again for some hours, one whose answer was lost once
more; then it is given up in the history.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from functools import partial
from http import HTTPStatus

import structlog

from kuma_sync.core.errors import Permanent, RemoteError, StoreUnavailable, Transient
from kuma_sync.core.incident import Incident
from kuma_sync.core.retry import backoff
from kuma_sync.kuma.client import KumaClient
from kuma_sync.store import Store, Tx
from kuma_sync.store.write_backs import WriteBack
from kuma_sync.sync.remote.gate import GateClosed, RemoteGate
from kuma_sync.sync.troubles import Lasting

log = structlog.get_logger(__name__)

AT_ONCE = 5
GIVEN_UP = 30
"""Attempts: with the standard `[retry]` these are more than three hours."""

LOST_ANSWERS = 2
"""Attempts of which the last one had no answer: each may have written the comment, and nobody can look."""


def comment_of(incident: Incident) -> str:
    """Return the comment for an alert."""
    return f"Incident {incident.number or incident.id}" + (f": {incident.url}" if incident.url else "")


class WriteBackLoop:
    """Writes the comments; each is leased to one copy."""

    def __init__(self, *, store: Store, kuma: KumaClient, gate: RemoteGate) -> None:
        self._store = store
        self._kuma = kuma
        self._gate = gate
        self._limits = gate.pace.limits
        self._trouble = Lasting()

    async def watch(self) -> None:
        """Write what is due, for ever."""
        while True:
            await asyncio.sleep(self._limits.comments_looked_for.total_seconds())
            with contextlib.suppress(StoreUnavailable):
                await self.write()

    async def write(self) -> None:
        """Write what is due now, as far as KUMA may be asked. Raise StoreUnavailable."""
        with contextlib.suppress(GateClosed):
            while self._gate.open_at() is None and not self._gate.stands_still():
                take = partial(_take, self._limits.comment_lease)
                for one in (due := await self._store.write(take)):
                    if not await self._written(one):
                        return
                if not due:
                    return

    async def _written(self, one: WriteBack) -> bool:
        """Write one; false where the next would fail alike."""
        try:
            await self._gate.aside(partial(self._kuma.comment, one.alert_id, comment_of(one.incident)))
        except RemoteError as error:
            await self._failed(one, error)
            return isinstance(error, Permanent)
        if failures := self._trouble.ends():
            log.info("write_back_recovered", failures=failures)
        await self._store.write(partial(_done, one, "written_back", comment_of(one.incident)))
        return True

    async def _failed(self, one: WriteBack, error: RemoteError) -> None:
        attempts, lost = one.attempts + 1, _answer_lost(error)
        if isinstance(error, Permanent) or attempts >= (LOST_ANSWERS if lost else GIVEN_UP):
            reason = f"{error.summary}; it may have been written" if lost else error.summary
            log.warning("write_back_refused", alert_id=one.alert_id, reason=reason)
            await self._store.write(partial(_done, one, "write_back_refused", reason))
            return
        if self._trouble.begins(error.summary):
            log.warning("write_back_failed", reason=error.summary)
        pace = self._gate.pace
        at = pace.clock() + backoff(attempts, pace.policy, pace.jitter())
        await self._store.write(lambda tx: tx.write_backs.again(one.alert_id, at=at, attempts=attempts))


def _answer_lost(error: RemoteError) -> bool:
    """Tell whether KUMA may have written the comment all the same: unlike a time-out, its own 500 says it did not."""
    unanswered = error.status in (None, HTTPStatus.GATEWAY_TIMEOUT)
    return isinstance(error, Transient) and error.ambiguous and unanswered


def _take(lease: timedelta, tx: Tx) -> list[WriteBack]:
    return tx.write_backs.take(AT_ONCE, lease=lease)


def _done(one: WriteBack, what: str, told: str, tx: Tx) -> None:
    tx.write_backs.done(one.alert_id)
    tx.audit.note("kuma-sync", what, one.alert_id, told)
