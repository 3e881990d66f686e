"""The output of log lines: the journal's priorities, writing without blocking, and limits on repeated lines."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TextIO

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7
ATOMIC = 4096
"""Bytes that a ready pipe takes without blocking (PIPE_BUF)."""

PATIENCE = 0.5
"""Seconds that we wait for a slow reader, once; then its lines are dropped and counted."""

MOST_ALIKE = 10
WINDOW = 60.0
"""Lines of one warning that are written in so many seconds; the rest is counted."""

MOST_KINDS = 1000
LEFT_OUT = "lines_left_out"


def is_journal(stream: TextIO, env: Mapping[str, str] | None = None) -> bool:
    """Tell whether a stream goes to the journal: JOURNAL_STREAM is its device and inode (systemd.exec(5)).

    The variable alone proves nothing: child processes inherit it, and their output may go elsewhere.
    """
    named = (os.environ if env is None else env).get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def is_dumb(env: Mapping[str, str] | None = None) -> bool:
    """Tell whether the terminal cannot move its cursor (TERM=dumb)."""
    return (os.environ if env is None else env).get("TERM", "") in ("dumb", "unknown")


def takes_colour(stream: TextIO | None, env: Mapping[str, str] | None = None) -> bool:
    """Tell whether a stream is a terminal that shows colours, and NO_COLOR (no-color.org) does not forbid them."""
    env = os.environ if env is None else env
    with contextlib.suppress(OSError, ValueError):
        return stream is not None and stream.isatty() and not is_dumb(env) and not env.get("NO_COLOR")
    return False


def with_priority(text: str, level: int) -> str:
    """Put the priority of a level of `logging` before every line."""
    priority = next((number for least, number in _PRIORITIES if level >= least), _DEBUG)
    return "\n".join(f"<{priority}>{line}" for line in text.splitlines())


class Outlet:
    """Writes text to a file descriptor line by line; `lost` is called with a count when lines were dropped."""

    def __init__(self, descriptor: int, *, lost: Callable[[int], None]) -> None:
        self._descriptor = descriptor
        self._tell = lost
        self._lost = 0
        self._cut = False
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLOUT)

    def write(self, text: str) -> None:
        """Write a line, or count it."""
        line = text.encode("utf-8", "backslashreplace")
        if not self._written(b"\n" + line if self._cut else line):
            self._lost += 1
        elif self._lost:
            lost, self._lost = self._lost, 0
            self._tell(lost)

    def flush(self) -> None:
        """Do nothing: nothing is kept."""

    def _written(self, line: bytes) -> bool:
        until = time.monotonic() + (0 if self._lost else PATIENCE)
        rest = line
        with contextlib.suppress(OSError):
            while rest and self._ready.poll(max(0, round((until - time.monotonic()) * 1000))):
                rest = rest[os.write(self._descriptor, rest[:ATOMIC]) :]
        self._cut = 0 < len(rest) < len(line) or (self._cut and bool(rest))
        return not rest


@dataclass(slots=True)
class _Kind:
    since: float
    count: int = 0


class Repeats(logging.Filter):
    """Lets some lines of each kind through and counts the rest; `told` is called with each kind and its count."""

    def __init__(self, *, told: Callable[[str, int], None], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._told = told
        self._clock = clock
        self._kinds: dict[tuple[str, int, str], _Kind] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to write a line. Only warnings and errors are limited, and never the last lines of a process."""
        if not logging.WARNING <= record.levelno < logging.CRITICAL:
            return True
        name = _event(record)
        if name == LEFT_OUT:
            return True
        if len(self._kinds) >= MOST_KINDS:
            self.tell(everything=True)
        kind = self._kinds.setdefault((record.name, record.levelno, name), _Kind(self._clock()))
        kind.count += 1
        return kind.count <= MOST_ALIKE

    def tell(self, *, everything: bool = False) -> None:
        """Report how many lines were left out of each kind whose time is over, and begin counting anew."""
        now = self._clock()
        over = [key for key, kind in self._kinds.items() if everything or now - kind.since >= WINDOW]
        for key in over:
            kind = self._kinds.pop(key)
            if kind.count > MOST_ALIKE:
                self._told(key[2], kind.count - MOST_ALIKE)


def _event(record: logging.LogRecord) -> str:
    """Return the kind of a line: our event's name, or another library's message without its arguments."""
    if isinstance(record.msg, dict):
        return str(record.msg.get("event", ""))
    return str(record.msg).partition("\n")[0][:200]
