"""`backfill`: what is brought, how many, and what of it waits for a human."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from kuma_sync.app.backfill import Backfilled, Order, Period
from kuma_sync.app.backfill import backfill as brought
from kuma_sync.cli.act import moment_or_ago
from kuma_sync.cli.options import actor, as_option, config_option, dry_run_option, examples, json_option
from kuma_sync.cli.progress import progress
from kuma_sync.cli.session import command_settings, opened_store, run_async, say_if_it_waits
from kuma_sync.cli.tables import ALERT, Column, show_json, show_line, show_table
from kuma_sync.core.handout import STATUSES
from kuma_sync.core.routing import IRP, NO_ROUTE
from kuma_sync.settings import Settings
from kuma_sync.sync.limits import Limits


@click.command(
    epilog=examples(
        "kuma-sync backfill --since 30d --dry-run",
        "kuma-sync backfill --since 2026-01-31T00:00:00Z --until 2026-02-28T00:00:00Z --status closed",
    )
)
@config_option
@as_option
@json_option
@dry_run_option
@click.option(
    "--since",
    required=True,
    callback=moment_or_ago,
    metavar="T",
    help="The period's beginning: RFC 3339, or how long ago (30d).",
)
@click.option("--until", callback=moment_or_ago, metavar="T", help="Its end, written the same way; else now.")
@click.option(
    "--status",
    metavar="STATUS",
    multiple=True,
    type=click.Choice(sorted(STATUSES)),
    help=f"Only alerts in this status ({', '.join(sorted(STATUSES))}); may be repeated.",
)
@click.pass_obj
def backfill(  # noqa: PLR0913, PLR0917  # one parameter an option, as click hands them in
    limits: Limits | None,
    config: Path | None,
    said: str | None,
    as_json: bool,
    dry_run: bool,
    since: datetime,
    until: datetime | None,
    status: Sequence[str],
) -> None:
    """Make incidents of the alerts first seen in a period, whatever their status, as if they were new.

    Those closed in KUMA are created, then closed. Alerts with an incident, and dropped ones, are left as they are, so
    it may be broken off and run again. Routes and brake.max_new are obeyed; poll.ignore_before and poll.unseen are not.
    """
    if until is not None and until < since:
        raise click.UsageError("--until lies before --since.")
    settings = command_settings(config)
    period = Period(since=since, until=until, statuses=tuple(status))
    found = run_async(_brought, settings, period, actor(said), dry_run, as_json, limits)
    raise SystemExit(1 if found.unreadable else 0)


async def _brought(  # what the command was given
    settings: Settings, period: Period, by: str, dry_run: bool, as_json: bool, limits: Limits | None
) -> Backfilled:
    with opened_store(settings) as store:
        try:
            with progress("listing KUMA's alerts") as told:
                found = await brought(settings, store, period, Order(by=by, dry_run=dry_run, told=told), limits)
        finally:
            await store.aclose()
        if as_json:
            show_json(found)
            return found
        _show(found)
        if not dry_run:
            say_if_it_waits(store, ["backfill"] if found.taken else [])
    return found


def _show(found: Backfilled) -> None:
    total, what = sum(found.taken.values()), "would become incidents" if found.dry_run else "become incidents"
    show_line(f"{found.listed} alerts in the period: {total} {what}, {found.known} are known and left as they are")
    for target, count in sorted(found.taken.items()):
        where = {IRP: "in the IRP", NO_ROUTE: "held, for no route takes them"}.get(target, f"in target {target}")
        show_line(f"  {count} {where}")
    statuses = ", ".join(f"{count} {status}" for status, count in sorted(found.statuses.items()))
    unreadable = ", ".join(found.unreadable[:5])
    facts = (
        (total, f"by status: {statuses}"),
        (found.closed, f"{found.closed} closed in KUMA: created, then closed"),
        (found.ignored, f"{found.ignored} ignored by a route"),
        (found.held, f"{found.held} held by the brake (brake.max_new): `kuma-sync release --creates` lets them go"),
        (found.no_alerts, f"{found.no_alerts} pieces of KUMA's answer are no alerts"),
        (len(found.unreadable), f"{len(found.unreadable)} could not be had from KUMA: {unreadable}"),
    )
    for count, fact in facts:
        if count:
            show_line(f"  {fact}")
    if found.dry_run and found.first:
        columns: list[str | Column] = [ALERT, "status", Column("name", least=12), "target"]
        show_table(columns, [[one.alert_id, one.status, one.name, one.target] for one in found.first], indent="  ")
        if total > len(found.first):
            show_line(f"  … and {total - len(found.first)} more")
