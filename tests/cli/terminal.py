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

QUESTION = re.compile(r"\[y/N\]: ?$")


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
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kuma_sync", *words), stdin=theirs, stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    left, text = list(answers), ""
    async with asyncio.timeout(60):
        while piece := await asyncio.to_thread(_read, ours):
            text += piece
            if QUESTION.search(text) and left:
                await meanwhile()
                os.write(ours, f"{left.pop(0)}\n".encode())
        code = await process.wait()
    os.close(ours)
    return Observation(code=code, text=text.replace("\r\n", "\n"))


def _read(terminal: int) -> str:
    with contextlib.suppress(OSError):  # EIO: the process has closed its end
        return os.read(terminal, 65536).decode()
    return ""
