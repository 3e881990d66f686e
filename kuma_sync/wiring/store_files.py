"""A SQLite store's files as the daemon's user meets them: may that user write them, is there room?

Must not: open the store, or change anything. It judges by owner and mode, for whoever asks may be another user.
"""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from kuma_sync.settings.sections import StoreSection
from kuma_sync.store import store_file, store_url

ROOM = 1024 * 1024
"""Bytes that must be free; a transaction needs some."""

BESIDE = ("-wal", "-shm", ".lock")
"""What SQLite and the daemon keep beside the file, by the end of its name."""


def file_troubles(section: StoreSection) -> list[str]:
    """Return what keeps the owner of a store's file from writing it, a sentence each; nothing of PostgreSQL."""
    store = store_file(store_url(section.url))
    if store is None:
        return []
    file = store.real
    try:
        found, folder = file.stat(), file.parent.stat()
        system = os.statvfs(file.parent)
    except OSError:
        return []  # whoever opens the store says it better
    troubles = strangers(file)
    if system.f_flag & os.ST_RDONLY:
        troubles.append(f"{file.parent} is on a file system that is mounted read-only")
    elif system.f_bavail * system.f_frsize < ROOM:
        troubles.append(f"the disk of {file.parent} is full")
    if found.st_uid and not _may(found.st_uid, folder, stat.S_IWUSR | stat.S_IXUSR):
        troubles.append(f"{user(found.st_uid)}, to whom the store belongs, cannot write to its folder {file.parent}")
    return troubles


def strangers(file: Path) -> list[str]:
    """Name a store's files that belong to somebody else than their neighbours: a command run as another user made them.

    `file` is the real one, no link.
    """
    owner, folder = _owner(file), _owner(file.parent)
    troubles = []
    like, others = file, f"the store's file to {user(owner)}" if owner is not None else ""
    if folder and owner not in (None, folder):
        like, others, owner = file.parent, f"its folder to {user(folder)}", folder
        troubles.append(_belongs(file, like, others))
    for beside in (Path(f"{file}{end}") for end in BESIDE):
        if owner is not None and _owner(beside) not in (None, owner):
            troubles.append(_belongs(beside, like, others))
    return troubles


def user(uid: int) -> str:
    """Return a user's name; a container's user may have none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _owner(file: Path) -> int | None:
    try:
        return file.stat().st_uid
    except OSError:
        return None


def _belongs(file: Path, like: Path, others: str) -> str:
    whose = f"{file} belongs to {user(file.stat().st_uid)}, {others}"
    return f"{whose}: the daemon may be unable to open it; `chown --reference={like} {file}` mends it"


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
