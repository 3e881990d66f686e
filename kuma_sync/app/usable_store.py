"""A store before it is used: made ready by the daemon, or found as a command needs it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from kuma_sync.app.hiding import obey
from kuma_sync.app.processes import heard_at_door, refuse_moved
from kuma_sync.app.takeover import take_over
from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.settings import Settings, sqlite_path
from kuma_sync.settings.paths import SYSTEM_WIDE
from kuma_sync.store import Store, Tx
from kuma_sync.store.migrate import check, outdated, upgrade
from kuma_sync.store.revisions import head
from kuma_sync.sync.polling.enqueue import route_anew
from kuma_sync.sync.runtime.runner import Runtime


async def make_ready(store: Store, runtime: Runtime, owner: str) -> None:
    """Upgrade the schema, check the store's owner, recover claims of dead processes, and require `find` before creates.

    Raise StoreUnavailable, NewerSchema, or ConfigError where the store belongs to another KUMA or IRP.
    """

    def begin(tx: Tx) -> None:
        take_over(tx, runtime)
        if store.local:
            # This process alone holds the file, so the processes that claimed these are dead.
            tx.delivery.recover(owner)
            tx.closes.recover(owner)

    upgrading = asyncio.ensure_future(asyncio.to_thread(upgrade, store))
    try:
        await asyncio.shield(upgrading)
    finally:
        # The store must not be closed while its tables are being made.
        await asyncio.wait([upgrading])
    if not store.local:
        store.engine.dispose()  # its connection would stay open unused
    await store.write(begin)
    await obey(store, runtime.privacy)
    await route_anew(store, runtime.routing)


def assure_usable(
    store: Store, settings: Settings, *, any_schema: bool = False, system_wide: Path = SYSTEM_WIDE
) -> None:
    """Raise unless the store exists and has our schema; with `any_schema` an older one will do, too."""
    if store.local:
        refuse_moved(settings)
        path = Path(sqlite_path(settings.store.url))
        if _is_absent(path):
            raise StoreUnavailable(f"there is no store at {path}{_why_absent(settings, system_wide)}")
    revision = check(store)
    if revision is None:
        raise StoreUnavailable("the store is empty: `kuma-sync run` or `kuma-sync db upgrade` makes its tables")
    if revision != head() and not any_schema:
        raise outdated(revision)


def _is_absent(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        raise StoreUnavailable(f"the store is out of reach: {path}: {error.strerror}") from None
    return False


def _why_absent(settings: Settings, system_wide: Path) -> str:
    """Return a hint about a missing store: a running daemon may have another one."""
    if "serves" in heard_at_door(settings).answer:
        return f", but a daemon answers at {settings.web.listen}: was store.url changed after it was started?"
    other = settings.places.beside != system_wide.parent and os.access(system_wide, os.F_OK)
    hint = f"; or is {system_wide} meant (-c)? It may name another store" if other else ""
    return f" yet: `kuma-sync run` makes it{hint}"
