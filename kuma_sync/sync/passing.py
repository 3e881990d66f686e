"""Calls of KUMA's that others make through our door: KUMA's waits and pauses hold for them, too.

They teach the gate only what KUMA asks of everybody, a wait: a call that fails, or that the token is not allowed to
make, must not stop our own reads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kuma_sync.core.errors import NotAsked
from kuma_sync.kuma.passing import KumaPassage
from kuma_sync.store import Store
from kuma_sync.sync.remote.gate import GateClosed, RemoteGate
from kuma_sync.transport import Outgoing
from kuma_sync.transport.client import Stream
from kuma_sync.transport.response import parse_retry_after

_BUSY = 1.0
"""Seconds after which a caller may try again, where as many calls are under way as may be."""


_LONGEST = 300
"""Signs of a call in the audit trail."""


class Passing:
    """Passes calls on, at most `most` at once, each with a line in the audit trail."""

    def __init__(self, *, kuma: KumaPassage, gate: RemoteGate, store: Store, most: int) -> None:
        self._kuma = kuma
        self._gate = gate
        self._store = store
        self._most = most
        self._under_way = 0

    @asynccontextmanager
    async def passed(self, who: str, request: Outgoing) -> AsyncIterator[Stream]:
        """Send a call, and hand out KUMA's answer; raise NotAsked, StoreError or RemoteError."""
        if self._under_way >= self._most:
            raise NotAsked(f"{self._most} calls are under way already", seconds=_BUSY)
        self._under_way += 1
        try:
            await self._admitted()
            # Before it is sent: what was done must be known, whatever comes of it.
            detail = f"{request.method} {request.path}"[:_LONGEST]
            await self._store.write(lambda tx: tx.audit.note(who, "passed_on", "", detail))
            async with self._kuma.answered(request) as answer:
                self._learn(answer)
                yield answer
        finally:
            self._under_way -= 1

    async def _admitted(self) -> None:
        try:
            self._gate.assure_open(reads=True)
            await self._gate.turn_page()
        except GateClosed as stopped:
            left = (stopped.until - self._gate.pace.clock()).total_seconds()
            raise NotAsked(stopped.summary, seconds=max(left, 1.0)) from None

    def _learn(self, answer: Stream) -> None:
        """Keep to a wait that KUMA asked for, in all that we ask."""
        if answer.status in (408, 429) or answer.status >= 500:
            now = self._gate.pace.clock()
            wait = parse_retry_after(answer.headers.get("Retry-After"), answer.date or now)
            if wait is not None:
                self._gate.asked_to_wait(wait)
