"""How a database is opened: one engine a URL, SQLite made durable and single-writer, driver errors translated.

Must not: know any table.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
from sqlalchemy import URL, event, exc, make_url
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from kuma_sync.core.errors import StoreError, StoreUnavailable
from kuma_sync.settings import Secret
from kuma_sync.store.files import assure_database
from kuma_sync.store.inline import connect
from kuma_sync.telemetry.redact import hide

NO_PRIVILEGE = "42501"
LIMIT_EXCEEDED = "54"
"""The class of what is too large for PostgreSQL: a value longer than an index takes."""

WRITES = "kuma_sync_writes"
"""Execution option of a connection whose transaction will write."""

PATIENCE = 30.0
"""Seconds that another's lock is waited for, and that a transaction of ours may stand still."""

UNREACHABLE = 10
"""Seconds after which a PostgreSQL that neither connects nor acknowledges what was sent is out of reach."""

ASLEEP = 5.0
"""Seconds after which an unused connection to PostgreSQL is asked whether it still answers."""

_SQLITE = (
    "database is locked",
    "disk is full",
    "disk I/O error",
    "unable to open database file",
    "readonly",
    "file is not a database",
    "malformed",
)
"""What SQLite says of a file that cannot be used; nothing in it is a value of ours."""

_POSTGRES = (
    ("password authentication failed", "the password is refused", "store.password"),
    ("no password supplied", "the server asks for a password, and none is given", "store.password"),
    ('database ".*" does not exist', "the database does not exist", "store.url"),
    ('role ".*" does not exist', "the role does not exist", "store.url"),
    ("no pg_hba.conf entry", "the server's pg_hba.conf does not let us in", ""),
    ("too many (clients|connections)|connection slots are reserved", "too many connections", ""),
    ("the database system is ", "the server is starting or stopping", ""),
    ("server closed the connection|the connection is (lost|closed)", "the server closed the connection", ""),
    ("Connection refused", "connection refused", "store.url"),
    ("socket .* failed: No such file", "there is no such socket", "store.url"),
    ("failed to resolve host|could not translate host name", "the host is unknown", "store.url"),
    ("timeout expired|timed out", "timed out", "store.url"),
)
"""How a connection fails that has no SQLSTATE: a pattern of the driver's text, which names hosts and users and is never
shown; what is said instead; and the key that it is a matter of, if of any."""


def store_url(text: str) -> URL:
    """Return the URL for SQLAlchemy: `sqlite:///FILE` or `postgresql://user@host/db`, with the async driver named."""
    url = make_url(text)
    sqlite = url.get_backend_name() == "sqlite"
    return url.set(drivername="sqlite+aiosqlite" if sqlite else "postgresql+psycopg")


def open_engine(
    url: URL, *, password: Secret | None = None, busy_timeout: float = 30.0, untouched: bool = False
) -> AsyncEngine:
    """Open an engine; nothing is connected yet. `busy_timeout` (seconds) is how long another writer is waited for.

    A `password` comes before the URL's own; its file is read again for every new connection. An `untouched` SQLite file
    can only be read, and neither it nor any file beside it changes.
    """
    if url.get_backend_name() != "sqlite":
        engine = create_async_engine(
            url,
            hide_parameters=True,
            pool_use_lifo=True,
            connect_args={"connect_timeout": UNREACHABLE, "tcp_user_timeout": UNREACHABLE * 1000},
        )
        if password is not None:
            event.listen(engine.sync_engine, "do_connect", partial(_give_password, password))
        event.listen(engine.sync_engine, "connect", _prepare_postgres)
        _see_that_connections_live(engine)
        return engine
    path = url.database or ""

    async def creator() -> aiosqlite.Connection:
        if untouched:
            return await connect(_as_it_is(path), busy_timeout=busy_timeout, uri=True)
        assure_database(path)
        return await connect(path, busy_timeout=busy_timeout)

    engine = create_async_engine(url, hide_parameters=True, async_creator=creator)
    if not untouched:
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _give_password(password: Secret, _dialect: object, _record: object, _args: object, given: dict[str, Any]) -> None:
    if password.reload():
        hide(password.reveal())
    if password:
        given["password"] = password.reveal()


