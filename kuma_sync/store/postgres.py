"""PostgreSQL: connections with the settings that our transactions need, whatever role, database and environment set.

Some servers are reached through a pooler that lends a connection for one transaction only (pgbouncer, pool_mode
transaction). There settings are made inside each transaction, and no statement is prepared.
"""

from __future__ import annotations

import os
import re
import select
import socket
import time
from collections.abc import Collection
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, URL, Text, bindparam, create_engine, event, exc, text
from sqlalchemy.engine import Connection, Engine, ExceptionContext

from kuma_sync.core.errors import ConfigError, StoreError, StoreUnavailable
from kuma_sync.settings import Secret
from kuma_sync.store.attempt import StoreLimits, takes
from kuma_sync.store.revisions import ANY_SCHEMA, changed, head, looks
from kuma_sync.store.sqlite import WRITES
from kuma_sync.telemetry.redact import hide

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

OLDEST = 10
"""The oldest major version with all the features that we need."""

FULL = "too many connections"
READ_ONLY = "the server takes no writes: it is a standby, or read only"

NOT_ALLOWED = {
    "42501": "its role may not do that (42501); it needs to read and write its tables, and for `run` and `db upgrade` "
    "to create them in its schema",
    "3F000": "the role's search_path names no schema that exists (3F000); create it, or let it name another one: "
    "ALTER ROLE … SET search_path = public",
}
"""The texts for what our role may not do, by SQLSTATE."""

_DENIED = text(
    "SELECT EXISTS (SELECT FROM unnest(:names) AS name, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS deed"
    " WHERE to_regclass(name) IS NOT NULL AND NOT has_table_privilege(name, deed))"
).bindparams(bindparam("names", type_=ARRAY(Text)))

_LATER = {"jit": (11, "off"), "idle_session_timeout": (14, "0"), "transaction_timeout": (17, "0")}
"""Setting → the first major version that has it, and our value.

JIT costs more than it saves: of the 96 ms of the overview's counts 59 went to compiling (PostgreSQL 15).
"""

_SHARED = "kuma_sync_shared"
"""Mark of a connection behind a pooler; its value is the statement that begins each transaction."""

_STALE = {
    "25006": READ_ONLY,
    "0A000": "the connection is of no use any more",
    "26000": "a pooler in between forgets prepared statements",
    "42P05": "a pooler in between forgets prepared statements",
}
"""Errors, by SQLSTATE, that a new connection may end. 0A000: a table changed after a statement was prepared."""

_FORGETFUL = ("26000", "42P05")

_FAILURES = (
    (
        "password authentication failed|не прошёл проверку подлинности|Passwort-Authentifizierung",
        "the password is refused",
        "store.password",
    ),
    ("no password supplied", "the server asks for a password, and none is given", "store.password"),
    (
        'database ".*" does not exist|база данных ".*" не существует|Datenbank ».*« existiert nicht',
        "the database does not exist",
        "store.url",
    ),
    (
        'role ".*" does not exist|роль ".*" не существует|Rolle ».*« existiert nicht',
        "the role does not exist",
        "store.url",
    ),
    (r"pg_hba\.conf", "the server's pg_hba.conf does not let us in", ""),
    (
        "too many (clients|connections)|connection slots are reserved|слишком много (клиентов|подключений)"
        "|слоты подключений|zu viele Verbindungen|Verbindungen sind für|no more connections",
        FULL,
        "",
    ),
    ("the database system is |система баз данных |Datenbanksystem ", "the server is starting or stopping", ""),
    ("statement pooling mode", "a pooler in between lends no connection for a whole transaction", "store.url"),
    ("query_wait_timeout", "a pooler in between has no connection free", ""),
    ('"trust" authentication failed', "a pooler in between does not know the role", "store.url"),
    ("unsupported startup parameter", "a pooler in between takes no options for a connection", "store.url"),
    ("server closed the connection|the connection is (lost|closed)", "the server closed the connection", ""),
    ("Connection refused", "connection refused", "store.url"),
    ("socket .* failed: No such file", "there is no such socket", "store.url"),
    ("failed to resolve host|could not translate host name", "the host is unknown", "store.url"),
    ("timeout expired|timed out", "timed out", "store.url"),
)
"""How a connection fails that has no SQLSTATE: a pattern of the driver's text, which names hosts and users and is never
shown, as servers say it in English, Russian and German; what is said instead; and the key that it is a matter of."""


def open_postgres(url: URL, *, password: Secret | None, limits: StoreLimits) -> Engine:
    """Open an engine; nothing is connected yet. A `password` comes before the URL's own, read again when it is used."""
    engine = _prepared(create_engine(url, **_options(limits)), password, limits)
    for taken in ("connect", "checkout"):  # before all other listeners that ask the server something
        event.listen(engine, taken, takes, insert=True)
    return engine


