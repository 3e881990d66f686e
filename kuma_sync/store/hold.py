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


@contextmanager
def held(url: URL) -> Iterator[None]:
    """Hold the store's file for this process, or raise StoreHeld; PostgreSQL is shared, nothing is locked."""
    if url.get_backend_name() != "sqlite" or not url.database:
        yield
        return
    # Beside the file itself: by another name, a link's, it is the same store.
    path = Path(f"{os.path.realpath(url.database)}.lock")
    try:
        file = path.open("w")
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
