"""`db`: the store's schema, its backup and copy, its retention, and the KUMA and IRP it belongs to."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from kuma_sync.app.build import open_store, utc_now
from kuma_sync.app.identity import meant, routing_of
from kuma_sync.app.processes import refuse_moved, running
from kuma_sync.cli.completion import offer_targets
from kuma_sync.cli.options import (
    Order,
    Unfinished,
    actor,
    agreed,
    as_option,
    config_option,
    dry_run_option,
    examples,
    group_config_option,
    yes_option,
)
from kuma_sync.cli.progress import progress
from kuma_sync.cli.session import command_settings, opened_store, run_async
from kuma_sync.cli.tables import bytes_of, plain, show_line
from kuma_sync.core.errors import StoreError, StoreHeld
from kuma_sync.settings import Secret, Settings, sqlite_path
from kuma_sync.settings.addresses import store_address, take_password
from kuma_sync.settings.types import show_duration
from kuma_sync.store import Identity, Store, Tx, migrate, store_url
from kuma_sync.store.backup import back_up
from kuma_sync.store.copies import DEAD_AFTER
from kuma_sync.store.revisions import head
from kuma_sync.store.targets import Remaining
from kuma_sync.sync import operator
from kuma_sync.sync.runtime.housekeeping import prune as prune_old
from kuma_sync.telemetry import logs


@click.group()
@group_config_option
def db() -> None:
    """Back the store up, copy, prune or rebind it; upgrade its schema, show it."""


@db.command(epilog=examples("kuma-sync db upgrade"))
@config_option
def upgrade(config: Path | None) -> None:
    """Bring the schema up to date; an empty store gets its tables."""
    _upgrade(command_settings(config, remotes=False))


@db.command()
@config_option
def current(config: Path | None) -> None:
    """Print the schema's revision, and the one this program knows."""
    _current(command_settings(config, remotes=False))


@db.command()
@config_option
@as_option
def prune(config: Path | None, said: str | None) -> None:
    """Remove settled alerts older than store.retention now."""
    _prune(command_settings(config, remotes=False), actor(said))


@db.command(epilog=examples("kuma-sync db rebind --dry-run", "kuma-sync db rebind --target north"))
@config_option
@click.argument("file", type=click.Path(path_type=Path))
def backup(config: Path | None, file: Path) -> None:
    """Copy the store into a new FILE, as it is at this moment; a daemon may go on meanwhile."""
    _backup(command_settings(config, remotes=False), file)


@db.command()
@config_option
@click.option(
    "--password-file",
    type=click.Path(path_type=Path),
    help="Holds the password of the role in URL; else libpq's own ways count (PGPASSFILE).",
)
@click.argument("url")
def copy(config: Path | None, url: str, password_file: Path | None) -> None:
    """Copy the whole store from SQLite into an empty PostgreSQL database, URL; no daemon may run on either.

    URL is written as store.url is: postgresql://user@host/database. The SQLite file stays as it is.
    """
    _copy(command_settings(config, remotes=False), url, password_file)


@db.command()
@config_option
@as_option
@yes_option
@dry_run_option
@click.option(
    "--target",
    metavar="NAME",
    shell_complete=offer_targets,
    help="Move the alerts of this target, which is no longer configured, to where the routes say.",
)
def rebind(config: Path | None, said: str | None, yes: bool, dry_run: bool, target: str | None) -> None:
    """Bind the store to the configured KUMA and IRPs.

    It asks before kuma.instance changes, and is refused while a daemon works on the store.
    """
    settings, order = command_settings(config, remotes=False), Order(by=actor(said), yes=yes, dry_run=dry_run)
    if target is None:
        _rebind(settings, order)
    else:
        _remove_target(settings, target, order)


def _upgrade(settings: Settings) -> None:
    refuse_moved(settings)
    store = open_store(settings)
    try:
        before = migrate.check(store)
        way = f"bringing the schema from {before or 'empty'} to {head()}"
        with progress(way) as told:
            migrate.upgrade(store, told=lambda reached: told(f"{way}: {reached} is done"))
    finally:
        store.close()
    if before == head():
        show_line(f"The schema is {before} already.")
    else:
        show_line(f"The schema is {head()} now, it was {before or 'empty'}.")


def _current(settings: Settings) -> None:
    with opened_store(settings, any_owner=True, any_schema=True) as store:
        revision = migrate.check(store)
    newest = "the newest" if revision == head() else f"this program knows {head()}"
    show_line(f"{revision} ({newest})")


def _prune(settings: Settings, by: str) -> None:
    with opened_store(settings) as store, progress("removing old alerts"):
        removed = run_async(_pruned, store, settings, by)
    show_line(f"{removed} settled alerts older than {show_duration(settings.store.retention)} removed.")


async def _pruned(store: Store, settings: Settings, by: str) -> int:
    try:
        removed = await prune_old(store, settings.store.retention, overlap=settings.poll.overlap)
        await store.write(lambda tx: tx.audit.note(by, "prune", detail=f"{removed} alerts"))
    finally:
        await store.aclose()
    return removed


def _backup(settings: Settings, file: Path) -> None:
    path = sqlite_path(settings.store.url)
    if not path:
        raise click.UsageError("The store is in PostgreSQL: `pg_dump --encoding=UTF8` backs it up while daemons run.")
    with opened_store(settings, any_owner=True, any_schema=True, untouched=True) as store:
        schema = migrate.check(store)
        try:
            size = back_up(store, Path(path), file)
        except FileExistsError:
            raise Unfinished(f"{file} exists already and stays as it is") from None
    show_line(f"The store is in {file} as it was at this moment: {bytes_of(size)}, schema {schema}.")