def open_for_loop(url: URL, *, password: Secret | None, limits: StoreLimits) -> AsyncEngine:
    """Open the same for an event loop."""
    # Loaded only when used: SQLAlchemy's asyncio also loads its ORM, some ten megabytes.
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    engine = create_async_engine(url, **_options(limits))
    _prepared(engine.sync_engine, password, limits)
    return engine


def _options(limits: StoreLimits) -> dict[str, Any]:
    unreachable = round(limits.unreachable.total_seconds())
    return {
        "hide_parameters": True,
        "pool_use_lifo": True,
        "isolation_level": "READ COMMITTED",
        "connect_args": {
            "connect_timeout": unreachable,
            "tcp_user_timeout": unreachable * 1000,
            "client_encoding": "utf8",
        },
    }


def _prepared(engine: Engine, password: Secret | None, limits: StoreLimits) -> Engine:
    if password is not None:
        event.listen(engine, "do_connect", partial(_give_password, password))
    pooled = _Pooled(limits.lock)
    event.listen(engine, "connect", pooled.prepare)
    event.listen(engine, "begin", partial(_begin, head()))
    event.listen(engine, "handle_error", pooled.give_up)
    _see_that_connections_live(engine, limits.asleep)
    return engine


def _driver(connection: Any) -> Any:
    """Return psycopg's own connection; for an event loop SQLAlchemy wraps it."""
    return getattr(connection, "driver_connection", connection)


def interrupt(driver: Any) -> None:
    """Break a connection, so that a thread waiting on it gets an error; may be called from any thread.

    A cancel request is no alternative: it would wait for the same frozen server.
    """
    import psycopg  # noqa: PLC0415  # some ten megabytes, which a store in a file does without

    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(driver.pgconn.socket)) as its:
        its.shutdown(socket.SHUT_RDWR)


def assure_writable(connection: Connection, tables: Collection[str], *, empty: bool) -> None:
    """Raise StoreError if our role may not write these tables or, in an empty store, may not make them.

    Raise StoreUnavailable if the server takes no writes.
    """
    standby, schema, may_create = connection.exec_driver_sql(
        "SELECT pg_is_in_recovery(), current_schema(), has_schema_privilege(current_schema(), 'CREATE')"
    ).one()
    if standby:
        raise StoreUnavailable(f"the store is out of reach: {READ_ONLY}")
    if empty and schema is None:
        raise not_allowed("3F000")
    wanted = {"names": sorted(tables)}
    denied = connection.execute(_DENIED, wanted).scalar_one() if not empty else not may_create
    if denied:
        raise not_allowed("42501")


def cautions(connection: Connection) -> list[str]:
    """Return warnings about the server: one that may lose commits that it has acknowledged."""
    names = ("fsync", "full_page_writes")
    off = [name for name in names if connection.exec_driver_sql(f"SHOW {name}").scalar_one() == "off"]
    return [f"{' and '.join(off)} off: the server may lose or damage all of it in a power cut"] if off else []


def not_allowed(sqlstate: str) -> StoreError:
    """Return the error for a right that our role lacks."""
    return StoreError(f"the store refuses: {NOT_ALLOWED[sqlstate]}")


def is_full(error: exc.OperationalError) -> bool:
    """Tell whether a connection is refused only because there are too many."""
    return told_of(error.orig)[0] == FULL


def told_of(original: BaseException | None) -> tuple[str, str]:
    """Return the text for a driver's error and the configuration key concerned; empty for an unknown error."""
    if (sqlstate := getattr(original, "sqlstate", None)) in _STALE:
        return _STALE[str(sqlstate)], ""
    text = str(original or "")
    return next(((said, key) for pattern, said, key in _FAILURES if re.search(pattern, text)), ("", ""))


class _Pooled:
    """Whether a pooler is in between. Each connection looks; what one has found holds for all."""

    def __init__(self, patience: timedelta) -> None:
        self._patience = patience
        self._known = False

    def prepare(self, connection: Any, record: Any) -> None:
        """Make our settings once, for the life of this connection."""
        assure_suitable(connection)
        process = _first(connection, self._settings(connection, local=False))
        if self._known or is_shared(connection, process):
            connection.rollback()  # and its settings with it, for others will use it, too
            _driver(connection).prepare_threshold = None
            record.info[_SHARED] = self._settings(connection, local=True)
            return
        connection.commit()

    def give_up(self, context: ExceptionContext) -> None:
        """Replace a connection that cannot be used any more, or that turned out to be a pooler's."""
        sqlstate = getattr(context.original_exception, "sqlstate", None)
        if sqlstate in _STALE:
            context.is_disconnect = True
            self._known = self._known or sqlstate in _FORGETFUL

    def _settings(self, connection: Any, *, local: bool) -> str:
        return _settings(_version(connection), self._patience, local=local)


