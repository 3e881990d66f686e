"""Which processes work on a store now, and whether another store serves the same KUMA and IRP.

A second store beside the first knows no incident: it would find them all and send full updates, which overwrite the
edits of analysts.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from kuma_sync.app.build import open_store, utc_now
from kuma_sync.app.identity import served
from kuma_sync.core.errors import ConfigError, StoreError, StoreHeld
from kuma_sync.settings import Settings, load, sqlite_path
from kuma_sync.settings.paths import SYSTEM_STATE, SYSTEM_WIDE, here, may_exist
from kuma_sync.settings.sections import StoreSection
from kuma_sync.store import Heartbeat, Identity, Store, StoreLimits, Tx, is_held, store_url
from kuma_sync.store.copies import DEAD_AFTER
from kuma_sync.store.file import StoreFile
from kuma_sync.store.migrate import check
from kuma_sync.web.asking import Heard, door_address, hear

LONGEST_LOOK = timedelta(seconds=2)
"""How long a database or an HTTP door has to answer; a start must not wait longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Who works on a store."""

    daemons: tuple[Heartbeat, ...] = ()
    passes: tuple[Heartbeat, ...] = ()
    """Each a `run --once` under way."""
    mute: bool = False
    """A process holds the file, but has written no heartbeat for long."""
    last: Heartbeat | None = None
    """Of the dead ones, the one heard last."""
    asked_on: str = ""
    """The host on which the question is asked, where the processes may be on others; empty where they are here."""

    @property
    def elsewhere(self) -> bool:
        """Tell whether a daemon is on another host than the one that asks, and none on this one."""
        return bool(self.asked_on and self.hosts and self.asked_on not in self.hosts)

    @property
    def hosts(self) -> list[str]:
        """Return the hosts of the daemons, in order."""
        return sorted({one.process.host for one in self.daemons})

    @property
    def daemon(self) -> bool:
        """Tell whether there is a daemon, as far as can be told."""
        return bool(self.daemons) or self.mute

    @property
    def somebody(self) -> str:
        """Name the processes that work on the store; empty where there is none."""
        for what, heard in (("a daemon", self.daemons), ("a single pass", self.passes)):
            if heard:
                return f"{what} runs (pid {', '.join(f'{one.process.pid} on {one.process.host}' for one in heard)})"
        return "a process holds the store's file" if self.mute else ""


def running(store: Store, tx: Tx) -> Running:
    """Return who works on the store.

    A file's lock ends with its process, so it tells at once. On a server, and where this user may not look at the lock,
    a process counts as dead when it was silent for DEAD_AFTER.
    """
    found = _judged(tx, held=store.is_held())
    return found if store.local else replace(found, asked_on=socket.gethostname())


def running_beside(tx: Tx) -> Running:
    """Return who works on the store, as a daemon sees it that holds the file itself."""
    return _judged(tx, held=None)


def _judged(tx: Tx, *, held: bool | None) -> Running:
    heard = tx.heartbeats.heard()
    fresh = [one for one in heard if held is not False and one.silent <= DEAD_AFTER]
    gone = [one for one in heard if one not in fresh]
    return Running(
        daemons=tuple(one for one in fresh if not one.process.single_pass),
        passes=tuple(one for one in fresh if one.process.single_pass),
        mute=held is True and not fresh,
        last=max(gone, key=lambda one: one.heard_at, default=None),
    )


def refuse_second(
    settings: Settings, ours: Identity, *, system_wide: Path = SYSTEM_WIDE, system_state: Path = SYSTEM_STATE
) -> None:
    """Refuse to begin a new store beside another one of the same KUMA and IRP; a store with an owner is not checked.

    Raise StoreHeld if the other's daemon runs, ConfigError if only its store exists. A database out of reach is not
    judged.
    """
    refuse_moved(settings)
    if not _is_new(settings):
        return
    store = sqlite_path(settings.store.url)
    if heard_at_door(settings).answer.get("serves") == served(settings):
        raise StoreHeld(_running(f"at {settings.web.listen}", ours, store))
    for file in _others(settings, system_wide, system_state):
        theirs = _owner(Store(store_url(f"sqlite:///{file}"), clock=utc_now, untouched=True))
        if theirs is None or not theirs.shares(ours):
            continue
        if is_held(StoreFile(file)):
            raise StoreHeld(_running(f"with the store {file}", ours, store))
        if store:
            raise ConfigError("store.url", _forgotten(file, ours, store))


def heard_at_door(settings: Settings) -> Heard:
    """Ask the daemon, if there is one, at the configured HTTP door."""
    listen = settings.web.listen
    if not listen or listen.endswith(":0"):
        return Heard()
    address = f"{door_address(listen, tls=settings.web.cert_file is not None)}/readyz"
    return hear(address, timeout=LONGEST_LOOK.total_seconds())


def refuse_moved(settings: Settings) -> None:
    """Raise ConfigError if a relative path led to a store by the old rule, but leads to none now."""
    former, store = settings.former_store, Path(sqlite_path(settings.store.url))
    if former is None or may_exist(store) or not _exists(former):
        return
    raise ConfigError(
        "store.url",
        f"leads to {store}, where there is no store; there is one at {former}, where a relative path led before: stop "
        f'its daemon and move it, its -wal and -shm files with it, or name it: store.url = "sqlite:///{former}"',
    )


def _is_new(settings: Settings) -> bool:
    """Tell whether a store has no owner yet; false for one that cannot be read."""
    path = sqlite_path(settings.store.url)
    if path and not may_exist(Path(path)):
        return True
    try:
        limits = replace(StoreLimits(), lock=LONGEST_LOOK, transaction=LONGEST_LOOK, unreachable=LONGEST_LOOK)
        return _owner(open_store(settings, untouched=True, limits=limits), strict=True) is None
    except StoreError:
        return False


def _owner(store: Store, *, strict: bool = False) -> Identity | None:
    """Return the store's owner; None where it has none, and, unless `strict`, where it cannot be read."""
    try:
        if check(store) is None:
            return None
        with store.reading() as tx:
            return tx.targets.identity()
    except StoreError:
        if strict:
            raise
        return None
    finally:
        store.close()