def _copy(settings: Settings, url: str, password_file: Path | None) -> None:
    if not sqlite_path(settings.store.url):
        raise click.UsageError("The store is in PostgreSQL already: pg_dump and pg_restore move it to another server.")
    target = _server(url, password_file)
    try:
        with ExitStack() as stack:
            with opened_store(settings, any_owner=True):
                pass  # it is there, and its schema is ours
            store = open_store(settings)
            stack.enter_context(store.hold())
            stack.callback(store.close)  # closed before it is let go
            if migrate.check(target) not in (None, head()):
                raise StoreError("the database to copy into has tables of an older kuma-sync; give an empty one")
            migrate.upgrade(target)
            migrate.assure_writable(target)
            counts = store.move_to(target)
    finally:
        target.close()
    rows, tables = sum(counts.values()), sum(map(bool, counts.values()))
    show_line(
        f"{rows} rows of {tables} tables copied, {counts['alerts']} alerts among them, and counted on both sides. The "
        f"SQLite file is as it was: move it away, set store.url to the new address, and start the daemon."
    )


def _server(url: str, password_file: Path | None) -> Store:
    """Return the store to copy into. Raise UsageError."""
    try:
        bare, inside = take_password(store_address(url))
    except ValueError as error:
        raise click.UsageError(f"URL: {error}") from None
    if sqlite_path(bare):
        raise click.UsageError("URL names a file; `kuma-sync db backup FILE` copies the store into one.")
    try:
        word = password_file.read_text(encoding="utf-8").removesuffix("\n") if password_file else inside
    except (OSError, UnicodeError) as error:
        raise click.UsageError(f"--password-file: {password_file} cannot be read: {type(error).__name__}") from None
    password = Secret(word)
    logs.hide(word)
    return Store(store_url(bare), clock=utc_now, password=password if word else None)


def _rebind(settings: Settings, order: Order) -> None:
    ours = meant(settings)
    with opened_store(settings, any_owner=True) as store:
        with store.reading() as tx:
            _assure_idle(store, tx)
            known = tx.targets.identity()
        renamed = known is not None and known.kuma_instance != ours.kuma_instance
        if known is not None and renamed and order.is_seen_first:
            show_line(_other_keys(known, ours))
        if order.dry_run:
            _show_both(("is", known), ("would", ours))
            show_line("It would be rebound.")
            return
        if renamed:
            agreed("Rebind it all the same?", yes=order.yes)
        with store.writing() as tx:
            _assure_idle(store, tx)  # a daemon may have been started while the question was open
            tx.cursor.bind(ours.kuma_instance)
            tx.targets.bind(ours.targets)
            tx.audit.note(order.by, "rebind", detail=f"{_told(known)} → {_told(ours)}")
    _show_both(("was", known), ("now", ours))
    if known is not None and _addresses(known) != _addresses(ours):
        show_line(
            "Where these are not the same incidents under a new address, `kuma-sync resync --all` looks for them."
        )


def _show_both(*owners: tuple[str, Identity | None]) -> None:
    width = max(len(word) for word, _owner in owners) + 2
    for word, owner in owners:
        show_line(f"{word:<{width}}{_told(owner)}", indent=width)


def _remove_target(settings: Settings, name: str, order: Order) -> None:
    if name in settings.named:
        raise click.UsageError(f"the target {name} is configured; `kuma-sync db rebind` accepts all that are")
    routing = routing_of(settings)
    with opened_store(settings, any_owner=True) as store:
        with store.reading() as tx:
            _assure_idle(store, tx)
            known, left = tx.targets.joined(), tx.targets.left()
            names = sorted({*tx.targets.names(), *left})
        if name not in names:
            raise Unfinished(f"this store knows no target {name}; it knows {', '.join(names) or 'none'}")
        unfinished = left.get(name, Remaining())
        if order.is_seen_first:
            irp = f" ({known[name]})" if name in known else ""
            show_line(
                f"Target {name}{irp} has {unfinished}: what is not closed goes where the routes say. Its incidents "
                "there stay as they are, and get no more updates; the new target is asked for each before one is made."
            )
        if order.dry_run:
            return
        agreed("Send them to other targets?", yes=order.yes)
        with store.writing() as tx:
            _assure_idle(store, tx)
            moved = operator.leave_target(tx, name, routing=routing, by=order.by)
    for target, count in moved.items():
        show_line(f"{count} to {target or 'no target, for no route takes them'}")
    show_line(f"The store knows no target {name} any more.")


def _assure_idle(store: Store, tx: Tx) -> None:
    """Raise StoreHeld while a process works on the store: it would go on with the old KUMA and IRP."""
    if not (somebody := running(store, tx).somebody):
        return
    killed = "" if store.local else f"; one that was killed counts for {show_duration(DEAD_AFTER)}"
    raise StoreHeld(f"{somebody}: stop all copies first{killed}")


def _other_keys(known: Identity, ours: Identity) -> str:
    return (
        f"kuma.instance is part of every incident's key: give the old name {plain(repr(known.kuma_instance))} back "
        f"instead. After a rebind to {plain(repr(ours.kuma_instance))} the older incidents keep their old keys, and a "
        "lost or moved store would make every one of them again."
    )


def _told(owner: Identity | None) -> str:
    if owner is None:
        return "nobody's"
    return plain(str(owner))


def _addresses(owner: Identity) -> dict[str, str]:
    return {name: irp.irp_url for name, irp in owner.targets.items()}
