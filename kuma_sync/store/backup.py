"""A consistent copy of a SQLite store in a new file, made while a daemon works on it."""

from __future__ import annotations

import os
import sqlite3
import uuid
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from kuma_sync.core.errors import StoreError
from kuma_sync.store.file import make_private
from kuma_sync.store.session import Store

_PAGES = 4096
"""Pages copied in one go; between them Ctrl-C is heard."""


def back_up(store: Store, source: Path, file: Path) -> int:
    """Copy a store as it is at this moment into a new file that only its owner can read; return its size in bytes.

    Raise FileExistsError where the file is there already, and StoreError where it cannot be written. What was not
    finished is removed: under its name stands a whole backup, or nothing.
    """
    if os.path.lexists(file):
        raise FileExistsError(file)
    unfinished = file.with_name(f"{file.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        os.close(make_private(unfinished, like=source))
        _fill(store, unfinished)
        _put_in_place(unfinished, file)
        return file.stat().st_size
    except FileExistsError:
        raise
    except OSError as error:
        raise StoreError(f"the backup was not made: {file}: {error.strerror}") from None
    except sqlite3.Error as error:
        raise StoreError(f"the backup was not made: {file}: SQLite says: {error}") from None
    finally:
        for rest in ("", "-journal", "-wal", "-shm"):
            with suppress(OSError):
                Path(f"{unfinished}{rest}").unlink()


def _fill(store: Store, file: Path) -> None:
    with store.snapshot() as connection, closing(sqlite3.connect(file, isolation_level=None)) as target:
        driver: Any = connection.connection.driver_connection
        # In one transaction that reads: else the copy would begin anew at every commit of the daemon's.
        connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
        driver.backup(target, pages=_PAGES)
        # One file, without a log beside it.
        target.execute("PRAGMA journal_mode=DELETE").close()
        (found,) = target.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise StoreError("the backup was not made: the store is damaged, as SQLite's quick_check says")
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put_in_place(unfinished: Path, file: Path) -> None:
    """Give the file its name. A link never takes the name of another; where there are no links, a look must do."""
    try:
        os.link(unfinished, file)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(file):
            raise FileExistsError(file) from None
        unfinished.rename(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
