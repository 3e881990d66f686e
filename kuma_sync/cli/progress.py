"""How far a long command has come: on a terminal one line that is written over, anywhere else nothing."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kuma_sync.cli.out import progress_width
from kuma_sync.core.text import printable

PATIENCE = 1.0
"""Seconds after which something counts as long."""

PACE = 0.2
ERASE = "\r\x1b[K"


class Progress:
    """Tells what a command does now. Where stderr is no terminal, or it is done within a second, nothing is written."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown = False
        self._writing = threading.Lock()
        self._ended = threading.Event()

    def __call__(self, what: str) -> None:
        """Note what is done now."""
        self._what = what

    @contextmanager
    def away(self) -> Iterator[None]:
        """Keep the line away, so that the block may write results."""
        with self._writing:
            if self._shown:
                _write(ERASE)
                self._shown = False
            yield

    def tell(self) -> None:
        """Write the line until the end, once a second has passed; runs in a thread of its own."""
        began = time.monotonic()
        pause = PATIENCE
        while not self._ended.wait(pause):
            pause, width = PACE, progress_width() or 0
            took = f"{time.monotonic() - began:.0f} s"
            line = f"{printable(self._what)[: max(width - len(took) - 3, 0)]}, {took}"
            with self._writing:
                if not self._ended.is_set():
                    _write(ERASE + line)
                    self._shown = True

    def end(self) -> None:
        """Remove the line, so that results begin on a free one."""
        self._ended.set()
        with self.away():
            pass


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Tell how far the block has come."""
    told = Progress(what)
    if progress_width() is not None:
        threading.Thread(target=told.tell, daemon=True, name="progress").start()
    try:
        yield told
    finally:
        told.end()


def _write(text: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
