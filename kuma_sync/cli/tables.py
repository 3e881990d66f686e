"""How results look: tables and times for people, JSON for programs.

Text from elsewhere goes into a line only through `plain`: it may hold line breaks. Without a terminal nothing is cut,
wrapped or coloured.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from kuma_sync.cli.out import is_coloured, say, say_bytes, say_coloured, say_json, terminal_width
from kuma_sync.core.moments import moment, rfc3339, since
from kuma_sync.core.text import printable

_SAID = re.compile(
    r"^[^:]*?\b(NOT RUNNING|NOT WRITABLE|SILENT|FAILING|PAUSED)\b|^daemon (running)\b|^\d+ (parked|held)\b"
    r"|^\d+ alerts? (held)\b|^configuration on disk (refused)\b"
)


def show_json(value: object) -> None:
    """Write a value (dataclasses and times in it, too) as JSON."""
    say_json(json.dumps(value, ensure_ascii=False, indent=2, default=_as_json))


def show_raw(raw: bytes) -> None:
    """Write bytes unchanged; on a terminal as escaped text, because they may hold control sequences."""
    if terminal_width() is not None:
        say(raw.decode("utf-8", "replace"))
    else:
        say_bytes(raw)


@dataclass(frozen=True, slots=True)
class State:
    """A word that says a state: on a terminal it has its colour."""

    word: str

    def __str__(self) -> str:
        return self.word


Piece = str | State
"""A part of a line, or a cell."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column, and the ways to make it smaller on a narrow terminal, in the order in which they are tried."""

    title: str
    brief: str = ""
    """The text of a cell from this mark on may be left out."""
    spared: int = 0
    """Above 0: the whole column may be left out if cutting is not enough; the highest first, of equals the last."""
    least: int | None = None
    """It may be cut to so many characters; None: never."""
    wraps: bool = False
    """The last column may be wrapped onto more lines; it is never cut."""


ALERT = Column("alert", least=9)
"""An alert's id; a command understands its beginning, too."""


def show_table(columns: Sequence[str | Column], rows: Iterable[Sequence[object]], *, indent: str = "") -> None:
    """Write rows under their columns, fitted to the terminal's width; without a terminal nothing is cut."""
    heads = [column if isinstance(column, Column) else Column(column) for column in columns]
    cells: list[list[Piece]] = [[column.title for column in heads], *([_piece(cell) for cell in row] for row in rows)]
    width = terminal_width()
    if width is None:
        for line in uncut(cells):
            say((indent + line).rstrip())
        return
    from kuma_sync.cli import terminal  # noqa: PLC0415  # rich takes a while to load

    for line in terminal.table_lines(heads, cells, width - len(indent), coloured=is_coloured()):
        say_coloured(indent + line)


def uncut(cells: Sequence[Sequence[Piece]]) -> list[str]:
    """Return the lines of a table in which nothing is cut."""
    texts = [[str(cell) for cell in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in texts]


def show_line(*pieces: Piece, indent: int = 4) -> None:
    """Write one line; on a narrow terminal wrap it at words, cutting nothing; further lines are indented."""
    width = terminal_width()
    if width is None:
        say("".join(map(str, pieces)))
        return
    from kuma_sync.cli import terminal  # noqa: PLC0415  # as above

    for line in terminal.wrapped(pieces, width, indent=indent, coloured=is_coloured()):
        say_coloured(line)


def show_pairs(pairs: Iterable[tuple[str, object]], *, indent: str = "  ") -> None:
    """Write a name and a value a line, leaving out what is empty.

    On a terminal a value that is one long word, such as an address, stays whole, so that it can be copied.
    """
    shown = [(name, plain(value)) for name, value in pairs if value not in (None, "", False)]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        before = f"{indent}{name.ljust(width)}  "
        if " " in value:
            show_line(before + value, indent=len(before))
        else:
            say(before + value)


def with_state(text: str) -> list[Piece]:
    """Split a line of `status` at the first state that it says in capitals or begins with."""
    found = _SAID.search(text)
    if found is None:
        return [text]
    start, end = found.span(found.lastindex or 0)
    return [text[:start], State(text[start:end]), text[end:]]


def _piece(cell: object) -> Piece:
    return cell if isinstance(cell, State) else plain(cell)


def plain(value: object) -> str:
    """Return a value as one line with control characters escaped; a dash for nothing."""
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return moment(value)
        case _:
            return printable(" ".join(str(value).split()))


def bytes_of(size: int) -> str:
    """Write a number of bytes in its largest sensible unit."""
    for length, unit in ((1 << 20, "MB"), (1 << 10, "KB")):
        if size >= length:
            return f"{size / length:.1f} {unit}"
    return f"{size} bytes"


def beside(now: datetime) -> Callable[[datetime | None], str]:
    """Return a writer of exact times, each with its distance from `now`."""
    ago = since(now)

    def written(when: datetime | None) -> str:
        return "never" if when is None else f"{moment(when)} ({ago(when)})"

    return written


def ago_first(now: datetime) -> Callable[[datetime | None], str]:
    """Return a writer of times for a table: how long ago, then the exact time, which a narrow terminal cuts off."""
    ago = since(now)

    def written(when: datetime | None) -> str:
        return "never" if when is None else f"{ago(when)}, {moment(when)}"

    return written


def _as_json(value: Any) -> Any:
    match value:
        case datetime():
            return rfc3339(value)
        case timedelta():
            return value.total_seconds()
        case Enum():
            return value.value
        case set() | frozenset():
            return sorted(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
