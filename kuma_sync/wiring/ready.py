"""Making a store ready for a daemon: migrated, ours by identity, with nothing left running by a dead owner.

Must not: choose the store.
"""

from __future__ import annotations

import os
from pathlib import Path

from kuma_sync.core.errors import ConfigError, StoreError, StoreUnavailable
from kuma_sync.settings import Settings, sqlite_path
from kuma_sync.settings.paths import SYSTEM_WIDE
from kuma_sync.store import Identity, Store
from kuma_sync.store.migrate import check, head, upgrade
from kuma_sync.wiring.second import heard_at_door, refuse_moved

_REBIND = "`kuma-sync db rebind` accepts the configured one"
_ADVICE = {
    "kuma.instance": "give the old name back, for it is part of every incident's key: `kuma-sync db rebind` would leave"
    " the older incidents under their old keys"
}


async def make_ready(store: Store, identity: Identity, owner: str, *, can_find: bool = True) -> None:
    """Upgrade the schema, check whose store it is, recover claims of a process that died, and doubt unsent creates.

    Raise StoreUnavailable, NewerSchema, or ConfigError where the store belongs to another KUMA or IRP.
    """
    await upgrade(store)
    async with store.begin() as tx:
        known = await tx.records.identity()
        if known is None:
            await tx.records.bind(identity)
        else:
            refuse_another(known, identity)
        if can_find:
            await tx.links.doubt_unmade()
        if store.local:
            # The file is held by this process alone, so whoever claimed these is dead.
            await tx.delivery.recover(owner)
            await tx.closes.recover(owner)


def refuse_another(known: Identity, identity: Identity) -> None:
    """Raise ConfigError where the store was filled from another KUMA, or for another IRP."""
    for key, theirs, ours in (
        ("kuma.instance", known.kuma_instance, identity.kuma_instance),
        ("irp.url", known.irp_url, identity.irp_url),
        ("irp.profile", known.profile, identity.profile),
    ):
        if theirs != ours:
            raise ConfigError(key, f"the store belongs to {theirs!r}, not {ours!r}; {_ADVICE.get(key, _REBIND)}")


async def assure_usable(
    store: Store, settings: Settings, *, any_schema: bool = False, system_wide: Path = SYSTEM_WIDE
) -> None:
    """Assure a command that the store exists and has our schema (or, with `any_schema`, an older one that we know)."""
    if store.local:
        refuse_moved(settings)
        path = Path(sqlite_path(settings.store.url))
        if _is_absent(path):
            raise StoreUnavailable(f"there is no store at {path}{await _why_absent(settings, system_wide)}")
    revision = await check(store)
    if revision is None:
        raise StoreUnavailable("the store is empty: `kuma-sync run` or `kuma-sync db upgrade` makes its tables")
    if revision != head() and not any_schema:
        raise StoreError(
            f"the store has schema {revision}, commands need {head()}: `kuma-sync db upgrade` brings it up to date, "
            "and so does `kuma-sync run`"
        )


def _is_absent(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        raise StoreUnavailable(f"the store is out of reach: {path}: {error.strerror}") from None
    return False


async def _why_absent(settings: Settings, system_wide: Path) -> str:
    """Say what to think of a store that is not there: a daemon that runs all the same has another one."""
    if "serves" in (await heard_at_door(settings)).answer:
        return f", but a daemon answers at {settings.web.listen}: was store.url changed after it was started?"
    other = settings.places.beside != system_wide.parent and os.access(system_wide, os.F_OK)
    hint = f"; or is {system_wide} meant (-c)? It may name another store" if other else ""
    return f" yet: `kuma-sync run` makes it{hint}"
