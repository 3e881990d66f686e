"""The command at a real terminal: a pseudo-terminal of a given size, on which questions are answered, keys pressed."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from forked import command, fork

QUESTION = re.compile(r"(\[y/N\]|Password|again): ?$")
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[[0-9;]+m")
CTRL_C = b"\x03"


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What was written to the terminal, and the exit code."""

    code: int
    raw: str

    @property
    def text(self) -> str:
        """What a human reads; what was written over is in it, too."""
        return ESCAPES.sub("", self.raw)

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def coloured(self) -> list[str]:
        """The texts that have a colour."""
        return re.findall(r"\x1b\[[1-9][0-9;]*m([^\x1b]+)\x1b\[0m", self.raw)


async def nothing() -> None:
    """Do nothing before an answer is typed."""


async def at_terminal(
    *words: str,
    answers: Sequence[str] = (),
    keys: Sequence[tuple[str, bytes]] = (),
    columns: int = 100,
    rows: int = 24,
    env: Mapping[str, str] | None = None,
    meanwhile: Callable[[], Awaitable[object]] = nothing,
) -> Observation:
    """Run the command at a terminal; type an answer at each question, and do something `meanwhile` before each.

    `keys` are pressed as soon as what came since the keys before matches their pattern.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    terminal = os.ttyname(theirs)
    known = {"TERM": "xterm-256color", "NO_COLOR": "", **(env or {})}
    process = fork(Path(terminal), _typed_at, terminal, words, env=known)
    left = [(QUESTION, f"{answer}\n".encode()) for answer in answers] + [
        (re.compile(key), typed) for key, typed in keys
    ]
    text, since, letters = "", 0, codecs.getincrementaldecoder("utf-8")()
    async with asyncio.timeout(60):
        ending = asyncio.ensure_future(process.wait())
        ending.add_done_callback(lambda _ending: os.close(theirs))
        while piece := await asyncio.to_thread(_read, ours):
            text += letters.decode(piece)
            if left and left[0][0].search(text[since:]):
                await meanwhile()
                since = len(text)
                os.write(ours, left.pop(0)[1])
        code = await ending
    os.close(ours)
    return Observation(code=code, raw=text.replace("\r\n", "\n"))


def _typed_at(terminal: str, words: Sequence[str]) -> None:
    """Be the command at a terminal; Python opened its streams before there was one."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts in the background
    for stream, mode in ((0, os.O_RDWR), (1, os.O_RDWR), (2, os.O_RDWR)):
        os.dup2(os.open(terminal, mode), stream)  # the first terminal that is opened becomes that of the session
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115  # for a whole life
    for name in ("COLUMNS", "LINES"):
        os.environ.pop(name, None)
    command(*words)


def _read(terminal: int) -> bytes:
    with contextlib.suppress(OSError):  # EIO: the process has closed its end
        return os.read(terminal, 65536)
    return b""
