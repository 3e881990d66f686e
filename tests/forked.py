"""The program as processes of its own, forked from a server that has its libraries loaded already.

A fresh interpreter spends a second on importing them, which is most of what a short life costs here. What is forked is
as real as what is started by hand: a process with its own number, loop, sockets and signals. A test whose point is the
start itself, the memory or the environment of a process starts an interpreter.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg  # noqa: F401  # so are all of these: for the server that forks
import uvicorn  # noqa: F401

import kuma_sync.cli.daemon  # noqa: F401
from kuma_sync import cli

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["__main__", "forked", "warm"])


@dataclass(frozen=True, kw_only=True)
class Forked:
    """A forked process; its methods are those of `asyncio.subprocess.Process`."""

    pid: int
    _process: ForkServerProcess

    @property
    def returncode(self) -> int | None:
        """Return its exit code, or minus the signal that ended it; None while it lives."""
        return self._process.exitcode

    async def wait(self) -> int:
        """Wait for its end."""
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def fork(log: Path, target: Callable[..., None], *args: object, env: Mapping[str, str] | None = None) -> Forked:
    """Start a process that calls `target(*args)`; what it says goes to the end of the file `log`."""
    _serve()
    log.touch()
    process = _context.Process(target=_live, args=(str(log), dict(env or {}), target, args))
    process.start()
    assert process.pid is not None
    return Forked(pid=process.pid, _process=process)


def command(*words: str) -> None:
    """Be the command."""
    cli.main(words)


async def ended(*words: str, env: Mapping[str, str] | None = None, within: float = 60.0) -> tuple[int, str, str]:
    """Run the command in a process of its own; return its exit code, its results, and what it said beside them."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        err.touch()
        process = fork(out, _typed_into, str(err), words, env=env)
        async with asyncio.timeout(within):
            code = await process.wait()
        return code, out.read_text(), err.read_text()


def _typed_into(err: str, words: Sequence[str]) -> None:
    os.dup2(os.open(err, os.O_WRONLY | os.O_APPEND), 2)
    command(*words)


def _serve() -> None:
    """Start the server, if it is not there; Python 3.11's finds what it is to load on PYTHONPATH alone."""
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)):
        forkserver.ensure_running()


def _live(log: str, env: dict[str, str], target: Callable[..., None], args: tuple[Any, ...]) -> None:
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(env)
    target(*args)
