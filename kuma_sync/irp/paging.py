"""How a list is read to its end although its pages are cut, refused or moved: decisions alone, one object a round.

A list that nobody can freeze is read again until a reading shows nothing new; only then is it proven that no row
slipped from one page to another while they were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto

from kuma_sync.irp.responses import Row

MOST_READINGS = 5
"""How often one round reads a list that keeps moving; then the round has failed, and what it showed counts."""

SELDOM = 10
"""One in so many rounds asks for the page behind a short one although nothing is new."""

NO_CUT = 10
"""A page with fewer rows than this was not cut by the server; who does cut there is found out within SELDOM rounds."""

_NO_SUCH_PAGE = (204, 404, 416)
BAD_PAGE = (400, 422)
"""What a server may answer behind its end, and for other reasons, too."""


class Next(Enum):
    """What comes after a page."""

    PAGE = auto()
    PROVEN = auto()  # the end, and nothing slipped through
    UNCHANGED = auto()  # a short page that shows what the last round showed: good enough where nothing is concluded
    RESTLESS = auto()  # it moved at every reading


@dataclass(slots=True)
class Memory:
    """What earlier rounds taught: the largest page ever, the rows of the last round and whether it was proven.

    `unproven` counts the rounds since then that ended early.
    """

    largest: int = 0
    shown: dict[str, Row] = field(default_factory=dict)
    proven: bool = False
    unproven: int = 0


class Paging:
    """One round. `offset` and `page` are those to ask for; `limit` is how many rows a page is asked to hold."""

    def __init__(self, memory: Memory, *, limit: int) -> None:
        self._memory = memory
        self._limit = limit
        self._seen: dict[str, Row] = {}
        self._began: datetime | None = None
        self._ended = self._surprised = False
        self._reading = self._last = 0
        self._pages: list[tuple[str, ...]] = []
        self._start_again()

    @property
    def first_reading(self) -> bool:
        """Tell whether the list is read for the first time in this round."""
        return self._reading == 1

    @property
    def at_start(self) -> bool:
        """Tell whether nothing was asked for yet in this round."""
        return self.first_reading and self.page == 1

    def take(self, rows: list[Row], date: datetime | None) -> tuple[list[Row], Next]:
        """Take a page (none behind the end); return its rows that are new or changed in this round, and what follows.

        `date` is the server's clock. Rows that name nothing are none.
        """
        self._memory.largest = max(self._memory.largest, len(rows))
        self._began = self._began or date
        named = {row.identity: row for row in rows if row.identity}
        fresh = [row for identity, row in named.items() if self._seen.get(identity) != row]
        self._surprised = self._surprised or any(self._is_surprise(row) for row in fresh)
        self._seen |= named
        if named.keys() <= self._in_reading:
            return fresh, self._end_of_reading(tuple(named))
        self._in_reading |= named.keys()
        self._pages.append(tuple(named))
        if self._is_unchanged(len(rows)):
            self._memory.unproven += 1
            self._ended = True
            return fresh, Next.UNCHANGED
        if self._pages == self._before:
            return fresh, self._end_of_reading(())
        self._last = len(rows)
        self.offset += len(rows)
        self.page += 1
        return fresh, Next.PAGE

    def ends_with(self, status: int | None) -> bool:
        """Tell whether this refusal of a page means that the page before was the last one.

        404 and 416 say so (and 204, no content). What else a page was refused for may hide rows, unless the first
        page was short as well.
        """
        if not self._pages:
            return False
        return status in _NO_SUCH_PAGE or (status in BAD_PAGE and self.page == 2 and self._last < self._limit)

    def leave(self) -> None:
        """Remember what the round showed where it did not come to its end."""
        if self._seen and not self._ended:
            self._memory.shown, self._memory.proven, self._memory.unproven = self._seen, False, 0

    def _start_again(self) -> None:
        self._reading += 1
        self.offset, self.page = 0, 1
        self._before, self._pages = self._pages, []
        self._in_reading: set[str] = set()
        self._surprised = False
        self._last = 0

    def _is_surprise(self, row: Row) -> bool:
        """Tell whether a row should have been seen before. What was closed since we began is none."""
        if self.first_reading or row.identity in self._seen:
            return False
        return row.updated is None or self._began is None or row.updated < self._began

    def _is_unchanged(self, length: int) -> bool:
        """Tell whether the first page is short and shows what the last round showed, row for row."""
        first = self.first_reading and len(self._pages) == 1
        return (
            first
            and length < max(self._memory.largest, NO_CUT)
            and self._seen == self._memory.shown
            and self._memory.unproven < SELDOM - 1
        )

    def _end_of_reading(self, repeated: tuple[str, ...]) -> Next:
        if self._is_proven(repeated):
            self._memory.shown, self._memory.proven, self._memory.unproven = self._seen, True, 0
            self._ended = True
            return Next.PROVEN
        if self._reading == MOST_READINGS:
            return Next.RESTLESS
        if self._began is None:
            self._began = max((row.updated for row in self._seen.values() if row.updated), default=None)
        self._start_again()
        return Next.PAGE

    def _is_proven(self, repeated: tuple[str, ...]) -> bool:
        if not self.first_reading:
            return not self._surprised
        if not self._pages:
            return True
        if len(self._pages) == 1 and (self._pages[0] == repeated or self._last < max(self._memory.largest, NO_CUT)):
            # The server knows no pages, and has just shown its only one again; or that was not full.
            return True
        return self._memory.proven and self._seen == self._memory.shown
