"""The lock that lets one daemon hold a SQLite file. It is not the write lock: commands may write beside the daemon.

It lies on the file itself, so that no other name of it, in this container or in another one, leads past it; and on a
file beside it as well, where a daemon of an older version looks for it.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from kuma_sync.core.errors import StoreHeld, StoreUnavailable
from kuma_sync.store.file import StoreFile, make_private

PROBED = 0.5
"""Seconds for which a lock may be somebody's who only looks whether it is held."""

_BYTE = 0x40000000 + 512
"""The byte of the file that is locked: the first after those that SQLite locks (sqlite.org/fileformat2, "lock-byte
page"), in a page that never holds data."""

_FLOCK = struct.Struct("hhqqi0q")
"""`struct flock` as fcntl(2) takes it: type, whence, start, length, process."""


def lock_path(file: StoreFile) -> Path:
    """Return the lock's file: beside the database itself, for by another name, a link's, it is the same store."""
    return Path(f"{file.real}.lock")


@contextmanager
def held(file: StoreFile) -> Iterator[None]:
    """Hold a store's file for this process, or raise StoreHeld. The file is made where there is none.

    All of this process's connections to it must be closed before the block ends: with the descriptor that the lock is
    on the system drops whatever locks the process has on the file, SQLite's too.
    """
    file.assure_sound()
    with ExitStack() as stack:
        try:
            beside = _opened_lock(file)
            stack.callback(os.close, beside)
            _take_turn(beside)
            itself = _opened(file)
            stack.callback(os.close, itself)
            _lock(itself)
            file.pin()
        except BlockingIOError:
            raise StoreHeld(f"another kuma-sync daemon holds {file.path}") from None
        except OSError as error:
            raise StoreUnavailable(f"the store is out of reach: {file.path}: {error.strerror}") from None
        file.assure_sound()
        yield


def is_held(file: StoreFile) -> bool | None:
    """Tell whether a process holds a file now, without making or locking one; None where this user may not look.

    No connection of ours may have it open.
    """
    with ExitStack() as end:
        return looked_at(file, end)


def looked_at(file: StoreFile, end: ExitStack) -> bool | None:
    """Tell the same while connections of ours have the file open: they must be closed when `end` is."""
    answers = (_flocked(lock_path(file)), _locked(file.path, end))
    if True in answers:
        return True
    return None if None in answers else False


def _opened_lock(file: StoreFile) -> int:
    path = lock_path(file)
    with suppress(FileExistsError):
        return make_private(path, like=file.real if file.real.exists() else path.parent)
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # another user made it: it can be locked all the same


def _opened(file: StoreFile) -> int:
    with suppress(FileExistsError):
        return make_private(file.real, like=file.real.parent)
    return os.open(file.path, os.O_RDWR | os.O_CLOEXEC)


def _take_turn(descriptor: int) -> None:
    """Lock a file, or raise BlockingIOError where another process keeps it; one that only looks has it for a moment."""
    until = time.monotonic() + PROBED
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return


def _lock(descriptor: int) -> None:
    # Of the open file, not of the process as SQLite's own: closing any other descriptor of the file leaves it.
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _BYTE, 1, 0))


def _locked(path: Path, end: ExitStack) -> bool | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        end.callback(os.close, descriptor)
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _BYTE, 1, 0))
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def _flocked(path: Path) -> bool | None:
    try:
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return False
