"""What a command works with: the settings, an open store, and the alert that the operator means."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from kuma_sync.app.build import open_store
from kuma_sync.app.done_before import done_to
from kuma_sync.app.identity import meant
from kuma_sync.app.processes import running
from kuma_sync.app.takeover import refuse_another
from kuma_sync.app.usable_store import assure_usable
from kuma_sync.cli.options import Unfinished
from kuma_sync.cli.tables import plain, show_line
from kuma_sync.core.errors import ConfigError, StoreError
from kuma_sync.core.text import alert_spellings
from kuma_sync.settings import Settings, find_config, load, load_store, secrets_of
from kuma_sync.store import Store, Tx
from kuma_sync.telemetry import logs

T = TypeVar("T")
SHORTEST_PREFIX = 6
MOST_NAMED = 5
_SEVERAL = 2


def read_settings(config: Path | None, *, remotes: bool = True) -> Settings:
    """Find and load the configuration; raise ConfigError."""
    settings = load(find_config(config, os.environ), os.environ, remotes=remotes)
    for _key, secret in secrets_of(settings):
        logs.hide(secret.reveal())
    return settings


def command_settings(config: Path | None, *, remotes: bool = True) -> Settings:
    """Load the configuration for a short command: it logs only warnings, on stderr.

    A command that asks neither KUMA nor the IRP needs no secrets of theirs (`remotes` false).
    """
    settings = read_settings(config, remotes=remotes)
    logs.configure(level="warning", format=settings.log.format)
    return settings


def store_settings(config: Path | None, wrong: ConfigError) -> Settings:
    """Load only the part of the configuration that names the store; raise `wrong` where even that cannot be read."""
    try:
        settings = load_store(find_config(config, os.environ), os.environ)
    except ConfigError:
        raise wrong from None
    for _key, secret in secrets_of(settings):
        logs.hide(secret.reveal())
    logs.configure(level="warning")
    return settings


def readable_settings(config: Path | None) -> tuple[Settings, ConfigError | None]:
    """Return the configuration and None. If it is broken: only the part that names the store, and the error.

    A running daemon goes on with the configuration that it started with.
    """
    try:
        settings = command_settings(config, remotes=False)
        meant(settings)
    except ConfigError as error:
        return store_settings(config, error), error
    return settings, None


@contextmanager
def looking(config: Path | None) -> Iterator[tuple[Settings, str]]:
    """Give what a look at the store needs: the configuration, and why it is refused, or ''.

    Where it is refused, the store can be looked at all the same; after that raise ConfigError.
    """
    settings, refused = readable_settings(config)
    try:
        yield settings, str(refused or "")
    except StoreError as error:
        raise refused or error from None
    if refused:
        raise ConfigError("", f"the configuration on disk is refused: {refused}; shown is what the store holds")


@contextmanager
def opened_store(
    settings: Settings, *, any_owner: bool = False, any_schema: bool = False, untouched: bool = False
) -> Iterator[Store]:
    """Open the configured store. It must exist and, unless `any_owner`, belong to the configured KUMA and IRP.

    With `untouched` it is only read, so this user needs no right to write.

    Raise StoreError where it is out of reach or its schema is newer (or, without `any_schema`, older), or ConfigError
    where it belongs to another KUMA or IRP.
    """
    store = open_store(settings, untouched=untouched)
    try:
        assure_usable(store, settings, any_schema=any_schema)
        if not any_owner:
            _assure_ours(store, settings)
        yield store
    finally:
        store.close()


def run_async(work: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> T:
    """Run a command's coroutine."""
    return asyncio.run(work(*arguments))


def _assure_ours(store: Store, settings: Settings) -> None:
    with store.reading() as tx:
        known = tx.targets.identity()
    if known is not None:
        refuse_another(known, meant(settings))


def say_if_it_waits(store: Store, ordered: Sequence[str]) -> bool:
    """If no daemon runs, say that the order waits on the queue; tell whether it waits."""
    if not ordered:
        return False
    with store.reading() as tx:
        now = running(store, tx)
    if now.daemon:
        return False
    show_line("No daemon is running: this waits on the queue until one does (`kuma-sync run`, or `run --once`).")
    return True


def before_us(tx: Tx, names: Sequence[str]) -> str:
    """Say in brackets who ordered something about the first of these lately; "" where nobody did."""
    who = done_to(tx, names[:MOST_NAMED])
    return "" if who is None else f" ({plain(str(who))})"


def named(tx: Tx, text: str) -> str:
    """Return the one subject that the text names, an exact match first; raise Unfinished for none or several."""
    wanted = text.strip().rstrip("…")  # as a narrow terminal shows it
    exact = _exact(tx, wanted) if wanted else None
    if exact is not None:
        return exact
    found = _beginning(tx, wanted) if len(wanted) >= SHORTEST_PREFIX else []
    if len(found) == 1:
        return found[0]
    by_incident = tx.overview.by_incident(wanted) if wanted else []
    if len(by_incident) == 1:
        return by_incident[0]
    if by_incident:
        raise Unfinished(f"incident {wanted!r} is joined to several alerts: {', '.join(by_incident[:MOST_NAMED])}")
    if found:
        raise Unfinished(f"{wanted!r} is the beginning of several alerts, give more of it")
    if 0 < len(wanted) < SHORTEST_PREFIX:
        raise Unfinished(f"there is no alert {wanted!r} here; give at least {SHORTEST_PREFIX} characters of its id")
    raise Unfinished(f"there is no alert {wanted!r} here; `kuma-sync alerts` lists them")


def _exact(tx: Tx, wanted: str) -> str | None:
    spellings = alert_spellings(wanted)
    known = tx.overview.named(spellings)
    return next((spelling for spelling in spellings if spelling in known), None)


def _beginning(tx: Tx, wanted: str) -> list[str]:
    """Return the subjects that begin with this text; if there is none, compare without case."""
    found = tx.overview.matching(wanted, limit=_SEVERAL)
    return found or tx.overview.matching(wanted, limit=_SEVERAL, any_case=True)


def looked_for(tx: Tx, text: str) -> str:
    """Return the one subject that the text names, also by a part of its name; raise Unfinished for none or several."""
    try:
        return named(tx, text)
    except Unfinished as unknown:
        found = tx.overview.by_name(text.strip()) if text.strip() else []
        if not found:
            raise unknown from None
    if len(found) == 1:
        return found[0].id
    exact = [one for one in found if one.name.casefold() == text.strip().casefold()]
    if len(exact) == 1:
        return exact[0].id
    some = "; ".join(f"{one.id} {plain(one.name)}" for one in found[:MOST_NAMED])
    more = f"; and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    raise Unfinished(f"{len(found)} alerts have {text.strip()!r} in their name, say which: {some}{more}")


def all_named(tx: Tx, texts: Sequence[str]) -> list[str]:
    """Return the subjects that the texts name, each once; raise Unfinished for the first unknown one."""
    return list(dict.fromkeys([named(tx, text) for text in texts]))
