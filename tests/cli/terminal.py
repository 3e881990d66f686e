"""The command at a real terminal: a pseudo-terminal of a given width, on which questions are answered."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from forked import command, fork

QUESTION = re.compile(r"(\[y/N\]|Password|again): ?$")


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What stood on the terminal, and the exit code."""

    code: int
    text: str

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


async def nothing() -> None:
    """Do nothing before an answer is typed."""


async def at_terminal(
    *words: str,
    answers: Sequence[str] = (),
    columns: int = 100,
    meanwhile: Callable[[], Awaitable[object]] = nothing,
) -> Observation:
    """Run the command at a terminal; type an answer at each question, and do something `meanwhile` before each."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    terminal = os.ttyname(theirs)
    process = fork(Path(terminal), _typed_at, terminal, words)
    left, text = list(answers), ""
    async with asyncio.timeout(60):
        ending = asyncio.ensure_future(process.wait())
        ending.add_done_callback(lambda _ending: os.close(theirs))
        while piece := await asyncio.to_thread(_read, ours):
            text += piece
            if QUESTION.search(text) and left:
                await meanwhile()
                os.write(ours, f"{left.pop(0)}\n".encode())
        code = await ending
    os.close(ours)
    return Observation(code=code, text=text.replace("\r\n", "\n"))


def _typed_at(terminal: str, words: Sequence[str]) -> None:
    """Be the command at a terminal; Python opened its streams before there was one."""
    os.dup2(os.open(terminal, os.O_RDWR | os.O_NOCTTY), 0)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115  # for a whole life
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    command(*words)


def _read(terminal: int) -> str:
    with contextlib.suppress(OSError):  # EIO: the process has closed its end
        return os.read(terminal, 65536).decode()
    return ""