def _others(settings: Settings, system_wide: Path, system_state: Path) -> Iterator[Path]:
    """Yield the files at the usual places that may be another store, each once."""
    own = sqlite_path(settings.store.url)
    usual = sqlite_path(str(StoreSection.model_fields["url"].default))
    folders = (system_state, settings.places.state, settings.places.beside, here())
    files = [folder / name for folder in folders for name in dict.fromkeys((Path(own or usual).name, usual))]
    seen = {Path(own).resolve()} if own else set()
    for file in (*_of_the_service(system_wide), *files):
        if _exists(file) and file.resolve() not in seen:
            seen.add(file.resolve())
            yield file


def _of_the_service(system_wide: Path) -> Iterator[Path]:
    try:
        store = sqlite_path(load(system_wide, {}, remotes=False).store.url)
    except ConfigError:
        return
    if store:
        yield Path(store)


def _exists(file: Path) -> bool:
    """Tell whether there surely is a file."""
    try:
        return file.is_file()
    except OSError:
        return False


def _running(where: str, ours: Identity, store: str) -> str:
    return (
        f"a running kuma-sync, {where}, serves {ours} already, and "
        f"{store or 'the configured database'} is empty: a second store would send everything anew, over what analysts "
        "wrote. Use its configuration; or, if this is another KUMA, give it a kuma.instance of its own"
    )


def _forgotten(file: Path, ours: Identity, store: str) -> str:
    return (
        f"{store} is empty, and {file} is the store of the same {ours}: a "
        "second one would send everything anew, over what analysts wrote. "
        f'Name it, store.url = "sqlite:///{file}"; or move it away to begin anew'
    )
