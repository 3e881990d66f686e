"""`check` on this machine: the store, its files and folder, the HTTP door's port and certificate.

Files are judged by owner and mode, because the user who asks may not be the daemon's user.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from kuma_sync.app.build import open_store, utc_now
from kuma_sync.app.identity import served
from kuma_sync.app.processes import refuse_second
from kuma_sync.app.pullers import Puller, pullers
from kuma_sync.app.takeover import refuse_another
from kuma_sync.core.errors import ConfigError, StoreError, StoreHeld, StoreUnavailable
from kuma_sync.settings import Settings
from kuma_sync.settings.paths import SYSTEM_STATE
from kuma_sync.settings.sections import StoreSection, WebSection
from kuma_sync.store import Identity, Store, is_held, store_file, store_url
from kuma_sync.store.migrate import assure_writable, cautions, check
from kuma_sync.store.revisions import head
from kuma_sync.sync.runtime.noticing import EXPIRES_SOON
from kuma_sync.transport.certificates import validity_of_file
from kuma_sync.web.asking import Heard, door_address, hear
from kuma_sync.web.certificate import door_tls
from kuma_sync.web.server import why_not_free

ROOM = 1024 * 1024
"""Bytes that must be free; a transaction needs some."""

BESIDE = ("-wal", "-shm", ".lock")
"""Endings of the files that SQLite and the daemon keep beside the database."""

LITTLE = 1 << 30
"""With fewer free bytes, a longer outage of the IRP may fill the disk."""


class Verdict(StrEnum):
    """How a line of `check` begins."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of `check`. `misconfigured` marks an error in the configuration: exit 2."""

    verdict: Verdict
    what: str
    hint: str = ""
    misconfigured: bool = False


def ok(what: str, hint: str = "") -> Finding:
    """Say that all is well."""
    return Finding(verdict=Verdict.OK, what=what, hint=hint)


def warning(what: str, hint: str) -> Finding:
    """Say that it works, but should be changed."""
    return Finding(verdict=Verdict.WARNING, what=what, hint=hint)


def failed(what: str, hint: str, *, misconfigured: bool = False) -> Finding:
    """Say that it does not work."""
    return Finding(verdict=Verdict.FAILED, what=what, hint=hint, misconfigured=misconfigured)


def file_troubles(section: StoreSection) -> list[str]:
    """Return the reasons why the owner cannot write the store's file, a sentence each; none for PostgreSQL."""
    store = store_file(store_url(section.url))
    if store is None:
        return []
    file = store.real
    try:
        found, folder = file.stat(), file.parent.stat()
        system = os.statvfs(file.parent)
    except OSError:
        return []  # opening the store says it better
    troubles = strangers(file)
    if system.f_flag & os.ST_RDONLY:
        troubles.append(f"{file.parent} is on a file system that is mounted read-only")
    elif system.f_bavail * system.f_frsize < ROOM:
        troubles.append(f"the disk of {file.parent} is full")
    if found.st_uid and not _may(found.st_uid, folder, stat.S_IWUSR | stat.S_IXUSR):
        troubles.append(f"{user(found.st_uid)}, to whom the store belongs, cannot write to its folder {file.parent}")
    return troubles