def _settings(version: int, patience: timedelta, *, local: bool) -> str:
    """Return the statement that makes our settings, for the transaction (`local`) or for the connection.

    Its first column is the server's process.
    """
    wait = str(round(patience / timedelta(milliseconds=1)))
    values = {
        "DateStyle": "ISO",
        "IntervalStyle": "postgres",
        "bytea_output": "hex",
        "standard_conforming_strings": "on",
        # In a zone east of Greenwich the last hours of 9999 would be in the year 10000, which Python does not know.
        "TimeZone": "UTC",
        # A copy that froze inside a transaction keeps the lock on the lease's row, and no other could take over:
        # the server ends it. And a wait for a lock ends with an error instead of lasting for ever.
        "lock_timeout": wait,
        "idle_in_transaction_session_timeout": wait,
        # We measure times ourselves: a migration may take longer than other queries.
        "statement_timeout": "0",
        # Behind a pooler this is too late for its own transaction, which makes the setting itself.
        "default_transaction_read_only": "off",
        # What we read by key is in memory mostly; at the usual 4 the planner would rather read a whole table.
        "random_page_cost": "1.1",
    }
    values |= {name: value for name, (since, value) in _LATER.items() if version >= since}
    flag = "true" if local else "false"
    sets = [f"set_config('{name}', '{value}', {flag})" for name, value in values.items()]
    # A commit must be on disk; whether the server also waits for replicas is the operator's choice.
    kept = "current_setting('synchronous_commit')"
    sets.append(f"set_config('synchronous_commit', CASE {kept} WHEN 'off' THEN 'on' ELSE {kept} END, {flag})")
    return f"SELECT pg_backend_pid(), {', '.join(sets)}"  # nothing in it is anybody's but ours


def _begin(revision: str, connection: Connection) -> None:
    """Make our settings for this transaction, if a pooler may have lent the connection to somebody else before.

    One that writes also looks whether the schema still has our `revision`.
    """
    options, settings = connection.get_execution_options(), connection.info.get(_SHARED)
    writes = options.get(WRITES, False)
    statements = [] if settings is None else [*(["SET TRANSACTION READ WRITE"] if writes else []), settings]
    if writes and not options.get(ANY_SCHEMA):
        statements.append(looks(revision))
    if not statements:
        return
    try:
        connection.exec_driver_sql("; ".join(statements))
    except exc.NotSupportedError:
        raise StoreUnavailable(f"the store is out of reach: {READ_ONLY}") from None
    except exc.DataError as error:
        raise changed(error, revision) from None


def assure_suitable(connection: Any) -> None:
    """Raise ConfigError for a database whose encoding is not UTF-8, or a server that is too old."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise ConfigError(
            "store.url",
            f"this database is encoded in {encoding}, expected UTF8, which holds every text; make one with "
            "`createdb --encoding=UTF8 --template=template0 --locale=C.UTF-8 NAME`",
        )
    version = _version(connection)
    if version < OLDEST:
        raise ConfigError("store.url", f"this server is PostgreSQL {version}, expected {OLDEST} or newer")


def is_shared(connection: Any, process: int) -> bool:
    """Tell whether a pooler is in between: it reports another process number than the server's own."""
    return bool(process != connection.info.backend_pid)


def _version(connection: Any) -> int:
    return int(connection.info.server_version) // 10_000


def _first(connection: Any, query: str) -> Any:
    cursor = connection.execute(query)
    try:
        return cursor.fetchone()[0]
    finally:
        cursor.close()


def _give_password(password: Secret, _dialect: object, _record: object, _args: object, given: dict[str, Any]) -> None:
    if password.reload():
        hide(password.reveal())
    if password:
        given["password"] = password.reveal()


def _see_that_connections_live(engine: Engine, asleep: timedelta) -> None:
    """Notice a connection that PostgreSQL dropped when it is taken from the pool, not in the middle of a chunk.

    A closed connection is seen on its socket. One that was unused for long is also tested by a query: a firewall may
    have dropped it.
    """

    def note_use(_connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()

    def look(connection: Any, record: Any, _fairy: object) -> None:
        used = record.info.get("used")
        if used is None:
            return  # new, perhaps in place of a dead one: SQLAlchemy gives up if a new one is refused
        try:
            awake = time.monotonic() - used < asleep.total_seconds()
            lives = not _can_be_read(connection) and (awake or engine.dialect.do_ping(connection))
        except engine.dialect.loaded_dbapi.Error:
            lives = False
        if not lives:
            raise exc.InvalidatePoolError

    event.listen(engine, "checkin", note_use)
    event.listen(engine, "checkout", look)


def _can_be_read(connection: Any) -> bool:
    poll = select.poll()
    poll.register(_driver(connection).fileno(), select.POLLIN)
    return bool(poll.poll(0))
