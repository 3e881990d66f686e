"""The SQLite file that a process opened: may it be used at all, and is it still the one at its path?

Needed because SQLite keeps its log beside the *name* of a file, and never looks whether that name still leads there.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kuma_sync.core.errors import StoreError, StoreReplaced, StoreUnavailable

LOGS = ("-wal", "-shm")
"""What SQLite has beside a file while it is open: what was committed and is not in the file yet, and an index of it."""


PRIVATE = 0o600
"""The mode of every file that we make: a store holds events."""


def make_private(path: Path, *, like: Path) -> int:
    """Make a file that is not there, for its owner alone; return its descriptor. Raise OSError.

    Made by root, it belongs to whom `like` belongs: a command run as root must leave nothing that the service cannot
    open. (SQLite gives its logs to whom the database belongs by itself.)
    """
    made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE)
    if os.geteuid() == 0:
        owner = like.stat()
        os.fchown(made, owner.st_uid, owner.st_gid)
    return made


@dataclass(frozen=True, slots=True)
class _Pin:
    """One file as it was found: held open as a mere path, so that its number goes to no other while it is compared.

    A path alone: to close any other descriptor of a file drops the locks that SQLite has on it.
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
    """One SQLite file, by its path from the root: a relative one would follow a folder that is renamed.

    Once it is pinned, a path that leads nowhere raises StoreUnavailable (it may be put back), and one that leads to
    another file StoreReplaced.
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
        """Raise StoreError for a file whose log another process would look for elsewhere: it has a second name."""
        real = self.real
        try:
            found = real.stat()
        except OSError:
            return  # not there yet, or not for us: whoever opens it says so
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
        """Make the file of a new store: SQLite would let all read it, and gives its logs the same mode and owner.

        A file that is there already is not even opened: to close it again would take SQLite's locks away.
        """
        with suppress(OSError):  # SQLite will say it better
            os.close(make_private(self.real, like=self.real.parent))

    def pin(self) -> None:
        """Remember which file is at the path now; later calls change nothing."""
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
        """Note a connection whose logs are open by now."""
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
    """Tell whether a file is mounted by itself: then it lies on another mount than its folder does.

    The device's number would not tell: a file bound to another place keeps it.
    """
    mounts = [_mount_of(path) for path in (file, file.parent)]
    return None not in mounts and mounts[0] != mounts[1]


def _mount_of(path: Path) -> str | None:
    """Return the number of the mount that a path lies on (proc(5), fdinfo); None where /proc does not tell."""
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
