"""The SQLite file of a store: may it be used, is it still the file at its path, and does a process hold it?

SQLite keeps its log beside the *name* of a file, and never checks that the name still leads to that file.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from kuma_sync.core.errors import StoreError, StoreHeld, StoreReplaced, StoreUnavailable

LOGS = ("-wal", "-shm")
"""SQLite's files beside an open database: commits that are not in the file yet, and an index of them."""

PRIVATE = 0o600
"""The mode of every file that we make: a store holds events."""

PROBED = 0.5
"""For so many seconds a lock may belong to a process that only tests whether it is held."""

_BYTE = 0x40000000 + 512
"""The byte of the file that we lock: the first after SQLite's own lock bytes (sqlite.org/fileformat2, "lock-byte
page"), in a page that never holds data."""

_FLOCK = struct.Struct("hhqqi0q")
"""`struct flock` as fcntl(2) takes it: type, whence, start, length, process."""


def make_private(path: Path, *, like: Path) -> int:
    """Make a new file that only its owner can read; return its descriptor. Raise OSError.

    Made by root, it gets the owner of `like`: a command run as root must leave no file that the service cannot open.
    (SQLite does the same for its own logs.)
    """
    made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
    if os.geteuid() == 0:
        owner = like.stat()
        os.fchown(made, owner.st_uid, owner.st_gid)
    return made


@dataclass(frozen=True, slots=True)
class _Pin:
    """One file, kept open so that its inode number is not given to another file while we compare.

    It is opened with O_PATH: closing any other kind of descriptor would drop the locks that SQLite has on the file.
    """

    path: str
    descriptor: int
    device: int
    number: int

    @classmethod
    def of(cls, path: str) -> _Pin:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        found = os.fstat(descriptor)
        return cls(path, descriptor, found.st_dev, found.st_ino)

    def is_there(self) -> bool:
        """Tell whether the path still leads to the file; raise OSError where it leads nowhere."""
        there = os.stat(self.path)  # noqa: PTH116  # asked by every transaction: a Path takes thrice as long
        return there.st_ino == self.number and there.st_dev == self.device

    def release(self) -> None:
        os.close(self.descriptor)


class StoreFile:
    """One SQLite file, by its absolute path: a relative one would change when the current folder is renamed.

    Once the file is pinned, a missing file raises StoreUnavailable (it may be put back), and another file at its path
    raises StoreReplaced.
    """

    def __init__(self, database: str | Path) -> None:
        self.path = Path(os.path.abspath(database))  # noqa: PTH100  # resolve() would follow a link that may change
        self._pin: _Pin | None = None
        self._logs: list[_Pin] = []
        self._connections: set[object] = set()

    @property
    def real(self) -> Path:
        """Return the path without links: there SQLite has its logs."""
        return Path(os.path.realpath(self.path))

    @property
    def pinned(self) -> bool:
        """Tell whether it is known which file this is."""
        return self._pin is not None

    def assure_sound(self) -> None:
        """Raise StoreError for a file with a second name: another process might look for its log elsewhere."""
        real = self.real
        try:
            found = real.stat()
        except OSError:
            return  # missing, or not readable for us: opening it will say so
        if not stat.S_ISREG(found.st_mode):
            return
        if found.st_nlink > 1:
            raise StoreError(
                f"the store cannot be used: {self.path} has {found.st_nlink} hard links, and its log lies beside only "
                "one of them; remove the others"
            )
        if _is_mount_point(real):
            raise StoreError(
                f"the store cannot be used: {self.path} is a mount point, so that its log would not lie beside the "
                "file itself; mount its folder instead"
            )

    def make(self) -> None:
        """Make the file of a new store, private: SQLite would let everybody read it, and its logs get the same mode.

        An existing file is not even opened: closing it again would drop SQLite's locks.
        """
        with suppress(OSError):  # SQLite will say it better
            os.close(make_private(self.real, like=self.real.parent))

    def pin(self) -> None:
        """Remember the file that is at the path now; later calls change nothing."""
        if self._pin is None:
            self._pin = _Pin.of(str(self.path))

    def assure_in_place(self, *, with_logs: bool = True) -> None:
        """Raise StoreUnavailable or StoreReplaced where the path does not lead to the pinned file and its logs."""
        if self._pin is None:
            return
        try:
            replaced = not self._pin.is_there()
        except OSError as error:
            raise StoreUnavailable(_away(error)) from None
        if replaced:
            raise StoreReplaced(f"the store was replaced: another file is at {self.path}")
        for log in self._logs if with_logs else ():
            if not _leads_there(log):
                raise StoreReplaced(f"the store was damaged: {log.path} was removed or replaced while it was in use")

    def connected(self, connection: object) -> None:
        """Note a new connection; its logs are open by now."""
        self.pin()
        if not self._connections:
            self._pin_logs()
        self._connections.add(connection)

    def disconnected(self, connection: object) -> None:
        """Note that a connection ends; SQLite removes the logs with the last one."""
        self._connections.discard(connection)
        if not self._connections:
            self._release_logs()

    def release(self) -> None:
        """Forget which file it was."""
        self._release_logs()
        if self._pin is not None:
            self._pin.release()
        self._pin = None
        self._connections.clear()

    def _pin_logs(self) -> None:
        self._release_logs()
        for log in LOGS:
            try:
                self._logs.append(_Pin.of(f"{self.real}{log}"))
            except FileNotFoundError:
                continue

    def _release_logs(self) -> None:
        for log in self._logs:
            log.release()
        self._logs.clear()


