"""How results look: tables and times for people, JSON for programs.

Text from elsewhere goes into a line only through `plain`: it may hold line breaks.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from kuma_sync.cli.out import say, say_bytes, say_json, terminal_width
from kuma_sync.core.moments import moment, rfc3339, since
from kuma_sync.core.text import printable

SHORTEST_LINE = 20
"""The least number of characters in a line of a wrapped cell."""


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
class Column:
    """A column, and the ways to make it smaller on a narrow terminal, in the order in which they are tried."""

    title: str
    brief: str = ""
    """The text of a cell from this mark on may be left out."""
    spared: bool = False
    """The whole column may be left out if cutting is not enough; the last such column goes first."""
    least: int | None = None
    """It may be cut to so many characters; None: never."""
    wraps: bool = False
    """The last column may be wrapped onto more lines; it is never cut."""


def show_table(columns: Sequence[str | Column], rows: Iterable[Sequence[object]], *, indent: str = "") -> None:
    """Write rows under their columns, fitted to the terminal's width; without a terminal nothing is cut."""
    heads = [column if isinstance(column, Column) else Column(column) for column in columns]
    lines = [[column.title for column in heads], *([plain(cell) for cell in row] for row in rows)]
    for line in fitted(heads, lines, _room(indent)):
        say((indent + line).rstrip())


def fitted(columns: Sequence[Column], lines: Sequence[Sequence[str]], room: int | None) -> list[str]:
    """Return the lines to write; none is longer than `room` if the columns can be made small enough."""
    cells = [list(line) for line in lines]
    widths = _widths(cells)
    if room is None or _together(widths) <= room:
        return [_line(line, widths) for line in cells]
    for at, column in enumerate(columns):
        for line in cells:
            line[at] = line[at].partition(column.brief)[0] if column.brief else line[at]
    widths = _widths(cells)
    least = [_least(column, width) for column, width in zip(columns, widths, strict=True)]
    kept = list(range(len(columns)))
    while _together(least[at] for at in kept) > room and (spared := [at for at in kept if columns[at].spared]):
        kept.remove(spared[-1])
    excess = _together(widths[at] for at in kept) - room
    while excess > 0 and (loose := [at for at in kept if widths[at] > least[at]]):
        widths[max(loose, key=lambda at: widths[at])] -= 1
        excess -= 1
    kept_widths = [widths[at] for at in kept]
    rows = [[line[at] for at in kept] for line in cells]
    return [part for row in rows for part in _parts(row, kept_widths, wraps=columns[kept[-1]].wraps)]


def _widths(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*cells, strict=True)]


def _least(column: Column, width: int) -> int:
    if column.wraps:
        return min(width, SHORTEST_LINE)
    return width if column.least is None else min(width, column.least)


def _parts(row: Sequence[str], widths: Sequence[int], *, wraps: bool) -> list[str]:
    """Return the lines of one row: more than one if its last cell is wrapped."""
    if not wraps:
        return [_line(row, widths)]
    first, *others = textwrap.wrap(row[-1], widths[-1]) or [""]
    empty = [""] * (len(row) - 1)
    return [_line([*row[:-1], first], widths), *(_line([*empty, other], widths) for other in others)]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cut(cell, width).ljust(width) for cell, width in zip(row, widths, strict=True))


def cut(text: str, width: int) -> str:
    """Return a text of at most so many characters; an ellipsis shows that there was more."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _together(widths: Iterable[int]) -> int:
    each = list(widths)
    return sum(each) + 2 * (len(each) - 1)


def _room(indent: str) -> int | None:
    """Return how many characters a line may have; None without a terminal."""
    width = terminal_width()
    return None if width is None else width - len(indent)


def show_line(text: str) -> None:
    """Write one line; on a narrow terminal wrap it at words, cutting nothing."""
    room = _room("")
    for line in textwrap.wrap(text, room, subsequent_indent="    ", break_on_hyphens=False) if room else [text]:
        say(line)


def show_pairs(pairs: Iterable[tuple[str, object]], *, indent: str = "  ") -> None:
    """Write a name and a value a line, leaving out what is empty."""
    shown = [(name, plain(value)) for name, value in pairs if value not in (None, "", False)]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        say(f"{indent}{name.ljust(width)}  {value}")


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
