"""The gates of one remote: that of the whole side, and one for each kind of request.

A wrong address stops its kind alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from kuma_sync.core.errors import Permanent, Transient
from kuma_sync.core.lanes import Lane
from kuma_sync.sync.remote.gate import RemoteGate

T = TypeVar("T")

LANES: Mapping[str, Lane] = {
    "find": Lane.STOPPED_FIND,
    "create": Lane.CREATE,
    "get": Lane.STOPPED_UPDATE,
    "update": Lane.STOPPED_UPDATE,
    "add_events": Lane.STOPPED_EVENTS,
    "close": Lane.STOPPED_CLOSE,
}
"""The operations of a delivery, and where its job waits while one stands still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A request: of what kind, about which alert.

    `nowhere` says in a sentence that the kind's address is wrong, where a refusal means that, else nothing.
    """

    kind: str
    subject: str
    nowhere: Callable[[Permanent], str]
    reads: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteGates:
    """The gate of a whole side, and those of single kinds of requests, by name.

    `places` are as many as requests may be in flight; `known` are the kinds that have worked.
    """

    whole: RemoteGate
    kinds: Mapping[str, RemoteGate]
    places: asyncio.Semaphore
    known: set[str] = field(default_factory=set)

    def assure_open(self, kind: str) -> None:
        """Raise GateClosed where a request of this kind would not be let through."""
        self.kinds[kind].assure_open()
        self.whole.assure_open()

    async def ask(self, asking: Asking, send: Callable[[], Awaitable[T]]) -> T:
        """Send through both gates; a wrong address stops its kind, unless others of that kind passed since.

        Raise GateClosed or RemoteError.
        """
        kind = self.kinds[asking.kind]
        # While a kind stands still, its trials tell nothing of the others.
        whose = None if kind.stands_still() else f"{asking.kind} {asking.subject}"
        async with self.places, kind.admit(subject=asking.subject):
            try:
                answer = await self.whole.ask(send, reads=asking.reads, subject=whose)
            except Permanent as error:
                if reason := asking.nowhere(error):
                    raise self._stopped(kind, asking, error, reason) from None
                raise
        self.known.add(asking.kind)
        return answer

    async def ask_aside(self, send: Callable[[], Awaitable[T]]) -> T:
        """Send what matters less than all else: its failure stops nothing, unless it is the trial of a side that stands
        still anyway.

        Raise GateClosed or RemoteError.
        """
        async with self.places:
            if self.whole.stands_still():
                return await self.whole.ask(send, subject=None)
            return await self.whole.aside(send)

    async def look(self, kind: str, send: Callable[[], Awaitable[T]]) -> T:
        """Send a question that a person asks: never as the trial of a side or a kind that stands still.

        Raise GateClosed or RemoteError.
        """
        self.assure_open(kind)  # before the wait for a place: it may be long
        async with self.places:
            return await self.kinds[kind].aside(lambda: self.whole.aside(send))

    def lane(self, gate: RemoteGate) -> Lane | None:
        """Return where jobs wait while this gate stands still; None where they need not change their lane."""
        if not gate.stands_still():
            return None
        return next((LANES[name] for name, kind in self.kinds.items() if kind is gate), None)

    def _stopped(self, kind: RemoteGate, asking: Asking, error: Permanent, reason: str) -> Exception:
        if not kind.alone(asking.subject):
            return kind.stand_still(reason, cause=error)
        told = f"{error.summary}, though others pass"
        return Transient(remote=error.remote, operation=error.operation, summary=told, status=error.status)
