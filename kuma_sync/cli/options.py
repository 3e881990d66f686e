"""What commands share once they work: the loaded settings, a store that is open, and who is asking.

Must not: print results.
"""

from __future__ import annotations

import asyncio
import getpass
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from kuma_sync.cli.flags import config_option, json_option
from kuma_sync.irp.loading import load_profile
from kuma_sync.settings import Settings, find_config, load, secrets_of
from kuma_sync.store import Store
from kuma_sync.telemetry import logs
from kuma_sync.wiring.crew import identity, open_store
from kuma_sync.wiring.ready import assure_usable, refuse_another

__all__ = [
    "asking",
    "command_settings",
    "config_option",
    "json_option",
    "opened_store",
    "read_settings",
    "run_async",
]

T = TypeVar("T")


def read_settings(config: Path | None, *, remotes: bool = True) -> Settings:
    """Find and load the configuration; raise ConfigError."""
    settings = load(find_config(config, os.environ), os.environ, remotes=remotes)
    for _key, secret in secrets_of(settings):
        logs.hide(secret.reveal())
    return settings


def command_settings(config: Path | None, *, remotes: bool = True) -> Settings:
    """Load the configuration for a command that answers and ends: of logs only warnings, on stderr.

    A command that speaks to neither side needs neither side's secrets (`remotes` false).
    """
    settings = read_settings(config, remotes=remotes)
    logs.configure(level="warning", format=settings.log.format)
    return settings


@asynccontextmanager
async def opened_store(
    settings: Settings, *, any_owner: bool = False, any_schema: bool = False
) -> AsyncIterator[Store]:
    """Open a store that exists and is this configuration's (or, with `any_owner`, anybody's). Creates no file.

    Raise StoreError where it is out of reach or its schema is newer (or, without `any_schema`, older), or ConfigError
    where it belongs to another KUMA or IRP.
    """
    store = open_store(settings)
    try:
        await assure_usable(store, settings, any_schema=any_schema)
        if not any_owner:
            await _assure_ours(store, settings)
        yield store
    finally:
        await store.close()


def run_async(work: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
    """Run a command's coroutine."""
    return asyncio.run(work(*arguments))


def asking() -> str:
    """Return who gives the order, for the audit trail."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):
        # A container's user may have no name.
        name = str(os.getuid())
    return f"operator:{name}"


async def _assure_ours(store: Store, settings: Settings) -> None:
    async with store.read() as tx:
        known = await tx.records.identity()
    if known is not None:
        refuse_another(known, identity(settings, load_profile(settings.irp.profile).name))
