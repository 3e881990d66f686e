"""How a SQLite file is opened: made durable, one writer at a time, and never another file than the one opened first.

Must not: know any table.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
from sqlalchemy import URL, event
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from kuma_sync.store.file import LOGS, StoreFile
from kuma_sync.store.inline import connect

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
