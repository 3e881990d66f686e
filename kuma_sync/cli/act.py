"""`retry`, `drop`, `resync`, `release`: what an operator may do by hand.

Must not: decide anything; that is daemon.operator, and the daemon does the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from kuma_sync.cli.flags import Unfinished
from kuma_sync.cli.options import asking, command_settings, config_option, opened_store, run_async
from kuma_sync.cli.out import say
from kuma_sync.cli.subjects import all_named, named
from kuma_sync.cli.tables import plain
from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.daemon import operator
from kuma_sync.settings import Settings, units
from kuma_sync.store import Tx
from kuma_sync.store.dialect import batches

AT_ONCE = 500
"""Alerts that one transaction takes up: a daemon beside it must not wait for all of them."""


def _moment(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    """Read RFC 3339, or how long ago."""
    if text is None:
        return None
    try:
        return datetime.now(UTC) - units.duration(text)
    except ValueError:
        pass
    try:
        moment = units.moment(text)
    except ValueError:
        moment = None
    if moment is None:
        raise click.BadParameter('expected a time such as "2026-01-31T00:00:00Z", or how long ago, such as "2h"')
    return moment


@click.command()
@config_option
@click.argument("alert", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that is parked.")
def retry(config: Path | None, alert: Sequence[str], everything: bool) -> None:
    """Put parked jobs back to the queue."""
    _one_of(alert, everything)
    run_async(_retry, command_settings(config, remotes=False), alert)


@click.command()
@config_option
@click.argument("alert")
def drop(config: Path | None, alert: str) -> None:
    """Give an alert or a parked job up for good; later changes of the alert do not wake it."""
    run_async(_drop, command_settings(config, remotes=False), alert)


@click.command()
@config_option
@click.argument("alert", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All alerts that are not ignored or dropped.")
@click.option(
    "--since", callback=_moment, metavar="T", help="Those last seen since then: RFC 3339, or how long ago (2h)."
)
def resync(config: Path | None, alert: Sequence[str], everything: bool, since: datetime | None) -> None:
    """Find the incident in the IRP, then send a full update, over analysts' edits too."""
    _one_of(alert, everything or since is not None, "--all or --since T")
    run_async(_resync, command_settings(config, remotes=False), alert, since)


@click.command()
@config_option
def release(config: Path | None) -> None:
    """Let go what the brake holds."""
    run_async(_release, command_settings(config, remotes=False))


def _one_of(alerts: Sequence[str], by_option: bool, option: str = "--all") -> None:
    if bool(alerts) == by_option:
        both = "not both" if alerts else "there is neither"
        raise click.UsageError(f"Name alerts, or say {option}: {both}.")


async def _retry(settings: Settings, texts: Sequence[str]) -> None:
    async with opened_store(settings) as store:
        async with store.begin() as tx:
            wanted = await all_named(tx, texts) if texts else await operator.parked_subjects(tx)
            done = await operator.retry(tx, wanted, by=asking())
            pieces = {piece.digest for piece in await tx.records.parked()}
        for name in sorted(pieces.intersection(wanted)):
            # One after the other: a piece may be as large as poll.max_alert_size, and there may be many.
            if await operator.read_again(store, name, by=asking(), max_events=settings.poll.max_events):
                done.append(name)
    _tell(done, "back on the queue", nothing="Nothing is parked.")
    left = [name for name in wanted if name not in done]
    if left:
        raise Unfinished(f"not parked, or still no alert: {', '.join(left)}; `kuma-sync show` tells more")


async def _drop(settings: Settings, text: str) -> None:
    async with opened_store(settings) as store, store.begin() as tx:
        name = await named(tx, text)
        if not await operator.drop(tx, name, by=asking()):
            raise Unfinished(f"{name} was dropped already")
    say(f"{plain(name)}: dropped for good.")


async def _resync(settings: Settings, texts: Sequence[str], since: datetime | None) -> None:
    done: list[str] = []
    async with opened_store(settings) as store:
        async with store.read() as tx:
            wanted = [AlertId(name) for name in await all_named(tx, texts)] if texts else await _seen_since(tx, since)
        try:
            for some in batches(wanted, AT_ONCE):
                async with store.begin() as tx:
                    done += await operator.resync(tx, some, by=asking())
        except StoreUnavailable:
            say(f"{len(done)} of {len(wanted)} alerts were taken up before the store failed.")
            raise
    _tell(done, "will be found and fully updated", nothing="There is nothing to resync.")
    left = [name for name in wanted if name not in done]
    if left:
        raise Unfinished(f"dropped, or no alert: {', '.join(left)}")


async def _seen_since(tx: Tx, since: datetime | None) -> list[AlertId]:
    ids = await tx.links.all_ids()
    if since is None:
        return ids
    pictures = await tx.alerts.pictures(ids)
    seen = {alert_id: picture.alert.last_seen for alert_id, picture in pictures.items()}
    return [alert_id for alert_id in ids if (moment := seen.get(alert_id)) is not None and moment >= since]


async def _release(settings: Settings) -> None:
    async with opened_store(settings) as store, store.begin() as tx:
        released = await operator.release(tx, by=asking())
    _tell(released, "released", nothing="The brake holds nothing.")


def _tell(names: Sequence[str], what: str, *, nothing: str) -> None:
    for name in names:
        say(f"{plain(name)}: {what}")
    if len(names) > 1:
        say(f"{len(names)} alerts {what}.")
    elif not names:
        say(nothing)
