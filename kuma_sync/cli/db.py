"""`db`: the store's schema, its retention, and whose it is.

Must not: hold queries.
"""

from __future__ import annotations

from pathlib import Path

import click

from kuma_sync.cli.asking import actor, as_option
from kuma_sync.cli.options import command_settings, config_option, opened_store, run_async
from kuma_sync.cli.out import say
from kuma_sync.cli.tables import plain
from kuma_sync.daemon import prune as pruning
from kuma_sync.irp.loading import load_profile
from kuma_sync.settings import Settings
from kuma_sync.settings.units import show_duration
from kuma_sync.store import Identity, migrate
from kuma_sync.wiring.crew import identity, open_store
from kuma_sync.wiring.second import refuse_moved


@click.group()
def db() -> None:
    """The store: its schema, its retention, whose it is."""


@db.command()
@config_option
def upgrade(config: Path | None) -> None:
    """Bring the schema up to date; an empty store gets its tables."""
    run_async(_upgrade, command_settings(config, remotes=False))


@db.command()
@config_option
def current(config: Path | None) -> None:
    """Print the schema's revision, and the one this program knows."""
    run_async(_current, command_settings(config, remotes=False))


@db.command()
@config_option
@as_option
def prune(config: Path | None, said: str | None) -> None:
    """Remove settled alerts older than store.retention now."""
    run_async(_prune, command_settings(config, remotes=False), actor(said))


@db.command()
@config_option
@as_option
def rebind(config: Path | None, said: str | None) -> None:
    """Accept the configured KUMA and IRP as those this store belongs to."""
    run_async(_rebind, command_settings(config, remotes=False), actor(said))


async def _upgrade(settings: Settings) -> None:
    refuse_moved(settings)
    store = open_store(settings)
    try:
        before = await migrate.check(store)
        await migrate.upgrade(store)
    finally:
        await store.close()
    if before == migrate.head():
        say(f"The schema is {before} already.")
    else:
        say(f"The schema is {migrate.head()} now, it was {before or 'empty'}.")


async def _current(settings: Settings) -> None:
    async with opened_store(settings, any_owner=True, any_schema=True) as store:
        revision = await migrate.check(store)
    newest = "the newest" if revision == migrate.head() else f"this program knows {migrate.head()}"
    say(f"{revision} ({newest})")


async def _prune(settings: Settings, by: str) -> None:
    async with opened_store(settings) as store:
        removed = await pruning.prune(store, settings.store.retention, overlap=settings.poll.overlap)
        async with store.begin() as tx:
            await tx.records.note(by, "prune", detail=f"{removed} alerts")
    say(f"{removed} settled alerts older than {show_duration(settings.store.retention)} removed.")


async def _rebind(settings: Settings, by: str) -> None:
    ours = identity(settings, load_profile(settings.irp.profile).name)
    async with opened_store(settings, any_owner=True) as store, store.begin() as tx:
        known = await tx.records.identity()
        await tx.records.bind(ours)
        await tx.records.note(by, "rebind", detail=f"{_told(known)} → {_told(ours)}")
    say(f"was  {_told(known)}\nnow  {_told(ours)}")
    if known is not None and known.irp_url != ours.irp_url:
        say("Links lead to incidents of the IRP before; `kuma-sync resync --all` looks for them in this one.")


def _told(owner: Identity | None) -> str:
    if owner is None:
        return "nobody's"
    return plain(f"KUMA {owner.kuma_instance!r}, IRP {owner.irp_url}, profile {owner.profile}")
