"""Open the engine of either database, and translate its driver's errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Engine, exc, make_url

from kuma_sync.core.errors import StoreError, StoreReplaced, StoreUnavailable, ValueRefused
from kuma_sync.settings import Secret, sqlite_path
from kuma_sync.store import postgres
from kuma_sync.store.attempt import StoreLimits
from kuma_sync.store.file import StoreFile
from kuma_sync.store.sqlite import open_sqlite

LIMIT_EXCEEDED = "54"
"""The SQLSTATE class of values too large for PostgreSQL, such as one longer than an index takes."""

NO_TABLE = "42P01"

_SQLITE = (
    "database is locked",
    "disk is full",
    "disk I/O error",
    "unable to open database file",
    "readonly",
    "file is not a database",
    "malformed",
)
"""SQLite's messages about an unusable file; none of them contains a value of ours."""


def store_url(text: str) -> URL:
    """Return the URL for SQLAlchemy: `sqlite:///FILE` or `postgresql://user@host/db`, with the driver named."""
    if path := sqlite_path(text):
        return URL.create("sqlite+pysqlite", database=path)  # not parsed: `?` and `%` would have a meaning in a URL
    return make_url(text).set(drivername="postgresql+psycopg")


def store_file(url: URL) -> StoreFile | None:
    """Return the file of a SQLite URL; None for PostgreSQL."""
    return StoreFile(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def open_engine(
    url: URL,
    *,
    limits: StoreLimits,
    password: Secret | None = None,
    file: StoreFile | None = None,
    untouched: bool = False,
) -> Engine:
    """Open an engine; nothing is connected yet.

    A `password` comes before the URL's own; its file is read again for every new connection. `file` is SQLite's; one
    that must stay `untouched` can only be read, and neither it nor any file beside it changes.
    """
    if file is not None:
        return open_sqlite(url, busy_timeout=limits.lock.total_seconds(), file=file, untouched=untouched)
    return postgres.open_postgres(url, password=password, limits=limits)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into StoreUnavailable or ValueRefused; a mistake in our SQL is raised unchanged."""
    try:
        yield
    except (exc.StatementError, exc.TimeoutError) as error:
        told = _told(error)
        if told is None:
            raise
        raise told from None
    except (UnicodeEncodeError, OverflowError) as error:
        raise _refused(error) from None
    except OSError as error:
        raise StoreUnavailable(f"the store is out of reach: {error.strerror or type(error).__name__}") from None


def _told(error: exc.SQLAlchemyError) -> StoreError | None:
    original = getattr(error, "orig", None)
    sqlstate = str(getattr(original, "sqlstate", None) or "")
    match error:
        case exc.DataError() | exc.IntegrityError():
            return _refused(original)
        case exc.OperationalError() if sqlstate.startswith(LIMIT_EXCEEDED):
            # One row is at fault; it must not look like a server out of reach, for which all rows wait.
            return _refused(original)
        case exc.OperationalError() | exc.InterfaceError() | exc.InternalError() | exc.TimeoutError():
            return _unavailable(error)
        case exc.ProgrammingError() if sqlstate in postgres.NOT_ALLOWED:
            return postgres.not_allowed(sqlstate)
        case exc.ProgrammingError() if sqlstate == NO_TABLE:
            return StoreReplaced("the store was replaced: its tables are not in this database any more")
        case exc.DBAPIError() if error.connection_invalidated or type(error) is exc.DatabaseError:
            # SQLite raises plain DatabaseError, and no subclass, for a damaged file and for one that is no database.
            return _unavailable(error)
        case exc.StatementError() if isinstance(original, UnicodeEncodeError | OverflowError):
            return _refused(original)
        case _:
            return None


def _named(original: object) -> str:
    """Name a driver's error by its type alone: its text holds values."""
    sqlstate = getattr(original, "sqlstate", None)
    return type(original).__name__ + (f" ({sqlstate})" if sqlstate else "")


def _refused(original: BaseException | None) -> ValueRefused:
    return ValueRefused(f"the database takes no such value: {_named(original)}")


def _unavailable(error: exc.SQLAlchemyError) -> StoreUnavailable:
    """Return the error without the statement, its values or the connection's address."""
    original = getattr(error, "orig", None)
    reason, key = _known(original)
    return StoreUnavailable(f"the store is out of reach: {reason or _named(original or error)}", key=key)


def _known(original: BaseException | None) -> tuple[str, str]:
    """Return the text for a driver's error and the configuration key concerned; empty for an unknown error."""
    if hasattr(
        original, "sqlstate"
    ):  # psycopg's error; its text may contain the words above by chance, such as a role called readonly
        return postgres.told_of(original)
    text = str(original or "")
    return next((known for known in _SQLITE if known in text), ""), ""
