"""Folders for what has mounts in it: outside pytest's folder, whose clean-up would walk into them, and never removed
while something is mounted below. What a run that was killed left behind, the next one removes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp

PREFIX = "kuma-sync-system-"
LOCK = "in-use"


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """Give an empty folder, and remove it at the end. The lock in it goes with this process, however it ends."""
    folder = Path(mkdtemp(prefix=f"{PREFIX}{name}-"))
    folder.chmod(0o755)
    lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        removed(folder)
        os.close(lock)


def swept() -> None:
    """Remove the folders that no run uses any more, and end what still runs in them."""
    for folder in Path(gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            lock = os.open(folder / LOCK, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                removed(folder)
            finally:
                os.close(lock)


def removed(folder: Path) -> None:
    """End what runs in a folder, and remove it; leave it where something is still mounted below."""
    end = time.monotonic() + 30
    while (running := _running(folder)) and time.monotonic() < end:
        for pid in running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    if not _mounted(folder, Path("/proc/self")):
        shutil.rmtree(folder, ignore_errors=True)


def _running(folder: Path) -> list[int]:
    """Return the processes that name the folder in their words, or have mounts of their own in it, as containers do."""
    own, found = Path("/proc/self/ns/mnt").readlink(), []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            inside = str(folder) in (process / "cmdline").read_bytes().decode(errors="replace")
            if (process / "ns/mnt").readlink() != own:
                inside = inside or _mounted(folder, process)
            if inside and "Z" not in _state(process) and int(process.name) != os.getpid():
                found.append(int(process.name))
    return found


def _mounted(folder: Path, process: Path) -> bool:
    """Tell whether a process sees a mount below the folder, or has its root there."""
    for line in (process / "mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        place = line.split()[4]
        if place.startswith(f"{folder}/") or (place == "/" and folder.name in line):
            return True
    return False


def _state(process: Path) -> str:
    return (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
