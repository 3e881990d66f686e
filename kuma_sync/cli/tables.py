"""How results look: tables and times for people, JSON for programs.

Must not: know what is shown. Texts from elsewhere are put into a line only through `plain`: they may hold line breaks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from kuma_sync.cli.out import say, say_bytes, say_json
from kuma_sync.core.moments import rfc3339
from kuma_sync.core.text import printable


def show_json(value: object) -> None:
    """Write a value (dataclasses and times in it, too) as JSON."""
    say_json(json.dumps(value, ensure_ascii=False, indent=2, default=_as_json))


def show_raw(raw: bytes) -> None:
    """Write bytes as they are; on a terminal only what it shows as text, for they may hold its control sequences."""
    if sys.stdout.isatty():
        say(raw.decode("utf-8", "replace"))
    else:
        say_bytes(raw)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, indent: str = "") -> None:
    """Write rows under their columns; the last column is as wide as it likes."""
    lines = [list(columns), *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(line[position]) for line in lines) for position in range(len(columns))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        say((indent + "  ".join(cells)).rstrip())


def show_pairs(pairs: Iterable[tuple[str, object]], *, indent: str = "  ") -> None:
    """Write a name and a value a line, leaving out what is empty."""
    shown = [(name, plain(value)) for name, value in pairs if value not in (None, "", False)]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        say(f"{indent}{name.ljust(width)}  {value}")


def plain(value: object) -> str:
    """Return a value as one line, what a terminal would obey escaped; a dash where there is nothing."""
    match value:
        case None | "":
            return "-"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return moment(value)
        case _:
            return printable(" ".join(str(value).split()))


def moment(when: datetime) -> str:
    """Write a time in UTC, to the second."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def span(seconds: float) -> str:
    """Write a length of time in its largest sensible unit."""
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def bytes_of(size: int) -> str:
    """Write a number of bytes in its largest sensible unit."""
    for length, unit in ((1 << 20, "MB"), (1 << 10, "KB")):
        if size >= length:
            return f"{size / length:.1f} {unit}"
    return f"{size} bytes"


def since(now: datetime) -> Callable[[datetime | None], str]:
    """Return a writer of times as they lie before (or after) `now`."""

    def written(when: datetime | None) -> str:
        if when is None:
            return "never"
        seconds = (now - when).total_seconds()
        return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"

    return written


def _as_json(value: Any) -> Any:
    match value:
        case datetime():
            return rfc3339(value)
        case Enum():
            return value.value
        case set() | frozenset():
            return sorted(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
