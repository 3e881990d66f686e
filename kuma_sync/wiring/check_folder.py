"""The folder of a SQLite store, looked at: may this user write there, whose is it, and is there room?

Must not: write anything, not even to find out.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from kuma_sync.wiring.findings import Finding, failed, ok, warning

LITTLE = 1 << 30
"""Bytes free below which a longer outage of the IRP may fill the disk."""

BESIDE = ("", "-wal", "-shm", ".lock")
"""What SQLite and the daemon keep beside the file, by the end of its name."""


def check_folder(file: Path) -> Finding:
    """Return what is found of the folder of a store that lies, or is to lie, at `file`."""
    real = Path(os.path.realpath(file))
    folder = real.parent
    try:
        found, room = folder.stat(), os.statvfs(folder)
    except OSError as error:
        return failed("store folder", f"{folder}: {error.strerror}")
    free = room.f_bavail * room.f_frsize
    told = f"{folder}, owner {_name(found.st_uid)}, {free / LITTLE:.1f} GB free"
    if not os.access(folder, os.W_OK | os.X_OK):
        return failed("store folder", f"{told}: this user cannot write there, and SQLite keeps its log beside the file")
    problems = list(_problems(real, found))
    if free < LITTLE:
        problems.append("a longer outage may fill the disk")
    return warning("store folder", "; ".join([told, *problems])) if problems else ok("store folder", told)


def _problems(file: Path, folder: os.stat_result) -> Iterator[str]:
    there = [path for end in BESIDE if (path := Path(f"{file}{end}")).exists()]
    strange = sorted({_name(path.stat().st_uid) for path in there} - {_name(folder.st_uid)})
    if strange:
        files = " ".join(path.name for path in there)
        yield (
            f"of {files} some belong to {' and '.join(strange)}, which may keep the service's user out; "
            f"`chown --reference={file.parent} {file}*` mends it"
        )
    if file.exists() and file.stat().st_mode & stat.S_IROTH and folder.st_mode & stat.S_IXOTH:
        yield f"{file.name} can be read by every user of this machine, and holds events; chmod o-r it"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
