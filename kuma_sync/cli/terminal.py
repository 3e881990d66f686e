"""Tables, wrapped lines and coloured states on a terminal, by rich; loaded only when something is printed on one.

Every text goes in as rich's `Text`, escaped: markup in an alert's name is shown, never obeyed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kuma_sync.cli.tables import Column, Piece, State
from kuma_sync.core.text import printable

SHORTEST_LINE = 20
"""The least number of characters in a line of a wrapped cell."""

GAP = 2
ROWS_AT_ONCE = 500
"""A long table appears piece by piece."""

_GOOD, _WAITS, _BAD, _QUIET = "green", "yellow", "bold red", "dim"
STYLES = {
    **dict.fromkeys(("ok", "open", "running", "works", "agree"), _GOOD),
    **dict.fromkeys(("pending", "held", "missed", "warning", "paused", "standby", "needs a look"), _WAITS),
    **dict.fromkeys(
        ("parked", "failed", "failing", "problem", "not running", "not writable", "silent", "not readable"), _BAD
    ),
    **dict.fromkeys(("disagree", "refused"), _BAD),
    **dict.fromkeys(("closed", "gone", "ignored", "dropped", "off"), _QUIET),
}


def table_lines(
    columns: Sequence[Column], cells: Sequence[Sequence[Piece]], room: int, *, coloured: bool
) -> Iterator[str]:
    """Yield the lines of a table; none is longer than `room` if the columns can be made small enough."""
    kept, widths, brief = fitted(columns, cells, room)
    console = _console(max(room, sum(widths) + GAP * len(widths)), coloured=coloured)
    for start in range(0, len(cells), ROWS_AT_ONCE):
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_header=False)
        for at, width in zip(kept, widths, strict=True):
            table.add_column(width=width, overflow="fold" if columns[at].wraps else "ellipsis")
        for row in cells[start : start + ROWS_AT_ONCE]:
            table.add_row(*[_cell(row[at], columns[at], brief=brief) for at in kept])
        yield from _rendered(console, table)


def fitted(columns: Sequence[Column], cells: Sequence[Sequence[Piece]], room: int) -> tuple[list[int], list[int], bool]:
    """Return which columns are shown, how wide each is, and whether cells say less.

    rich makes columns narrower, but knows no least width while it does, and leaves none out.
    """
    kept = list(range(len(columns)))
    widths = _widths(columns, cells, brief=False)
    if _together(widths) <= room:
        return kept, widths, False
    widths = _widths(columns, cells, brief=True)
    least = [_least(column, width) for column, width in zip(columns, widths, strict=True)]
    while _together(least[at] for at in kept) > room and (spared := [at for at in kept if columns[at].spared]):
        kept.remove(max(spared, key=lambda at: (columns[at].spared, at)))
    excess = _together(widths[at] for at in kept) - room
    while excess > 0 and (loose := [at for at in kept if widths[at] > least[at]]):
        widths[max(loose, key=lambda at: widths[at])] -= 1
        excess -= 1
    return kept, [widths[at] for at in kept], True


def wrapped(pieces: Sequence[Piece], room: int, *, indent: int, coloured: bool) -> list[str]:
    """Return the lines of a text, wrapped at words; those after the first stand `indent` further right.

    Where a title takes as much room at its beginning, the rest is wrapped beside it.
    """
    text = Text.assemble(*[_painted(piece) for piece in pieces])
    if text.cell_len <= room:
        if not (coloured and text.spans):
            return [text.plain.rstrip()]
        return [_on_one_line(text, coloured=coloured)]
    indent = indent if room - indent >= SHORTEST_LINE else 0
    titled = text.plain[:indent].endswith("  ") and text[:indent].cell_len == indent
    head, body = text.divide([indent]) if titled else (Text(), text)
    first, *others = body.wrap(_console(room, coloured=coloured), room - indent)
    return [
        _on_one_line(head + first, coloured=coloured),
        *(" " * indent + _on_one_line(one, coloured=coloured) for one in others),
    ]


def _painted(piece: Piece) -> Text:
    if isinstance(piece, State):
        return Text.assemble((printable(piece.word), STYLES.get(piece.word.lower(), "")))
    return Text(printable(piece))


def _cell(piece: Piece, column: Column, *, brief: bool) -> Text:
    text = _painted(piece)
    if brief and column.brief:
        text = Text(text.plain.partition(column.brief)[0])
    text.no_wrap = not column.wraps
    return text


def _widths(columns: Sequence[Column], cells: Sequence[Sequence[Piece]], *, brief: bool) -> list[int]:
    return [
        max(cell_len(_cell(row[at], column, brief=brief).plain) for row in cells) for at, column in enumerate(columns)
    ]


def _least(column: Column, width: int) -> int:
    if column.wraps:
        return min(width, SHORTEST_LINE)
    return width if column.least is None else min(width, column.least)


def _together(widths: Iterable[int]) -> int:
    each = list(widths)
    return sum(each) + GAP * (len(each) - 1)


def _console(width: int, *, coloured: bool) -> Console:
    return Console(
        file=StringIO(),
        width=width,
        height=1,
        force_terminal=True,
        color_system="standard" if coloured else None,
        no_color=not coloured,
        legacy_windows=False,
    )


def _on_one_line(text: Text, *, coloured: bool) -> str:
    (line,) = _rendered(_console(max(text.cell_len, 1), coloured=coloured), text)
    return line


def _rendered(console: Console, what: Table | Text) -> list[str]:
    with console.capture() as captured:
        console.print(what, soft_wrap=isinstance(what, Text))
    return [line.rstrip() for line in captured.get().removesuffix("\n").split("\n")]
