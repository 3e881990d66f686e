"""Where commands write: results to stdout, sentences about failures to stderr. Nothing else in the program prints.

Text from elsewhere (an id, a name, a remote's message) may hold a terminal's control sequences: they are escaped here.
Must not import more than the core and the log outlet: `--help` and `health` must stay quick.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from io import TextIOWrapper
from typing import TextIO

from kuma_sync.core.errors import KumaSyncError
from kuma_sync.core.text import printable, printable_json
from kuma_sync.telemetry.outlet import is_dumb, is_journal, takes_colour, with_priority

USUAL_WIDTH = 80
"""Characters of a line on a terminal that does not tell."""

_collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)


class OutputFailed(KumaSyncError):
    """Results could not be written, although the work may be done: exit 1."""


class NobodyReads(OutputFailed):
    """The reader of our results closed the pipe: exit 1, without a message."""


def open_streams(*, quiet: bool = False) -> None:
    """Open /dev/null for each closed standard stream, so that no file of ours gets its number.

    If it is to be `quiet`, nothing is written to stderr from now on.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # for as long as the process lives
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal with another encoding then shows an escape for a letter that it lacks.
            stream.reconfigure(errors="backslashreplace")
    if quiet:
        _give_up(sys.stderr)


def terminal_width() -> int | None:
    """Return how many characters a line of results may have; None where no terminal shows them."""
    return shutil.get_terminal_size().columns if _shown(sys.stdout) else None


def is_coloured() -> bool:
    """Tell whether results may be coloured: on a terminal that knows colours, where NO_COLOR does not forbid it."""
    return takes_colour(sys.stdout)


def can_ask() -> bool:
    """Tell whether a question can be asked on this terminal."""
    return _shown(sys.stdin) and _shown(sys.stderr)


def progress_width() -> int | None:
    """Return how many characters a line on stderr may have that is written over; None where it cannot be."""
    if not _shown(sys.stderr) or is_dumb():
        return None
    with contextlib.suppress(OSError, ValueError):
        return os.get_terminal_size(sys.stderr.fileno()).columns or USUAL_WIDTH
    return USUAL_WIDTH


def can_refresh() -> bool:
    """Tell whether results can be written over what stood there before."""
    return _shown(sys.stdout) and not is_dumb()


def _shown(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal. A closed stream is None; a failed one raises."""
    with contextlib.suppress(OSError, ValueError):
        return stream is not None and stream.isatty()
    return False


def say(text: str = "") -> None:
    """Write a line, or several, of results; raise OutputFailed."""
    _write(printable(text, keep="\n\t") + "\n")


def say_coloured(text: str) -> None:
    """Write a line that holds our own colours; what came from elsewhere in it is escaped already."""
    _write(text + "\n")


@contextlib.contextmanager
def collected() -> Iterator[list[str]]:
    """Collect the lines of results that the block writes, instead of writing them."""
    lines: list[str] = []
    token = _collected.set(lines)
    try:
        yield lines
    finally:
        _collected.reset(token)


def refresh(lines: list[str], *, first: bool) -> None:
    """Write lines over those that stand on the terminal, from its first line on; raise OutputFailed."""
    begin = "\x1b[H\x1b[2J" if first else "\x1b[H"
    height = shutil.get_terminal_size().lines
    over = max(len(lines) - height + 1, 0)
    shown = [*lines[: len(lines) - over - 1], f"… and {over + 1} more lines: `kuma-sync status`"] if over else lines
    _write(begin + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J")


def say_bytes(raw: bytes) -> None:
    """Write bytes as they are, for another program; raise OutputFailed."""
    _write(raw)


def say_json(text: str) -> None:
    """Write JSON text; raise OutputFailed."""
    _write(printable_json(text) + "\n")


def complain(text: str, *, lines: bool = False) -> None:
    """Write one line (or several) to stderr; if that fails, only the exit code is left."""
    text = printable(text if lines else " ".join(text.split()), keep="\n")
    try:
        sys.stderr.write((with_priority(text, logging.ERROR) if is_journal(sys.stderr) else text) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        _give_up(sys.stderr)


def _write(said: str | bytes) -> None:
    lines = _collected.get()
    if lines is not None and isinstance(said, str):
        lines += said.removesuffix("\n").split("\n")
        return
    if sys.stdout is None:
        raise OutputFailed("standard output is closed, so nobody can be told the result")
    try:
        if isinstance(said, bytes):
            sys.stdout.buffer.write(said)
        else:
            sys.stdout.write(said)
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        raise unwritten(error) from None


def unwritten(error: Exception) -> OutputFailed:
    """Return our failure for an error of stdout; nothing more is written to stdout."""
    _give_up(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return NobodyReads()
    why = getattr(error, "strerror", None) or "it is closed"
    return OutputFailed(f"standard output cannot be written: {str(why).lower()}")


def _give_up(stream: TextIO | None) -> None:
    """Discard the rest of a stream: else the interpreter fails to write it at its end and changes the exit code."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]  # there is one where it was written to
        os.close(nowhere)
