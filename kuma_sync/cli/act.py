"""`retry`, `drop`, `resync`, `release`: what an operator may do by hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from kuma_sync.app.hiding import unlocked
from kuma_sync.app.identity import routing_of
from kuma_sync.app.remotes import MEND, usable_profile
from kuma_sync.app.standing import HOW_TO_ROUTE, held_counts, unrouted_held
from kuma_sync.cli.options import (
    Order,
    Unfinished,
    actor,
    agreed,
    as_option,
    config_option,
    dry_run_option,
    examples,
    yes_option,
)
from kuma_sync.cli.progress import progress
from kuma_sync.cli.session import all_named, before_us, command_settings, named, opened_store, say_if_it_waits
from kuma_sync.cli.status import MOST_SHOWN, SIDES, and_more
from kuma_sync.cli.tables import ALERT, Column, plain, show_line, show_table
from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import ConfigError, StoreUnavailable
from kuma_sync.core.routing import UNROUTED
from kuma_sync.kuma.parse import parse_alert
from kuma_sync.settings import Settings, types
from kuma_sync.store import Store, Tx
from kuma_sync.store.dialect import batches
from kuma_sync.store.read_models.waiting import Held
from kuma_sync.sync import operator

AT_ONCE = 500
"""Alerts that one transaction takes up: a daemon beside it must not wait for all of them."""


def moment_or_ago(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    """Read RFC 3339, or how long ago."""
    if text is None:
        return None
    try:
        return datetime.now(UTC) - types.duration(text)
    except ValueError:
        pass
    try:
        moment = types.moment(text)
    except ValueError:
        moment = None
    if moment is None:
        raise click.BadParameter('expected a time such as "2026-01-31T00:00:00Z", or how long ago, such as "2h"')
    return moment


@click.command(epilog=examples("kuma-sync retry --all", "kuma-sync retry 5f0c2a3e 77ab01cd"))
@config_option
@as_option
@click.argument("alert", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All that is parked.")
def retry(config: Path | None, said: str | None, alert: Sequence[str], everything: bool) -> None:
    """Put parked jobs back to the queue."""
    _one_of(alert, everything)
    _retry(command_settings(config, remotes=False), actor(said), alert)


@click.command(epilog=examples("kuma-sync drop 5f0c2a3e --dry-run", "kuma-sync drop 5f0c2a3e"))
@config_option
@as_option
@yes_option
@dry_run_option
@click.argument("alert")
def drop(config: Path | None, said: str | None, yes: bool, dry_run: bool, alert: str) -> None:
    """Give an alert or a parked job up for good; later changes of the alert do not wake it.

    It says which one it is, and asks.
    """
    order = Order(by=actor(said), yes=yes, dry_run=dry_run)
    _drop(command_settings(config, remotes=False), order, alert)


@click.command(
    epilog=examples("kuma-sync resync 5f0c2a3e", "kuma-sync resync --since 2h", "kuma-sync resync --all --dry-run")
)
@config_option
@as_option
@yes_option
@dry_run_option
@click.argument("alert", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All alerts that are not ignored or dropped.")
@click.option(
    "--since", callback=moment_or_ago, metavar="T", help="Alerts last seen since then: RFC 3339, or how long ago (2h)."
)
def resync(  # noqa: PLR0913, PLR0917  # one parameter an option, as click hands them in
    config: Path | None,
    said: str | None,
    yes: bool,
    dry_run: bool,
    alert: Sequence[str],
    everything: bool,
    since: datetime | None,
) -> None:
    """Find the incident in the IRP, then send a full update, over analysts' edits too.

    With --all or --since it says how many and what is overwritten, and asks; so it does before an alert is taken up
    again that was dropped.
    """
    _one_of(alert, everything or since is not None, "--all or --since T")
    order = Order(by=actor(said), yes=yes, dry_run=dry_run)
    _resync(command_settings(config, remotes=False), order, alert, since)


@click.command(
    epilog=examples("kuma-sync release --dry-run", "kuma-sync release --creates", "kuma-sync release 5f0c2a3e")
)
@config_option
@as_option
@yes_option
@dry_run_option
@click.argument("alert", nargs=-1)
@click.option("--creates", is_flag=True, help="Only incidents to be created.")
@click.option("--closings", is_flag=True, help="Only closings, towards KUMA and the IRP.")
def release(  # noqa: PLR0913, PLR0917  # as above
    config: Path | None,
    said: str | None,
    yes: bool,
    dry_run: bool,
    alert: Sequence[str],
    creates: bool,
    closings: bool,
) -> None:
    """Let go what the brake holds: all of it, or these.

    It says how many and what, and asks.
    """
    order = Order(by=actor(said), yes=yes, dry_run=dry_run)
    kinds = {kind for kind, wanted in (("create", creates), ("close", closings)) if wanted} or {"create", "close"}
    _release(command_settings(config, remotes=False), order, alert, kinds)


def _one_of(alerts: Sequence[str], by_option: bool, option: str = "--all") -> None:
    if bool(alerts) == by_option:
        both = "not both" if alerts else "there is neither"
        raise click.UsageError(f"Name alerts, or say {option}: {both}.")


def _retry(settings: Settings, by: str, texts: Sequence[str]) -> None:
    with opened_store(settings) as store:
        with store.writing() as tx:
            wanted = all_named(tx, texts) if texts else operator.parked_subjects(tx)
            done = operator.retry(tx, wanted, by=by)
            pieces = {piece.digest for piece in tx.rejects.waiting()}
        routing = routing_of(settings)
        parse = partial(
            parse_alert,
            with_events=True,
            max_events=settings.poll.max_events,
            privacy=unlocked(store, settings.privacy),
        )
        for name in sorted(pieces.intersection(wanted)):
            # One after the other: a piece may be as large as poll.max_alert_size, and there may be many.
            if operator.read_again(store, name, by=by, routing=routing, parse=parse):
                done.append(name)
        _tell(done, "back on the queue", nothing="Nothing is parked.")
        say_if_it_waits(store, done)
        left = [name for name in wanted if name not in done]
        with store.reading() as tx:
            who = before_us(tx, left)
    if left:
        raise Unfinished(f"not parked, or still no alert: {', '.join(left)}{who}; `kuma-sync show` tells more")


def _drop(settings: Settings, order: Order, text: str) -> None:
    with opened_store(settings) as store:
        with store.reading() as tx:
            name = named(tx, text)
            what = _described(tx, name)
            dropped_before, who = bool(operator.dropped_among(tx, [AlertId(name)])), before_us(tx, [name])
        if dropped_before:
            raise Unfinished(f"{name} was dropped already{who}; `kuma-sync resync {name}` takes it up again")
        if order.is_seen_first:
            show_line(f"{plain(name)}: {what}")
        if order.dry_run:
            show_line("It would be dropped.")
            return
        agreed("Drop it: no incident, update or closing any more, whatever becomes of the alert?", yes=order.yes)
        with store.writing() as tx:
            if not operator.drop(tx, name, by=order.by):
                raise Unfinished(f"{name} was dropped already{before_us(tx, [name])}")
    show_line(f"{plain(name)}: dropped. An alert can be taken up again: `kuma-sync resync {plain(name)}`.")


def _described(tx: Tx, name: str) -> str:
    """Describe an alert in a few words: its name, its state and its incident."""
    alert_id = AlertId(name)
    snapshot = tx.alerts.snapshots([alert_id]).get(alert_id)
    if snapshot is None:
        return "no alert that is known here, but what is parked for it"
    link = tx.links.get(alert_id)
    incident = link.incident if link else None
    has = f"incident {plain(incident.number or incident.id)}" if incident else "no incident yet"
    return f"{plain(snapshot.alert.name)!r} ({tx.overview.state(alert_id)}, {has})"


def _resync(settings: Settings, order: Order, texts: Sequence[str], since: datetime | None) -> None:
    with opened_store(settings) as store:
        with store.reading() as tx:
            if texts:
                wanted = [AlertId(name) for name in all_named(tx, texts)]
                dropped, known = operator.dropped_among(tx, wanted), len(tx.links.many(wanted))
            else:
                # All that have a link and are not dropped; links are heavy, and there may be very many.
                wanted = operator.seen_since(tx, since)
                dropped, known = [], len(wanted)
            described = [f"{plain(name)}: {_described(tx, name)}, was dropped" for name in dropped]
            unrouted = set(tx.links.unrouted())
        if not texts and wanted and order.is_seen_first:
            show_line(_overwritten(settings, len(wanted)))
        for line in described if order.is_seen_first else []:
            show_line(line)
        if order.dry_run:
            show_line(f"{known} alerts would be found and fully updated.")
            return
        if not texts and wanted:
            agreed(f"Resync {len(wanted)} alerts?", yes=order.yes)
        if dropped:
            agreed("Take up again what was dropped?", yes=order.yes)
        done, waits = _taken_up(store, wanted, by=order.by, dropped=bool(dropped))
        if done or not waits:
            _tell(done, "will be found and fully updated", nothing="There is nothing to resync.")
        _say_what_waits(store, waits)
        _say_without_route([] if texts else unrouted)
        say_if_it_waits(store, done)
    _refuse(
        [name for name in wanted if name not in {*done, *waits}],
        unrouted,
        "no alert: {}; `kuma-sync show` tells what it is",
    )


def _say_without_route(unrouted: Collection[str]) -> None:
    if unrouted:
        show_line(f"{unrouted_held(len(unrouted))}; {HOW_TO_ROUTE}.")


def _refuse(left: Sequence[str], unrouted: Collection[str], why: str) -> None:
    """Raise Unfinished where alerts are left over: for want of a route, or as `why` says of their names."""
    if left:
        names, routeless = ", ".join(left), set(left) <= set(unrouted)
        raise Unfinished(f"{names}: {UNROUTED}; {HOW_TO_ROUTE}" if routeless else why.format(names))


def _say_what_waits(store: Store, waits: Sequence[AlertId]) -> None:
    """Say of which alerts the same was ordered before, and is yet to be done."""
    if not waits:
        return
    with store.reading() as tx:
        who = before_us(tx, waits)
    what = plain(waits[0]) if len(waits) == 1 else f"{len(waits)} alerts"
    show_line(f"{what}: a resync was ordered already, and is yet to be done{who}.")


def _taken_up(
    store: Store, wanted: Sequence[AlertId], *, by: str, dropped: bool
) -> tuple[list[AlertId], list[AlertId]]:
    """Order it; return the alerts taken up, and those of which it was ordered before and is yet to be done."""
    done, waits = list[AlertId](), list[AlertId]()
    try:
        with progress("taking them up") as told:
            for some in batches(wanted, AT_ONCE):
                with store.writing() as tx:
                    waiting = operator.resync_waits(tx, some)
                    fresh = [one for one in some if one not in set(waiting)]
                    done += operator.resync(tx, fresh, by=by, dropped=dropped)
                waits += waiting
                told(f"{len(done)} of {len(wanted)} taken up")
    except StoreUnavailable:
        show_line(f"{len(done)} of {len(wanted)} alerts were taken up before the store failed.")
        raise
    return done, waits


def _overwritten(settings: Settings, count: int) -> str:
    sent, waits = list[str](), list[str]()
    for name in settings.named:
        try:
            profile = usable_profile(settings, name)
        except ConfigError as error:
            waits.append(f" What goes to {name} waits: target {name} cannot be used: {error}{MEND}.")
            continue
        operation = profile.update or profile.create
        sent += (operation.body or {}) if operation is not None else ()
    fields = ", ".join(dict.fromkeys(sent)) or "everything"
    return (
        f"{count} alerts: each one's incident is looked for and gets all that we send, over what analysts wrote there:"
        f" {fields}.{''.join(waits)}"
    )


def _release(settings: Settings, order: Order, texts: Sequence[str], kinds: set[str]) -> None:
    with opened_store(settings) as store:
        with store.reading() as tx:
            wanted = all_named(tx, texts)
            held = [one for one in tx.waiting.held() if one.what in kinds and (not texts or one.id in wanted)]
            unrouted = set(tx.links.unrouted())
        if held:
            if order.is_seen_first:
                _show_held(held)
            if order.dry_run:
                show_line("They would be released.")
                return
            agreed(f"Release {len(held)}?", yes=order.yes)
            with store.writing() as tx:
                released = operator.release(tx, by=order.by, what=held)
                who = before_us(tx, sorted({one.id for one in held} - set(released)))
            _tell(released, "released", nothing=f"The brake holds nothing of these any more{who}.")
            say_if_it_waits(store, released)
        elif not texts:
            show_line("The brake holds nothing.")
        _say_without_route([] if texts else unrouted)
    left = [name for name in wanted if name not in {one.id for one in held}]
    _refuse(left, unrouted, "not held by the brake: {}; `kuma-sync show` tells more")


def _show_held(held: Sequence[Held]) -> None:
    counts = ", ".join(map(str, held_counts(held)))
    show_line(f"{len(held)} held by the brake: {counts}")
    rows = [[one.id, f"{one.what} in {SIDES[one.towards]}", one.name] for one in held[:MOST_SHOWN]]
    show_table([ALERT, "what", Column("name", least=12)], rows, indent="  ")
    and_more(len(held), "held")


def _tell(names: Sequence[str], what: str, *, nothing: str) -> None:
    for name in names:
        show_line(f"{plain(name)}: {what}")
    if len(names) > 1:
        show_line(f"{len(names)} alerts {what}.")
    elif not names:
        show_line(nothing)