def _away(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "the store is out of reach: its file was moved or deleted; put it back, or restart to begin a new one"
    return f"the store is out of reach: its file cannot be seen: {error.strerror}"


def _leads_there(pin: _Pin) -> bool:
    try:
        return pin.is_there()
    except FileNotFoundError:
        return False


def _is_mount_point(file: Path) -> bool:
    """Tell whether the file itself is a mount point: then its mount is not that of its folder.

    The device number does not tell: a bind mount keeps it.
    """
    mounts = [_mount_of(path) for path in (file, file.parent)]
    return None not in mounts and mounts[0] != mounts[1]


def _mount_of(path: Path) -> str | None:
    """Return the id of the mount of a path (proc(5), fdinfo); None where /proc does not tell."""
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return next((value.strip() for name, _, value in (line.partition(":") for line in lines) if name == "mnt_id"), None)


def lock_path(file: StoreFile) -> Path:
    """Return the path of the lock's file. It is beside the real database, because a link leads to the same store."""
    return Path(f"{file.real}.lock")


@contextmanager
def held(file: StoreFile) -> Iterator[None]:
    """Hold a store's file for this process, or raise StoreHeld. The file is made where there is none.

    It is not the write lock: commands may write beside the daemon. The lock lies on the file itself, so that no other
    name of it leads past it, in whatever container; and on a file beside it, where daemons of older versions look.

    All connections of this process to the file must be closed before the block ends: closing the lock's descriptor
    drops every lock that the process has on the file, SQLite's too.
    """
    file.assure_sound()
    with ExitStack() as stack:
        try:
            beside = _opened_lock(file)
            stack.callback(os.close, beside)
            _lock_beside(beside)
            itself = _opened(file)
            stack.callback(os.close, itself)
            _lock(itself)
            file.pin()
        except BlockingIOError:
            raise StoreHeld(
                f"another kuma-sync daemon holds {file.path}: stop it first, or let it do the work"
            ) from None
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
    """Do the same while connections of ours have the file open; close them before `end` is closed."""
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
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # another user's file can be locked, too


def _opened(file: StoreFile) -> int:
    with suppress(FileExistsError):
        return make_private(file.real, like=file.real.parent)
    return os.open(file.path, os.O_RDWR | os.O_CLOEXEC)


def _lock_beside(descriptor: int) -> None:
    """Lock a file; raise BlockingIOError if another process keeps it longer than a short test would."""
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
    # This lock belongs to the open file, not to the process: closing another descriptor of the file does not drop it.
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
