"""The folder of a SQLite store, looked at: may this user write there, whose is it, and is there room?

Must not: write anything, not even to find out.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from kuma_sync.wiring.findings import Finding, failed, ok, warning
from kuma_sync.wiring.store_files import strangers, user

LITTLE = 1 << 30
"""Bytes free below which a longer outage of the IRP may fill the disk."""


def check_folder(file: Path) -> Finding:
    """Return what is found of the folder of a store that lies, or is to lie, at `file`."""
    real = Path(os.path.realpath(file))
    folder = real.parent
    try:
        found, room = folder.stat(), os.statvfs(folder)
    except OSError as error:
        return failed("store folder", f"{folder}: {error.strerror}")
    free = room.f_bavail * room.f_frsize
    told = f"{folder}, owner {user(found.st_uid)}, {free / LITTLE:.1f} GB free"
    if not os.access(folder, os.W_OK | os.X_OK):
        return failed("store folder", f"{told}: this user cannot write there, and SQLite keeps its log beside the file")
    problems = list(_problems(real, found))
    if free < LITTLE:
        problems.append("a longer outage may fill the disk")
    return warning("store folder", "; ".join([told, *problems])) if problems else ok("store folder", told)


def _problems(file: Path, folder: os.stat_result) -> Iterator[str]:
    yield from strangers(file)
    if file.exists() and file.stat().st_mode & stat.S_IROTH and folder.st_mode & stat.S_IXOTH:
        yield f"{file.name} can be read by every user of this machine, and holds events; chmod o-r it"
