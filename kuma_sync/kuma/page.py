"""One page read from the stream, and when a read has come to its end, by what its pages showed."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from kuma_sync.core.errors import Permanent, RemoteError, Transient
from kuma_sync.core.window import Query, ReadKind
from kuma_sync.kuma.array_splitter import ArraySplitter, NotAnArray
from kuma_sync.kuma.element_cache import Element
from kuma_sync.kuma.parse import in_turns, read_id
from kuma_sync.kuma.tolerant_json import Bounds
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

    def __init__(self, stream: Stream, splitter: ArraySplitter, bounds: Bounds, *, remote: str, operation: str) -> None:
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


CLEARLY = 0.9
"""A window ends at a page that holds less than this share of the largest. Closer to the largest it may be a full one of
which some rows were hidden after the cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a page held: how many elements, and a digest of all of them in their order.

    `news` tells whether it showed one that no page of the read had shown before; `asked` are those of the ids asked for
    that it showed.
    """

    count: int
    news: bool
    asked: frozenset[str]
    digest: bytes


@dataclass(slots=True)
class PageSize:
    """What reads taught of KUMA's pages: it says 250 (help 222254), but what stands between may cut them shorter.

    `largest` is the largest page since the last listing of everything, that one included. `whole` stands, by kind of
    read, for all pages of a read that an empty one came after.
    """

    largest: int = 0
    whole: dict[ReadKind, bytes] = field(default_factory=dict)


class Paging:
    """One read on its way from page to page.

    A read by id ends when all ids were shown; a window where a page is clearly shorter than the largest; a window and a
    late listing where their pages are to the byte what they were when an empty one came after them. Any other read,
    only at an empty page: what left the statuses asked for is shown by the late listing and by nothing else.
    """

    def __init__(self, query: Query, size: PageSize, *, cap: int) -> None:
        self._query = query
        self._size = size
        self._cap = cap
        self._ids: set[str] = set()
        self._largest = 0
        self._so_far = b""
        self._last = b""
        self._pages = 0

    def end(self, page: Shown) -> End:
        """Take the next page, and tell what it says about the read."""
        self._pages += 1
        if not page.count:
            self._learn()
            return End.EMPTY
        self._ids |= page.asked
        if self._query.ids:
            if self._ids.issuperset(self._query.ids):
                return End.ANSWERED
        elif self._short(page):
            return End.SHORT
        again, self._last = page.digest == self._last, page.digest
        if not page.news:
            # A late listing that comes once more as it was, and short, has nothing behind it: `page` is ignored. Other
            # rows that were seen already may be a page cut at another size, with more behind it.
            at_its_end = again and self._query.kind is ReadKind.LATE and self._clearly_short(page)
            return End.SHORT if at_its_end else End.REPEATED
        return End.CAP if self._pages >= self._cap else End.MORE

    def _short(self, page: Shown) -> bool:
        """Tell whether this page ends a window; take note of its size."""
        size = self._size
        self._largest = max(self._largest, page.count)
        size.largest = max(size.largest, page.count)
        self._so_far = hashlib.sha256(self._so_far + page.digest).digest()
        if not self._query.may_end_short:
            return False
        as_before = size.whole.get(self._query.kind) == self._so_far
        return as_before or (self._query.kind is ReadKind.WINDOW and self._clearly_short(page))

    def _clearly_short(self, page: Shown) -> bool:
        return page.count < CLEARLY * self._size.largest

    def _learn(self) -> None:
        if self._query.lists_everything:
            self._size.largest = self._largest  # what was larger once may be so no longer
        elif self._query.may_end_short:
            self._size.whole[self._query.kind] = self._so_far
