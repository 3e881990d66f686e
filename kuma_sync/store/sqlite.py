"""SQLite as the store needs it: one connection inline, its settings, and its errors in our words.

aiosqlite hands every call to a thread of its own, four for a single statement; the hops cost more than what a statement
on a local file does. Here statements run where they are awaited, and the thread does what waits for the disk or for
another writer: BEGIN IMMEDIATE, COMMIT, many rows at once.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any
from weakref import WeakSet

import aiosqlite
from aiosqlite.core import _connection_worker_thread
from sqlalchemy import URL, event
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from kuma_sync.store.file import LOGS, StoreFile

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


WRITES = "kuma_sync_writes"
"""Execution option of a connection whose transaction will write."""


def open_sqlite(url: URL, *, busy_timeout: float, file: StoreFile | None, untouched: bool) -> AsyncEngine:
    """Open an engine on a file, or in memory where there is none; nothing is connected yet.

    `busy_timeout` (seconds) is how long another writer is waited for. An `untouched` file can only be read, and neither
    it nor any file beside it changes.
    """
    engine = create_async_engine(
        url, hide_parameters=True, async_creator=partial(_connect, url, file, busy_timeout, untouched)
    )
    sync = engine.sync_engine
    if not untouched:
        event.listen(sync, "connect", _prepare)
    if file is not None and not untouched:
        _watch(sync, file)
    event.listen(sync, "begin", partial(_begin, file))
    return engine


async def save_log(engine: AsyncEngine) -> None:
    """Write the log of an open connection into its file, wherever that is by now; open none for it."""
    async with engine.connect() as connection:
        driver: aiosqlite.Connection | None = (await connection.get_raw_connection()).driver_connection
        if driver is not None:
            async with driver.execute("PRAGMA wal_checkpoint(TRUNCATE)"):
                pass


async def _connect(url: URL, file: StoreFile | None, busy_timeout: float, untouched: bool) -> aiosqlite.Connection:
    if file is None:
        return await connect(url.database or "", busy_timeout=busy_timeout)
    if file.pinned:
        file.assure_in_place()
    else:
        file.assure_sound()
        if not untouched:
            file.make()
    address = _as_it_is(file) if untouched else f"{file.path.as_uri()}?mode={'rw' if file.pinned else 'rwc'}"
    return await connect(address, busy_timeout=busy_timeout, uri=True)


def _as_it_is(file: StoreFile) -> str:
    """Return the URI of a file that is only looked at."""
    real = file.real
    # Without a log beside it nobody writes; then SQLite must not make one, as it does to read a file in WAL mode.
    alone = not any(Path(f"{real}{log}").exists() for log in (LOGS[0], "-journal"))
    return f"{real.as_uri()}?mode=ro" + "&immutable=1" * alone


def _prepare(connection: Any, _record: object) -> None:
    try:
        # The last one opens the logs.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "user_version"):
            connection.execute(f"PRAGMA {pragma}").close()
    except BaseException:
        # The pool does not know this connection yet: nobody else would end its thread.
        connection.close()
        raise


def _watch(engine: Any, file: StoreFile) -> None:
    """Know which file the connections have open, from the first one on."""

    def connected(connection: Any, _record: object) -> None:
        file.connected(connection)

    def disconnected(connection: Any, _record: object = None) -> None:
        file.disconnected(connection)

    event.listen(engine, "connect", connected)
    for ended in ("close", "close_detached"):
        event.listen(engine, ended, disconnected)


def _begin(file: StoreFile | None, connection: Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    if file is not None:
        file.assure_in_place(with_logs=writes)  # before SQLite finds out in its own way: it would speak of a bad disk
    # A deferred BEGIN that turns into a writer gets SQLITE_BUSY at once, whatever the time-out.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
