"""The lock that lets one daemon hold a SQLite file. It is not the write lock: commands may write beside the daemon.

It lies on the file itself, so that no other name of it, in this container or in another one, leads past it; and on a
file beside it as well, where a daemon of an older version looks for it.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from kuma_sync.core.errors import StoreHeld, StoreUnavailable
from kuma_sync.store.file import PRIVATE, StoreFile

_BYTE = 0x40000000 + 512
"""The byte of the file that is locked: the first after those that SQLite locks (sqlite.org/fileformat2, "lock-byte
page"), in a page that never holds data."""

_FLOCK = struct.Struct("hhqqi0q")
"""`struct flock` as fcntl(2) takes it: type, whence, start, length, process."""

_OPENED = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC


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
            beside = os.open(lock_path(file), _OPENED, PRIVATE)
            stack.callback(os.close, beside)
            fcntl.flock(beside, fcntl.LOCK_EX | fcntl.LOCK_NB)
            itself = os.open(file.path, _OPENED, PRIVATE)
            stack.callback(os.close, itself)
            _lock(itself)
            file.pin()
        except BlockingIOError:
            raise StoreHeld(f"another kuma-sync daemon holds {file.path}") from None
        except OSError as error:
            raise StoreUnavailable(f"the store is out of reach: {file.path}: {error.strerror}") from None
        file.assure_sound()
        yield


def is_held(file: StoreFile) -> bool:
    """Tell whether a daemon holds a file, without making or locking one. No connection of ours may have it open."""
    return _flocked(lock_path(file)) or _locked(file.path)


def _lock(descriptor: int) -> None:
    # Of the open file, not of the process as SQLite's own: closing any other descriptor of the file leaves it.
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _BYTE, 1, 0))


def _locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _BYTE, 1, 0))
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)


def _flocked(path: Path) -> bool:
    try:
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
