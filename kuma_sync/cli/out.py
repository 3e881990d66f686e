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
from io import TextIOWrapper
from typing import TextIO

from kuma_sync.core.errors import KumaSyncError
from kuma_sync.core.text import printable, printable_json
from kuma_sync.telemetry.outlet import is_journal, with_priority


class OutputFailed(KumaSyncError):
    """Results could not be written, although the work may be done: exit 1."""


class NobodyReads(OutputFailed):
    """The reader of our results closed the pipe: exit 1, without a message."""


def open_streams() -> None:
    """Open /dev/null for each closed standard stream, so that no file of ours gets its number."""
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


def terminal_width() -> int | None:
    """Return how many characters a line of results may have; None where no terminal shows them."""
    return shutil.get_terminal_size().columns if _shown(sys.stdout) else None


def can_ask() -> bool:
    """Tell whether a question can be asked on this terminal."""
    return _shown(sys.stdin) and _shown(sys.stderr)


def shown_on_terminal() -> bool:
    """Tell whether a human sees what is written to stderr as it comes."""
    return _shown(sys.stderr)


def _shown(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal. A closed stream is None; a failed one raises."""
    with contextlib.suppress(OSError, ValueError):
        return stream is not None and stream.isatty()
    return False


def say(text: str = "") -> None:
    """Write a line, or several, of results; raise OutputFailed."""
    _write(printable(text, keep="\n\t") + "\n")


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
