"""What commands share: the configuration option, the loaded settings, a store that is open.

Must not: print results.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from kuma_sync.settings import Settings, find_config, load, secrets_of
from kuma_sync.store import Store
from kuma_sync.telemetry import logs
from kuma_sync.wiring.crew import open_store
from kuma_sync.wiring.ready import assure_usable

T = TypeVar("T")

config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    help="The configuration file; else KUMA_SYNC_CONFIG, ./config.toml, /etc/kuma-sync/config.toml.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")


def read_settings(config: Path | None) -> Settings:
    """Find and load the configuration; raise ConfigError."""
    settings = load(find_config(config, os.environ), os.environ)
    for _key, secret in secrets_of(settings):
        logs.hide(secret.reveal())
    return settings


def command_settings(config: Path | None) -> Settings:
    """Load the configuration for a command that answers and ends: of logs only warnings, on stderr."""
    settings = read_settings(config)
    logs.configure(level="warning", format=settings.log.format)
    return settings


@asynccontextmanager
async def opened_store(settings: Settings) -> AsyncIterator[Store]:
    """Open a store that exists; raise StoreUnavailable or NewerSchema. Creates no file."""
    store = open_store(settings)
    try:
        await assure_usable(store, settings)
        yield store
    finally:
        await store.close()


def run_async(work: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
    """Run a command's coroutine."""
    return asyncio.run(work(*arguments))
