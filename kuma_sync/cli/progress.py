"""How far a long command has come: on a terminal one line that is written over, anywhere else nothing."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kuma_sync.cli.out import shown_on_terminal
from kuma_sync.core.text import printable

PATIENCE = 1.0
"""Seconds after which something counts as long."""

PACE = 0.2
_WIDTH = 76


class Progress:
    """Tells what a command does now. Where stderr is no terminal, or it is done within a second, nothing is written."""

    def __init__(self) -> None:
        self._what = ""
        self._written = False

    def __call__(self, what: str) -> None:
        """Note what is done now."""
        self._what = what

    async def tell(self) -> None:
        """Write it, for ever, once a second has passed."""
        began = time.monotonic()
        await asyncio.sleep(PATIENCE)
        while True:
            took = f"{time.monotonic() - began:.0f} s"
            line = f"{printable(self._what)[: _WIDTH - len(took) - 2]}, {took}"
            self._write(f"\r{line.ljust(_WIDTH)}")
            await asyncio.sleep(PACE)

    def clear(self) -> None:
        """Remove the line, so that results begin on a free one."""
        if self._written:
            self._write(f"\r{' ' * _WIDTH}\r")

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()
            self._written = True


@contextmanager
def progress(what: str) -> Iterator[Progress]:
    """Tell how far the block has come, inside an event loop."""
    told = Progress()
    told(what)
    telling = asyncio.ensure_future(told.tell()) if shown_on_terminal() else None
    try:
        yield told
    finally:
        if telling is not None:
            telling.cancel()
        told.clear()
