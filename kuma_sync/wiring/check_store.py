"""The store, looked at without touching it: is it there, ours, of a schema we know, held by a daemon?

Must not: create a file, upgrade, or wait for a lock.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

from kuma_sync.core.errors import ConfigError, StoreError, StoreUnavailable
from kuma_sync.settings import Settings
from kuma_sync.store import Store, is_held, store_url
from kuma_sync.store.migrate import check, head
from kuma_sync.wiring.crew import identity, open_store
from kuma_sync.wiring.findings import Finding, failed, ok
from kuma_sync.wiring.ready import refuse_another


async def check_store(settings: Settings, profile: str) -> AsyncIterator[Finding]:
    """Yield what is found; nothing is raised for a store out of reach."""
    shown, file = settings.store.url, _file(settings)
    if file is not None and not os.access(file, os.R_OK | os.W_OK):
        yield _unusable(file, shown)
        return
    store = open_store(settings, untouched=True)
    try:
        async for finding in _opened(store, settings, profile):
            yield finding
    except StoreUnavailable as error:
        yield failed("store", f"{shown}: {error}" + (f"; is {error.key} right?" if error.key else ""))
    except StoreError as error:
        yield failed("store", f"{shown}: {error}")
    finally:
        await store.close()
    if is_held(store_url(settings.store.url)):
        yield ok("store lock", "a running daemon holds the file")


async def _opened(store: Store, settings: Settings, profile: str) -> AsyncIterator[Finding]:
    revision = await check(store)
    yield ok("store", settings.store.url)
    if revision is None:
        yield ok("store schema", "empty; run makes the tables")
        return
    yield ok("store schema", revision if revision == head() else f"{revision}; run upgrades it to {head()}")
    async with store.read() as tx:
        known = await tx.records.identity()
    ours = identity(settings, profile)
    try:
        if known is not None:
            refuse_another(known, ours)
    except ConfigError as error:
        yield failed("store identity", str(error), misconfigured=True)
    else:
        owner = f"KUMA {ours.kuma_instance!r}, IRP {ours.irp_url}, profile {ours.profile}"
        yield ok("store identity", owner if known is not None else "nobody's yet")


def _file(settings: Settings) -> Path | None:
    url = store_url(settings.store.url)
    return Path(url.database or "").absolute() if url.get_backend_name() == "sqlite" else None


def _unusable(file: Path, shown: str) -> Finding:
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        return failed("store", f"{shown}: {error.strerror}; may this user enter {file.parent}?")
    else:
        return failed("store", f"{shown}: the file cannot be read and written by this user")
    if not file.parent.is_dir():
        return failed("store", f"{shown}: there is no directory {file.parent}")
    if not os.access(file.parent, os.W_OK | os.X_OK):
        return failed("store", f"{shown}: this user cannot write to {file.parent}")
    return ok("store", f"{shown}: will be created by run")
