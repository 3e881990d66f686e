"""SQLite connections with the settings that the store needs, and a check that they have the right file open."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine, event
from sqlalchemy.engine import Connection, Engine

from kuma_sync.store.file import LOGS, StoreFile
from kuma_sync.store.revisions import ANY_SCHEMA, assure_unchanged, head

WRITES = "kuma_sync_writes"
"""Execution option of a connection: whether its transaction will write.

A transaction with this option fails at once while another process writes: its caller asks again, and can be stopped
meanwhile. One without it, a read on the event loop, waits inside SQLite.
"""


def open_sqlite(url: URL, *, busy_timeout: float, file: StoreFile, untouched: bool) -> Engine:
    """Open an engine on a file; nothing is connected yet.

    `busy_timeout`: seconds to wait for another writer. An `untouched` file can only be read; neither it nor any file
    beside it changes.
    """
    engine = create_engine(
        url,
        hide_parameters=True,
        creator=partial(_connect, file, busy_timeout, untouched),
        pool_use_lifo=True,  # the connection used last has its statements prepared, and pages of the file at hand
    )
    if not untouched:
        event.listen(engine, "connect", _prepare)
        _watch(engine, file)
    event.listen(engine, "begin", partial(_begin, file, round(busy_timeout * 1000), head()))
    return engine


def is_locked(error: BaseException) -> bool:
    """Tell whether another process writes."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_BUSY  # the low byte is the same for all kinds of busy


def save_log(engine: Engine) -> None:
    """Write the log of an open connection into its file, even if that was moved."""
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()


def interrupt(driver: sqlite3.Connection) -> None:
    """Make the running statement of a connection fail; may be called from any thread."""
    with suppress(sqlite3.ProgrammingError):  # it was closed meanwhile
        driver.interrupt()


def _connect(file: StoreFile, busy_timeout: float, untouched: bool) -> sqlite3.Connection:
    if file.pinned:
        file.assure_in_place()
    else:
        file.assure_sound()
        if not untouched:
            file.make()
    address = _as_it_is(file) if untouched else f"{file.path.as_uri()}?mode={'rw' if file.pinned else 'rwc'}"
    # The pool lends a connection to one thread at a time, but not always to the same one.
    return sqlite3.connect(address, timeout=busy_timeout, isolation_level=None, check_same_thread=False, uri=True)


def _as_it_is(file: StoreFile) -> str:
    """Return the URI of a file that is only looked at."""
    real = file.real
    # Without a log nobody writes. Then SQLite must not make one, as it normally does even for reading.
    alone = not any(Path(f"{real}{log}").exists() for log in (LOGS[0], "-journal"))
    return f"{real.as_uri()}?mode=ro" + "&immutable=1" * alone


def _prepare(connection: Any, _record: object) -> None:
    try:
        # The last one opens the logs.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "user_version"):
            connection.execute(f"PRAGMA {pragma}").close()
    except BaseException:
        connection.close()  # the pool does not know this connection yet
        raise


def _watch(engine: Any, file: StoreFile) -> None:
    """Tell the StoreFile about every connection that is opened or closed."""

    def connected(connection: Any, _record: object) -> None:
        file.connected(connection)

    def disconnected(connection: Any, _record: object = None) -> None:
        file.disconnected(connection)

    event.listen(engine, "connect", connected)
    for ended in ("close", "close_detached"):
        event.listen(engine, ended, disconnected)


def _begin(file: StoreFile, busy_timeout: int, revision: str, connection: Connection) -> None:
    options = connection.get_execution_options()
    writes = options.get(WRITES)
    patience = busy_timeout if writes is None else 0
    driver: Any = connection.connection.driver_connection
    if connection.info.get("patience", busy_timeout) != patience:
        driver.execute(f"PRAGMA busy_timeout = {patience}").close()
        connection.info["patience"] = patience
    file.assure_in_place(with_logs=bool(writes))  # before SQLite itself fails: it would report a bad disk
    # A deferred BEGIN that becomes a writer later gets SQLITE_BUSY at once; no time-out helps.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
    if writes and not options.get(ANY_SCHEMA):
        assure_unchanged(driver, revision)
