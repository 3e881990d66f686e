"""A SQLite store's files as the daemon's user meets them: may that user write them, is there room?

Must not: open the store, or change anything. It judges by owner and mode, for whoever asks may be another user.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from kuma_sync.settings.sections import StoreSection
from kuma_sync.store import lock_path, store_url

ROOM = 1024 * 1024
"""Bytes that must be free; a transaction needs some."""


def file_troubles(section: StoreSection) -> list[str]:
    """Return what keeps the owner of a store's file from writing it, a sentence each; nothing of PostgreSQL."""
    url = store_url(section.url)
    if url.get_backend_name() != "sqlite" or not url.database:
        return []
    file = Path(os.path.realpath(url.database))
    try:
        found, folder = file.stat(), file.parent.stat()
        system = os.statvfs(file.parent)
    except OSError:
        return []  # whoever opens the store says it better
    troubles = _foreign(file, found, folder)
    if system.f_flag & os.ST_RDONLY:
        troubles.append(f"{file.parent} is on a file system that is mounted read-only")
    elif system.f_bavail * system.f_frsize < ROOM:
        troubles.append(f"the disk of {file.parent} is full")
    if found.st_uid and not _may(found.st_uid, folder, stat.S_IWUSR | stat.S_IXUSR):
        troubles.append(f"{_user(found.st_uid)}, to whom the store belongs, cannot write to its folder {file.parent}")
    return troubles


def _foreign(file: Path, found: os.stat_result, folder: os.stat_result) -> list[str]:
    """Name files that belong to somebody else than their neighbours: a command run as another user made them."""
    troubles = []
    if folder.st_uid and found.st_uid != folder.st_uid:
        troubles.append(_belongs(file, found.st_uid, f"its folder to {_user(folder.st_uid)}"))
    for beside in (Path(f"{file}-wal"), Path(f"{file}-shm"), lock_path(file)):
        try:
            uid = beside.stat().st_uid
        except OSError:
            continue
        if uid != found.st_uid:
            troubles.append(_belongs(beside, uid, f"the store's file to {_user(found.st_uid)}"))
    return troubles


def _belongs(file: Path, uid: int, others: str) -> str:
    return f"{file} belongs to {_user(uid)}, {others}: the daemon may be unable to open it, `chown` it"


def _may(uid: int, status: os.stat_result, rights: int) -> bool:
    """Tell whether a user has rights (given as the owner's bits) by owner, group or as anybody."""
    if status.st_uid == uid:
        return status.st_mode & rights == rights
    shift = 3 if status.st_gid in _groups(uid) else 6
    return (status.st_mode << shift) & rights == rights


def _groups(uid: int) -> list[int]:
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return [uid]  # a user without a name, as a container's, has its own number for a group
    return os.getgrouplist(user.pw_name, user.pw_gid)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