def _prepare_postgres(connection: Any, _record: object) -> None:
    # A copy that froze in the middle of a transaction holds the reader's row, and nobody could take the turn over:
    # the server ends it. And whoever waits for a lock hears that the store is away, instead of waiting for ever.
    for setting in ("idle_in_transaction_session_timeout", "lock_timeout"):
        connection.execute(f"SET {setting} = {round(PATIENCE * 1000)}").close()
    # East of Greenwich the last hours of the year 9999 would come back as the year 10000, which Python has not.
    connection.execute("SET TIME ZONE 'UTC'").close()
    connection.commit()


def _see_that_connections_live(engine: AsyncEngine) -> None:
    """Notice a connection that PostgreSQL dropped when it is taken from the pool, not in the middle of a chunk.

    What ends a connection can be read from its socket; one that slept is asked, too, for a firewall may have forgotten
    it.
    """

    def note_use(_connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()

    def look(connection: Any, record: Any, _fairy: object) -> None:
        used = record.info.get("used")
        if used is None:
            return  # made just now, also in the place of a dead one: SQLAlchemy gives up where that is refused
        try:
            awake = time.monotonic() - used < ASLEEP
            lives = not _can_be_read(connection) and (awake or engine.dialect.do_ping(connection))
        except connection.dbapi.Error:
            lives = False
        if not lives:
            raise exc.InvalidatePoolError

    event.listen(engine.sync_engine, "checkin", note_use)
    event.listen(engine.sync_engine, "checkout", look)


def _can_be_read(connection: Any) -> bool:
    socket = select.poll()
    socket.register(connection.driver_connection.fileno(), select.POLLIN)
    return bool(socket.poll(0))


def _as_it_is(path: str) -> str:
    """Return the URI of a SQLite file that is only looked at."""
    file = Path(os.path.realpath(path))  # where SQLite has its logs
    # Without a log beside it nobody writes; then SQLite must not make one, as it does to read a file in WAL mode.
    alone = not any(Path(f"{file}{log}").exists() for log in ("-wal", "-journal"))
    return f"{file.as_uri()}?mode=ro" + "&immutable=1" * alone


def _prepare_sqlite(connection: Any, _record: object) -> None:
    try:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}").close()
    except BaseException:
        # The pool does not know this connection yet: nobody else would end its thread.
        connection.close()
        raise


def _begin_sqlite(connection: Connection) -> None:
    # A deferred BEGIN that turns into a writer gets SQLITE_BUSY at once, whatever the time-out.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's failures into StoreUnavailable; a mistake in our SQL stays what it is."""
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
        if str(getattr(getattr(error, "orig", None), "sqlstate", "")).startswith(LIMIT_EXCEEDED):
            raise  # one row is at fault: its neighbours must not wait for it as for a server that is away
        raise _unavailable(error) from None
    except exc.ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != NO_PRIVILEGE:
            raise
        raise StoreError(
            "the store refuses: its role may not do that (42501); it needs to read and write its tables, and for "
            "`run` and `db upgrade` to create them in its schema"
        ) from None
    except exc.DBAPIError as error:
        # SQLite says DatabaseError itself, none of its kinds, of a file that is damaged or no database.
        if not error.connection_invalidated and type(error) is not exc.DatabaseError:
            raise
        raise _unavailable(error) from None
    except OSError as error:
        raise StoreUnavailable(f"the store is out of reach: {error.strerror or type(error).__name__}") from None


def _unavailable(error: exc.SQLAlchemyError) -> StoreUnavailable:
    """Say why without the statement, its values or the connection's address."""
    original = getattr(error, "orig", None)
    reason, key = _known(original)
    if not reason:
        sqlstate = getattr(original, "sqlstate", None)
        reason = type(original or error).__name__ + (f" ({sqlstate})" if sqlstate else "")
    return StoreUnavailable(f"the store is out of reach: {reason}", key=key)


def _known(original: BaseException | None) -> tuple[str, str]:
    """Return what is said of a driver's error, and whose key it is; nothing of one that is not known."""
    text = str(original or "")
    if hasattr(original, "sqlstate"):  # psycopg's; a role may well be called readonly
        return next(((said, key) for pattern, said, key in _POSTGRES if re.search(pattern, text)), ("", ""))
    return next((known for known in _SQLITE if known in text), ""), ""
