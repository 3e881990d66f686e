"""The lock that lets one daemon hold a SQLite file. It is not the write lock: commands may write beside the daemon.

Must not: be asked for by commands.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from sqlalchemy import URL

from kuma_sync.core.errors import StoreHeld, StoreUnavailable
from kuma_sync.store.files import open_lock

PROBED = 0.5
"""Seconds for which a lock may be somebody's who only looks whether it is held."""


def lock_path(database: str | Path) -> Path:
    """Return the lock's file: beside the database itself, for by another name, a link's, it is the same store."""
    return Path(f"{os.path.realpath(database)}.lock")


@contextmanager
def held(url: URL) -> Iterator[None]:
    """Hold the store's file for this process, or raise StoreHeld; PostgreSQL is shared, nothing is locked."""
    if url.get_backend_name() != "sqlite" or not url.database:
        yield
        return
    path = lock_path(url.database)
    try:
        file = os.fdopen(open_lock(path, Path(os.path.realpath(url.database))), "r")
    except OSError as error:
        raise StoreUnavailable(f"the store is out of reach: {path}: {error.strerror}") from None
    with file:
        try:
            if not _locked(file):
                raise StoreHeld(f"another kuma-sync daemon holds {url.database}")
        except OSError as error:
            raise StoreUnavailable(f"the store is out of reach: {path}: {error.strerror}") from None
        yield


def is_held(url: URL) -> bool | None:
    """Tell whether a process holds a SQLite file now; make no file.

    None where that cannot be told: of PostgreSQL, or where the lock may not be looked at.
    """
    if url.get_backend_name() != "sqlite" or not url.database:
        return None
    try:
        with lock_path(url.database).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return False


def _locked(file: IO[str]) -> bool:
    """Take the lock; false where another process keeps it. One that only looks has it for a moment."""
    until = time.monotonic() + PROBED
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        else:
            return True
