"""The lock that lets one daemon hold a SQLite file. It is not the write lock: commands may write beside the daemon.

Must not: be asked for by commands.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL

from kuma_sync.core.errors import StoreHeld, StoreUnavailable

PRIVATE = 0o600
"""The mode of every file that we make: a store holds events."""


def lock_path(database: str | Path) -> Path:
    """Return the lock's file: beside the database itself, for by another name, a link's, it is the same store."""
    return Path(f"{os.path.realpath(database)}.lock")


def is_held(database: Path) -> bool:
    """Tell whether a daemon holds the file; its lock is tried without being made."""
    try:
        with lock_path(database).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


@contextmanager
def held(url: URL) -> Iterator[None]:
    """Hold the store's file for this process, or raise StoreHeld; PostgreSQL is shared, nothing is locked."""
    if url.get_backend_name() != "sqlite" or not url.database:
        yield
        return
    path = lock_path(url.database)
    try:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, PRIVATE), "w")
    except OSError as error:
        raise StoreUnavailable(f"the store is out of reach: {path}: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreHeld(f"another kuma-sync daemon holds {url.database}") from None
        except OSError as error:
            raise StoreUnavailable(f"the store is out of reach: {path}: {error.strerror}") from None
        yield
