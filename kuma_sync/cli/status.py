"""`status`: how things stand, on one screen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from kuma_sync.app.flow import flow, flowing
from kuma_sync.app.identity import meant
from kuma_sync.app.local_diagnostics import file_troubles
from kuma_sync.app.processes import Running, running
from kuma_sync.app.pullers import Puller
from kuma_sync.app.standing import Facts, Verdict, standing, unrouted_held
from kuma_sync.app.takeover import refuse_another
from kuma_sync.cli.options import config_option, examples, json_option
from kuma_sync.cli.out import NobodyReads, say
from kuma_sync.cli.session import looking, opened_store, readable_settings
from kuma_sync.cli.tables import (
    Column,
    ago_first,
    beside,
    bytes_of,
    plain,
    show_json,
    show_line,
    show_table,
    with_state,
)
from kuma_sync.cli.watch import watch
from kuma_sync.core.errors import ConfigError
from kuma_sync.core.maintenance import Maintenance
from kuma_sync.core.moments import span
from kuma_sync.core.routing import IRP
from kuma_sync.core.window import Cursor
from kuma_sync.settings import Settings
from kuma_sync.store import Identity, PassRecord
from kuma_sync.store.jobs import Depth
from kuma_sync.store.migrate import check
from kuma_sync.store.queue import QueueCounts
from kuma_sync.store.read_models.activity import A_DAY, Slot
from kuma_sync.store.read_models.overview import AlertState
from kuma_sync.store.read_models.waiting import Held, Named, ParkedJob, QueueName

MOST_SHOWN = 10
REFRESHED_EVERY = 5
LABEL = 10
"""Characters of a line before its facts begin."""

SPARED = {Depth.POSTPONED, Depth.RUNNING}
"""The columns that a narrow terminal does without."""

EPILOG = examples(
    "kuma-sync status",
    "kuma-sync status --watch 2",
    "kuma-sync status --json | jq .queues",
    "kuma-sync status --exit-code > /dev/null || echo 'kuma-sync needs a look'",
    codes="0 shown, 1 the store cannot be read, 2 wrong usage or configuration; with --exit-code also "
    "1 it needs a look, 3 it does not run.",
)

SIDES = {"irp": "the IRP", "kuma": "KUMA"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The state of a store and of the processes on it. `refused`: why the configuration on disk cannot be read."""

    now: datetime
    verdict: Verdict
    flow: str
    standing: list[str]
    running: Running
    refused: str
    store: str
    schema: str | None
    identity: Identity | None
    cursor: Cursor
    reads: list[PassRecord]
    alerts: dict[AlertState, int]
    last_day: dict[str, int]
    queues: dict[QueueName, QueueCounts]
    targets: dict[str, QueueCounts]
    parked: list[ParkedJob]
    held: list[Held]
    unrouted: list[Named]
    polling: list[Puller]
    paused: list[Maintenance]


@click.command(epilog=EPILOG)
@config_option
@json_option
@click.option(
    "--watch",
    "every",
    is_flag=False,
    flag_value=REFRESHED_EVERY,
    type=click.FloatRange(min=0.5),
    metavar="[SECONDS]",
    help=f"Show it again every so many seconds ({REFRESHED_EVERY}), on a terminal, until Ctrl-C.",
)
@click.option("--exit-code", "judged", is_flag=True, help="Exit with 1 if it needs a look, with 3 if it does not run.")
def status(config: Path | None, as_json: bool, every: float | None, judged: bool) -> None:
    """Say whether the daemon runs and what needs a look; show counts and queues."""
    if every is not None:
        if as_json:
            raise click.UsageError("Say --json or --watch, not both.")
        watch(partial(_show_now, config), every=every)
        return
    with looking(config) as (settings, refused):
        found = _look(settings, refused)
        # With `status --exit-code | head -1`, too, the exit code must always be that of the verdict.
        with suppress(NobodyReads):
            if as_json:
                show_json(found)
            else:
                _show(found)
        if judged:
            raise SystemExit(found.verdict.exit_code)


def _show_now(config: Path | None) -> None:
    settings, refused = readable_settings(config)
    _show(_look(settings, str(refused or "")))


def _look(settings: Settings, refused: str) -> Status:
    with opened_store(settings, any_owner=True, untouched=True) as store:
        schema = check(store)
        with store.reading() as tx:
            parked, held, unrouted = tx.waiting.parked(), tx.waiting.held(), tx.waiting.unrouted()
            running_now = running(store, tx)
            identity = tx.targets.identity()
            refused = refused or _of_another(settings, identity, running_now)
            seen = flowing(tx, running_now, refused=refused)
            facts = Facts(
                now=tx.now,
                store=settings.store.url,
                running=running_now,
                refused=refused,
                changed=_changed_at(settings.file),
                files=file_troubles(settings.store),
                parked=len(parked),
                held=held,
                unrouted=len(unrouted),
                paused=seen.paused,
            )
            judged = standing(facts)
            return Status(
                now=tx.now,
                verdict=judged.verdict,
                flow=flow(seen).english(tx.now),
                standing=[line.english(tx.now) for line in judged.lines],
                running=running_now,
                refused=refused,
                store=settings.store.url,
                schema=schema,
                identity=identity,
                cursor=tx.cursor.read(),
                reads=tx.audit.last_pass_by_kind(),
                alerts=dict(seen.alerts),
                last_day=_happened(tx.happened.last(A_DAY)),
                queues=tx.queues(),
                targets=dict(seen.deliveries),
                parked=parked,
                held=held,
                unrouted=unrouted,
                polling=list(seen.polling),
                paused=list(seen.paused),
            )


