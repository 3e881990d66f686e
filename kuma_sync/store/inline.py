"""A SQLite connection that goes to its thread only for what may take long.

aiosqlite hands every call to a thread of its own, four for a single statement; the hops cost more than what a statement
on a local file does. Here statements run where they are awaited, and the thread does what waits for the disk or for
another writer: BEGIN IMMEDIATE, COMMIT, many rows at once. Must not: know SQL beyond that.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Thread
from typing import Any
from weakref import WeakSet

import aiosqlite
from aiosqlite.core import _connection_worker_thread

MANY_ROWS = 32

_stopping = WeakSet[Thread]()


class InlineConnection(aiosqlite.Connection):
    """An aiosqlite connection with another way through its single door, `_execute`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._flying: set[object] = set()
        self._thread = Thread(target=self._work, name="sqlite_connection_worker_thread")

    def _work(self) -> None:
        """Do what is handed to the thread. Where the loop has ended meanwhile, do the rest, and tell nobody."""
        try:
            _connection_worker_thread(self._tx)
        except RuntimeError:
            while not self._tx.empty():
                _told, call = self._tx.get_nowait()
                with suppress(sqlite3.Error):
                    call()
            if self._connection is not None:
                self._connection.close()

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # Whoever was cancelled left a call behind in the thread; what follows must not overtake it.
        if self._connection is None or self._flying or _takes_long(fn, args):
            return await super()._execute(self._noted(fn), *args, **kwargs)  # type: ignore[no-untyped-call]  # as aiosqlite has it
        return fn(*args, **kwargs)

    async def close(self) -> None:
        """Roll back and close.

        Closed in the middle of a transaction, a connection lives on as long as anything refers to one of its cursors,
        and with it the write lock: a cancelled reader would lock everybody out.
        """
        if self._connection is not None:
            await self._execute(self._connection.rollback)
        await super().close()

    def stop(self) -> asyncio.Future[Any] | None:
        """Roll back and close behind what is still in the thread, without waiting."""
        if self._connection is not None:
            self._tx.put_nowait((None, self._connection.rollback))
        _stopping.add(self._thread)
        return super().stop()

    def _noted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Note a call as flying until the thread has done it, whether or not anybody still waits for it."""
        flight = object()

        def noted(*args: Any, **kwargs: Any) -> Any:
            try:
                return call(*args, **kwargs)
            finally:
                self._flying.discard(flight)

        self._flying.add(flight)
        return noted


async def all_stopped(seconds: float = 5.0) -> None:
    """Wait until what was stopped has ended: a thread that outlives the loop would fail at telling it so."""
    deadline = time.monotonic() + seconds
    for thread in [thread for thread in _stopping if thread.is_alive()]:
        await asyncio.to_thread(thread.join, max(deadline - time.monotonic(), 0.0))


async def connect(path: str, *, busy_timeout: float, uri: bool = False) -> aiosqlite.Connection:
    """Open a SQLite file by its path or `uri`; `busy_timeout` (seconds) is how long another writer is waited for."""
    # The thread and the loop never use the connection at the same time: whoever awaits a call makes no other, and what
    # follows a cancelled one waits for its turn in the thread.
    connector = partial(
        sqlite3.connect, path, timeout=busy_timeout, isolation_level=None, check_same_thread=False, uri=uri
    )
    return await InlineConnection(connector, iter_chunk_size=64)


def _takes_long(call: Callable[..., Any], args: tuple[Any, ...]) -> bool:
    match call.__name__:
        case "commit":
            return True
        case "executemany":
            return len(args[1]) > MANY_ROWS
        case "execute":
            return bool(args[0].startswith(("BEGIN IMMEDIATE", "PRAGMA")))
        case _:
            return False
