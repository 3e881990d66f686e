"""When a read has come to its end, by what its pages showed and what earlier reads taught of how long pages are.

Must not: ask for a page.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from kuma_sync.core.window import Query, ReadKind
from kuma_sync.kuma.page import End

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
