"""One page of an answer, taken alert by alert, and how a page may end.

Must not: ask for a page, or decide whether there is another (that is paging).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from kuma_sync.core.errors import Permanent, RemoteError, Transient
from kuma_sync.kuma.element import Element
from kuma_sync.kuma.stream import NotAnArray, Splitter
from kuma_sync.kuma.wire import read_id
from kuma_sync.transport import Stream, media_type


class End(StrEnum):
    """What a page says about the read.

    EMPTY: nothing is behind it, so all of a listing was shown; ANSWERED: every id asked for was; SHORT: a window came
    to a page that is not full. REPEATED (all of its ids were seen before) and CAP prove nothing.
    """

    MORE = "more"
    EMPTY = "empty"
    ANSWERED = "answered"
    SHORT = "short"
    REPEATED = "repeated"
    CAP = "cap"

    @property
    def complete(self) -> bool:
        """Tell whether a read that ends so came to its end."""
        return self in (End.EMPTY, End.ANSWERED, End.SHORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageEnd:
    """A page was read to its closing bracket.

    `bytes` came over the network; `server_date` is KUMA's own clock, `skew` that clock less ours.
    """

    number: int
    count: int
    bytes: int
    server_date: datetime | None
    skew: timedelta | None
    end: End


class Page:
    """A page being read; `ids` holds what identifies its elements so far, `digest` stands for all of them in order."""

    def __init__(self, stream: Stream, splitter: Splitter, *, remote: str, operation: str) -> None:
        self._stream = stream
        self._splitter = splitter
        self._remote = remote
        self._operation = operation
        self._waiting: list[Element] = []
        self._over = False
        self.count = 0
        self.ids: set[str] = set()
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> bytes:
        """Return the digest of all elements so far."""
        return self._digest.digest()

    async def first(self) -> None:
        """Read until there is an element to hand out, or the page is over; raise RemoteError."""
        while not self._waiting and not self._over:
            await self._receive()

    async def elements(self) -> AsyncGenerator[Element, None]:
        """Hand out one element after the other; raise RemoteError where the page ends before its closing bracket."""
        while self._waiting or not self._over:
            taken, self._waiting = self._waiting, []
            for element in taken:
                self.count += 1
                self.ids.add(_identity(element))
                self._digest.update(element.digest)
                yield element
            if not self._over:
                await self._receive()

    def ended(self, number: int, end: End) -> PageEnd:
        """Return the account of this page, now that it is over."""
        stream = self._stream
        return PageEnd(
            number=number,
            count=self.count,
            bytes=stream.bytes_received,
            server_date=stream.date,
            skew=stream.skew,
            end=end,
        )

    async def _receive(self) -> None:
        piece = await anext(self._stream.chunks, None)
        self._over = piece is None
        steps = self._splitter.end() if piece is None else self._splitter.steps(piece)
        try:
            for number, found in enumerate(steps):
                if number:
                    await asyncio.sleep(0)
                self._waiting += found
        except NotAnArray as error:
            raise self._unreadable(error) from None
        if self._over and not self._splitter.complete:
            raise self._failed(Transient, "answer ended early")

    def _unreadable(self, error: NotAnArray) -> RemoteError:
        kind = media_type(self._stream.headers)
        if error.is_object:
            return self._failed(Permanent, str(error))
        return self._failed(Transient, str(error) if "json" in kind else f"answered {kind} instead of JSON")

    def _failed(self, kind: type[RemoteError], summary: str) -> RemoteError:
        return kind(remote=self._remote, operation=self._operation, summary=summary, status=self._stream.status)


def _identity(element: Element) -> str:
    known = element.alert_id_hint() or (read_id(element.raw) if element.raw is not None else None)
    return known or "sha256:" + element.digest.hex()
