"""One page of an answer, taken alert by alert, and how a page may end.

Must not: ask for a page, or decide whether there is another (that is paging).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from kuma_sync.core.errors import Permanent, RemoteError, Transient
from kuma_sync.kuma.bounds import Bounds
from kuma_sync.kuma.element import Element
from kuma_sync.kuma.stream import NotAnArray, Splitter
from kuma_sync.kuma.wire import in_turns, read_id
from kuma_sync.transport import Stream, media_type


class End(StrEnum):
    """What a page says about the read.

    EMPTY: nothing is behind it, so all of a listing was shown; ANSWERED: every id asked for was; SHORT: a window came
    to a page that is not full, or where it ended before. REPEATED (all of its ids were seen before) and CAP prove
    nothing.
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
    """A page being read. `seen` remembers, as numbers, what identified the elements of a read so far.

    `news` tells whether this page has shown an element that no page of the read before it had, `asked` which of the
    ids asked for it has shown.
    """

    def __init__(self, stream: Stream, splitter: Splitter, bounds: Bounds, *, remote: str, operation: str) -> None:
        self._stream = stream
        self._splitter = splitter
        self._bounds = bounds
        self._remote = remote
        self._operation = operation
        self._steps: Iterator[list[Element]] | None = None
        self._last = False
        self._waiting: list[Element] = []
        self._over = False
        self.count = 0
        self.news = False
        self.asked: set[str] = set()
        self._digest = hashlib.sha256()

    @property
    def digest(self) -> bytes:
        """Return what stands for all elements so far, in their order."""
        return self._digest.digest()

    async def first(self) -> None:
        """Read until there is an element to hand out, or the page is over; raise RemoteError."""
        while not self._waiting and not self._over:
            await self._receive()

    async def elements(self, seen: set[int], asked: Collection[str] = ()) -> AsyncGenerator[Element, None]:
        """Hand out one element after the other; raise RemoteError where the page ends before its closing bracket."""
        while self._waiting or not self._over:
            taken, self._waiting = self._waiting, []
            for element in taken:
                self.count += 1
                bounded = await self._bounded(element)
                identity = await _identity(bounded)
                if identity in asked:
                    self.asked.add(identity)
                number = hash(identity)
                self.news = self.news or number not in seen
                seen.add(number)
                self._digest.update(element.digest)
                yield bounded
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
        """Take the next step through what came, or wait for more."""
        if self._steps is None:
            piece = await anext(self._stream.chunks, None)
            self._last = piece is None
            self._steps = self._splitter.end() if piece is None else self._splitter.steps(piece)
        try:
            found = next(self._steps, None)
        except NotAnArray as error:
            raise self._unreadable(error) from None
        self._waiting += found or ()
        if self._splitter.busy or (self._last and found is not None):
            await asyncio.sleep(0)
            return
        self._steps = None
        self._over = self._last
        if self._over and not self._splitter.complete:
            raise self._failed(Transient, "answer ended early")

    async def _bounded(self, element: Element) -> Element:
        """Leave the bytes of an element that holds too many values."""
        if element.raw is None or not self._bounds.doubtful(element.raw):
            return element
        crowded = await in_turns(element.raw, partial(self._bounds.crowded, element.raw))
        return replace(element, raw=None, crowded=True) if crowded else element

    def _unreadable(self, error: NotAnArray) -> RemoteError:
        kind = media_type(self._stream.headers)
        if error.is_object:
            return self._failed(Permanent, str(error))
        return self._failed(Transient, str(error) if "json" in kind else f"answered {kind} instead of JSON")

    def _failed(self, kind: type[RemoteError], summary: str) -> RemoteError:
        return kind(remote=self._remote, operation=self._operation, summary=summary, status=self._stream.status)


async def _identity(element: Element) -> str:
    known = element.alert_id_hint()
    if known is None and element.raw is not None:
        known = await in_turns(element.raw, partial(read_id, element.raw))
    return known or "sha256:" + element.digest.hex()