def _changed_at(file: Path | None) -> datetime | None:
    """Return when the configuration's file was changed last; None where there is none, or it cannot be looked at."""
    try:
        return None if file is None else datetime.fromtimestamp(int(file.stat().st_mtime), UTC)
    except OSError:
        return None


def _happened(day: Slot) -> dict[str, int]:
    """Count what happened, as the charts of the console do."""
    return {
        "new alerts": day.kuma.arrived,
        "changed": day.kuma.changed,
        "deliveries": day.irps.delivered,
        "closings": day.kuma.closed + day.irps.closed,
    }


def _of_another(settings: Settings, owner: Identity | None, running_now: Running) -> str:
    """Say that the store belongs to another KUMA or IRP than the configured ones; '' if it does not.

    If no daemon runs, raise ConfigError: then the store is wrong, and not the configuration that was changed meanwhile.
    """
    try:
        if owner is not None:
            refuse_another(owner, meant(settings))
    except ConfigError as error:
        if not running_now.daemon:
            raise
        return str(error)
    return ""


def why_of(job: ParkedJob) -> str:
    """Return the reason as a table shows it, with a piece's size."""
    return job.reason if job.size is None else f"{job.reason} ({bytes_of(job.size)})"


def _show(found: Status) -> None:
    when = beside(found.now)
    owner = found.identity
    for line in (*found.standing, found.flow):
        show_line(*with_state(line))
    say()
    show_line(f"store     {found.store}, schema {plain(found.schema)}", indent=LABEL)
    if owner is not None:
        show_line(f"joins     KUMA {owner.kuma_instance!r}")
        for name, irp in owner.targets.items():
            show_line(f"          {'IRP' if name == IRP else f'target {name}'} {irp}", indent=LABEL)
    for one in found.polling:
        asked = f"last asked {when(one.asked_at)}" if one.asked_at else "never asked"
        show_line(f"polls us  {plain(one.target)} {asked}; {one.waits} to be handed out", indent=LABEL)
    show_line(f"KUMA      newest alert seen {when(found.cursor.watermark)}")
    show_line(f"          last complete sweep {when(found.cursor.swept_at)}")
    show_line(
        "alerts    " + (", ".join(f"{count} {state}" for state, count in found.alerts.items() if count) or "none"),
        indent=LABEL,
    )
    show_line("last 24 h " + ", ".join(f"{what} {count}" for what, count in found.last_day.items()), indent=LABEL)
    say()
    _show_reads(found)
    _show_queues(found)
    _show_parked(found)
    _show_held(found)
    show_unrouted(found.unrouted)


def _show_queues(found: Status) -> None:
    """Show both queues; deliveries of each target by themselves where there are several."""
    rows: dict[str, QueueCounts] = {name: counts for name, counts in found.queues.items()}
    known = found.identity.targets if found.identity is not None else {}
    names = sorted(known | found.targets.keys())
    if names != [IRP]:
        # A broken target may be none of the store's yet, and have jobs.
        rows |= {f"→ {name}": found.targets.get(name, QueueCounts()) for name in names}
    show_table(
        ["queue", *(Column(depth, spared=int(depth in SPARED)) for depth in Depth), "oldest"],
        [
            [
                name,
                *(queue.jobs.get(depth, 0) for depth in Depth),
                span((found.now - queue.oldest).total_seconds()) if queue.oldest else None,
            ]
            for name, queue in rows.items()
        ],
    )


def _show_reads(found: Status) -> None:
    ago = ago_first(found.now)
    if not found.reads:
        say("No read yet.\n")
        return
    columns: list[str | Column] = ["last read", Column("when", brief=","), Column("took", spared=1), "complete"]
    numbers = [Column(name, spared=1) for name in ("seen", "new", "changed", "left", "rejected")]
    show_table(
        [*columns, *numbers, Column("error", least=12)],
        [
            [
                *(read.kind, ago(read.started_at), f"{read.seconds:.1f} s", read.complete),
                *(read.seen, read.appeared, read.changed, read.left, read.rejected, read.error or None),
            ]
            for read in found.reads
        ],
    )
    say()


def _show_parked(found: Status) -> None:
    if not found.parked:
        return
    say()
    show_line(f"{len(found.parked)} parked; `kuma-sync retry --all` when the reason is gone, or retry or drop one:")
    show_table(
        [Column("id", least=9), Column("towards", spared=1), Column("reason", wraps=True)],
        [[job.id, SIDES[job.towards], why_of(job)] for job in found.parked[:MOST_SHOWN]],
        indent="  ",
    )
    and_more(len(found.parked), "parked")


def _show_held(found: Status) -> None:
    if not found.held:
        return
    say()
    show_line(f"{len(found.held)} held by the brake; `kuma-sync release` lets go of all, or of some:")
    show_table(
        [Column("id", least=9), "towards", Column("name", least=8, spared=1), Column("reason", wraps=True)],
        [[one.id, SIDES[one.towards], one.name, one.reason] for one in found.held[:MOST_SHOWN]],
        indent="  ",
    )
    and_more(len(found.held), "held")


def show_unrouted(unrouted: Sequence[Named]) -> None:
    """List alerts that are held because no route takes them."""
    if not unrouted:
        return
    say()
    show_line(f"{unrouted_held(len(unrouted))}:")
    rows = [[one.id, one.name] for one in unrouted[:MOST_SHOWN]]
    show_table([Column("id", least=9), Column("name", least=12)], rows, indent="  ")
    and_more(len(unrouted), "held")


def and_more(count: int, state: str) -> None:
    """Say how many a short list leaves out, and which command lists all."""
    if count > MOST_SHOWN:
        show_line(f"  … and {count - MOST_SHOWN} more: `kuma-sync alerts --state {state}`")