def strangers(file: Path) -> list[str]:
    """Name the store's files with another owner than their neighbours: a command run by another user made them.

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
    """Tell whether a user has these rights (the owner's bits), as owner, by group, or as anybody."""
    if status.st_uid == uid:
        return status.st_mode & rights == rights
    shift = 3 if status.st_gid in _groups(uid) else 6
    return (status.st_mode << shift) & rights == rights


def _groups(uid: int) -> list[int]:
    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return [uid]  # a user without a name, as in a container: take the same number for the group
    return os.getgrouplist(user.pw_name, user.pw_gid)


def check_folder(file: Path) -> Finding:
    """Judge the folder of a store at `file`, whether the file exists or not."""
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


def stored_pullers(settings: Settings) -> dict[str, Puller] | None:
    """Return how the targets that poll us stand by the store; None where it cannot be read."""
    file = store_file(store_url(settings.store.url))
    if file is not None and not os.access(file.path, os.R_OK):
        return None
    store = open_store(settings, untouched=True)
    try:
        if check(store) != head():
            return None
        with store.reading() as tx:
            return {one.target: one for one in pullers(tx)}
    except StoreError:
        return None
    finally:
        store.close()


def check_store(settings: Settings, ours: Identity) -> Iterator[Finding]:
    """Judge the store; a store out of reach is a finding, not an error."""
    file = store_file(store_url(settings.store.url))
    try:
        refuse_second(settings, ours)
    except (ConfigError, StoreHeld) as error:
        yield failed("store", str(error), misconfigured=isinstance(error, ConfigError))
        return
    if file is not None and not os.access(file.path, os.R_OK | os.W_OK):
        yield _unusable(file.path, settings.store.url)
    else:
        yield from _looked_into(settings, ours)
    if file is not None and os.access(file.path.parent, os.X_OK):
        yield check_folder(file.path)
    if file is not None and is_held(file):
        yield ok("store lock", "a running daemon holds the file")


def _named(key: str, settings: Settings) -> str:
    """Name a key, and the variable that sets it."""
    variable = next((settings.origins[name] for name in (f"{key}_file", key) if name in settings.origins), "")
    return f"{key} (set by {variable})" if variable else key


def _looked_into(settings: Settings, ours: Identity) -> Iterator[Finding]:
    shown, store = settings.store.url, open_store(settings, untouched=True)
    try:
        yield from _opened(store, settings, ours)
    except StoreUnavailable as error:
        yield failed("store", f"{shown}: {error}" + (f"; is {_named(error.key, settings)} right?" if error.key else ""))
    except StoreError as error:
        yield failed("store", f"{shown}: {error}")
    except ConfigError as error:
        yield failed("store", f"{shown}: {error.problem}", misconfigured=True)
    finally:
        store.close()


def _opened(store: Store, settings: Settings, ours: Identity) -> Iterator[Finding]:
    revision = check(store)
    assure_writable(store)
    yield ok("store", settings.store.url)
    for problem in cautions(store):
        yield warning("store", problem)
    if revision is None:
        yield ok("store schema", "empty; run makes the tables")
        return
    yield ok("store schema", revision if revision == head() else f"{revision}; run upgrades it to {head()}")
    with store.reading() as tx:
        known = tx.targets.identity()
    try:
        if known is not None:
            refuse_another(known, ours)
    except ConfigError as error:
        yield failed("store identity", str(error), misconfigured=True)
    else:
        yield ok("store identity", str(ours) if known is not None else "nobody's yet")
    if revision == head():
        yield from _paused(store)


def _paused(store: Store) -> Iterator[Finding]:
    with store.reading() as tx:
        known = tx.pauses.all()
    for one in known:
        yield warning("paused", f"{one.reason}: a daemon leaves it alone, this check does not")


def _unusable(file: Path, shown: str) -> Finding:
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        return failed("store", f"{shown}: {error.strerror}; may this user enter {file.parent}?")
    else:
        return failed("store", f"{shown}: the file cannot be read and written by this user")
    if file.parent == SYSTEM_STATE and not file.parent.exists():
        made = "systemd makes it when the service starts; to run it by hand: install -d -m 0700"
        return warning("store", f"{shown}: there is no directory {file.parent} yet; {made} {file.parent}")
    if not file.parent.is_dir():
        return failed("store", f"{shown}: there is no directory {file.parent}")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        return failed("store", f"{shown}: this user cannot write to {file.parent}")
    return ok("store", f"{shown}: will be created by run")


def check_door(settings: Settings) -> Iterator[Finding]:
    """Judge the HTTP door that the configuration asks for."""
    section = settings.web
    if not section.listen:
        yield ok("door", "none, web.listen is empty")
        return
    yield _address(section, served(settings))
    if section.cert_file is None:
        return
    try:
        door_tls(section.cert_file, section.key_file)
    except ConfigError as error:
        yield failed("door certificate", str(error), misconfigured=True)
    else:
        yield _certificate(section.cert_file, validity_of_file(section.cert_file), utc_now())


def _address(section: WebSection, ours: str) -> Finding:
    problem = why_not_free(section.listen)
    if problem is None:
        return ok("door", f"{section.listen} is free")
    if problem.errno != errno.EADDRINUSE:
        return failed("door", f"cannot listen on {section.listen}: {problem.strerror}; is web.listen right?")
    heard = hear(f"{door_address(section.listen, tls=section.cert_file is not None)}/readyz")
    return _taken(section.listen, heard, ours)


def _taken(listen: str, heard: Heard, ours: str) -> Finding:
    if heard.answer.get("serves") == ours:
        return ok("door", f"a running kuma-sync answers at {listen}: {heard.answer.get('state')}")
    if heard.ours:
        return failed("door", f"{listen} is taken by a kuma-sync of another KUMA or IRP; set web.listen")
    return failed("door", f"{listen} is taken by another program ({heard.other}); set web.listen")


def _certificate(file: Path, validity: tuple[datetime, datetime] | None, now: datetime) -> Finding:
    begin, end = validity or (now, now)
    if now < begin:
        return failed("door certificate", f"{file} is not valid before {begin:%Y-%m-%d}: no caller accepts it")
    if end <= now:
        return failed("door certificate", f"{file} has expired on {end:%Y-%m-%d}: no caller accepts it")
    days = days_left(end, now)
    soon = f"{file}, {days}; after a renewal reload kuma-sync (SIGHUP): it reads the files again"
    return warning("door certificate", soon) if end - now < EXPIRES_SOON else ok("door certificate", f"{file}, {days}")


def days_left(end: datetime, now: datetime) -> str:
    """Say how long a certificate is valid."""
    return f"{(end - now).days} days left" if end > now else f"expired on {end:%Y-%m-%d}"
