"""A SQLite store's files as they are made: for their owner alone, and the owner is the one whose folder it is.

A command run as root beside a service of another user must leave nothing that the service cannot open. SQLite gives the
logs it makes to whom the database belongs by itself; the database and the lock are ours to give. Must not: touch a file
that is there.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

FOR_ITS_OWNER = 0o600


def assure_database(path: str) -> None:
    """Make an empty database where there is none; what keeps that from being done SQLite will say better."""
    if path and path != ":memory:":
        with contextlib.suppress(OSError):
            os.close(_made(Path(os.path.realpath(path)), like=Path(os.path.realpath(path)).parent))


def open_lock(path: Path, database: Path) -> int:
    """Open the lock's file, made where there is none; return its descriptor. Raise OSError."""
    try:
        return _made(path, like=database if database.exists() else path.parent)
    except FileExistsError:
        pass
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # another user made it: it can be locked all the same


def _made(path: Path, *, like: Path) -> int:
    """Make a file that is not there; made by root, it belongs to whom `like` belongs."""
    made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FOR_ITS_OWNER)
    if os.geteuid() == 0:
        owner = like.stat()
        os.fchown(made, owner.st_uid, owner.st_gid)
    return made
