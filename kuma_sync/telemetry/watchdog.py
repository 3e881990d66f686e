"""The last resort against standing still: the process ends itself, so that systemd or Docker starts it anew.

Whatever else judges our health runs in the event loop, and a loop that is blocked by a call that does not return can
judge nothing: it answers no `/livez` and feeds no watchdog. So a small thread beside it looks whether it still beats.
Ending without cleaning up is safe: it is the `kill -9` that everything here survives.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import NoReturn

import structlog

log = structlog.get_logger(__name__)

LOOKS = 10
"""How often the thread looks within the limit: it counts its looks, and while all is frozen it does not look."""


class Pulse:
    """Beaten by the event loop, watched by a thread.

    `limit` is how long the loop may not beat before it is dead; `last_line`, how long the line that says so may take.
    """

    def __init__(self, *, limit: timedelta, last_line: timedelta) -> None:
        self._limit = limit
        self._last_line = last_line
        self._beats = 0

    def beat(self) -> None:
        """Note that the event loop turns."""
        self._beats += 1

    @contextmanager
    def watched(self) -> Iterator[None]:
        """End the process when this thread's event loop has not beaten for the limit, while the block runs."""
        over = threading.Event()
        watch = partial(self._watch, over, threading.get_ident())
        threading.Thread(target=watch, name="pulse", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _watch(self, over: threading.Event, watched: int) -> None:
        seen, silent = -1, 0
        while not over.wait(self._limit.total_seconds() / LOOKS):
            silent = silent + 1 if self._beats == seen else 0
            seen = self._beats
            if silent == LOOKS:
                self.end_process(["event loop"], where=_where(watched))

    def end_process(self, loops: Sequence[str], where: str = "") -> NoReturn:
        """Say which loops are dead, and end with exit code 1, whatever else the process is doing."""
        telling = threading.Thread(target=_say, args=(list(loops), where), daemon=True)
        telling.start()
        telling.join(self._last_line.total_seconds())
        os._exit(1)


def _say(loops: list[str], where: str) -> None:
    log.critical("stuck_for_good", loops=loops, where=where)


def _where(thread: int) -> str:
    """Return the line at which a thread stands: code only, no values."""
    frame = sys._current_frames().get(thread)
    return f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}" if frame else ""
