"""`status`: how things stand, on one screen.

Must not: change anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click

from kuma_sync.cli.options import command_settings, config_option, json_option, opened_store, run_async
from kuma_sync.cli.out import say
from kuma_sync.cli.tables import bytes_of, plain, show_json, show_table, since, span
from kuma_sync.core.window import Cursor
from kuma_sync.settings import Settings
from kuma_sync.store import DurableQueue, Identity, PassRecord, Tx
from kuma_sync.store.backlog import DEPTHS
from kuma_sync.store.migrate import check

MOST_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """One queue: jobs by state, and since when its oldest job waits or runs."""

    jobs: dict[str, int]
    oldest: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedJob:
    """What waits for a human: an alert (or a piece of KUMA's answer that is none), and why.

    `size` is how many bytes a piece has; None for an alert.
    """

    id: str
    queue: str
    reason: str
    size: int | None = None

    @property
    def why(self) -> str:
        """Return the reason as a table shows it, with a piece's size."""
        return self.reason if self.size is None else f"{self.reason} ({bytes_of(self.size)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a store stands."""

    now: datetime
    store: str
    schema: str | None
    identity: Identity | None
    cursor: Cursor
    reads: list[PassRecord]
    alerts: dict[str, int]
    queues: dict[str, Queue]
    parked: list[ParkedJob]
    held: list[str]


@click.command()
@config_option
@json_option
def status(config: Path | None, as_json: bool) -> None:
    """Tell the last reads, counts by state, both queues, and what is parked or held."""
    found = run_async(_look, command_settings(config, remotes=False))
    if as_json:
        show_json(found)
    else:
        _show(found)


async def _look(settings: Settings) -> Status:
    async with opened_store(settings) as store:
        schema = await check(store)
        async with store.read() as tx:
            return Status(
                now=tx.now,
                store=settings.store.url,
                schema=schema,
                identity=await tx.records.identity(),
                cursor=await tx.records.cursor(),
                reads=await tx.records.last_pass_by_kind(),
                alerts=await tx.overview.counts(),
                queues={"delivery": await _deliveries(tx), "close": await _queue(tx.closes)},
                parked=await parked_jobs(tx),
                held=await _held(tx),
            )


async def _queue(queue: DurableQueue) -> Queue:
    depths = await queue.depths()
    return Queue(jobs={state: depths.get(state, 0) for state in DEPTHS}, oldest=await queue.oldest())


async def _deliveries(tx: Tx) -> Queue:
    queue = await _queue(tx.delivery)
    queue.jobs["held"] += len(await tx.links.held())  # no jobs yet: the brake marks links
    return queue


async def parked_jobs(tx: Tx) -> list[ParkedJob]:
    """Return everything that is parked: deliveries, closings, and pieces that are no alerts."""
    queues = (("delivery", tx.delivery), ("close", tx.closes))
    jobs = [(name, job) for name, queue in queues for job in await queue.jobs(states=["parked"])]
    pieces = [
        ParkedJob(id=one.digest, queue="delivery", reason=one.reason, size=one.size)
        for one in await tx.records.parked()
    ]
    return [ParkedJob(id=job.subject, queue=name, reason=job.reason) for name, job in jobs] + pieces


async def _held(tx: Tx) -> list[str]:
    return sorted({*await tx.links.held(), *(job.subject for job in await tx.closes.jobs(states=["held"]))})


def _show(found: Status) -> None:
    ago = since(found.now)
    owner = found.identity
    say(f"store     {plain(found.store)}, schema {plain(found.schema)}")
    if owner is not None:
        joined = f"KUMA {owner.kuma_instance!r} and {owner.irp_url} by profile {owner.profile}"
        say(f"joins     {plain(joined)}")
    say(f"KUMA      newest alert seen {plain(found.cursor.watermark)}")
    say(f"          last complete sweep {ago(found.cursor.swept_at)}")
    say("alerts    " + (", ".join(f"{count} {state}" for state, count in found.alerts.items() if count) or "none"))
    say()
    _show_reads(found)
    show_table(
        ["queue", *DEPTHS, "oldest"],
        [
            [name, *queue.jobs.values(), span((found.now - queue.oldest).total_seconds()) if queue.oldest else None]
            for name, queue in found.queues.items()
        ],
    )
    _show_parked(found)
    if found.held:
        say(f"\n{len(found.held)} held by the brake; `kuma-sync alerts --state held`, then `kuma-sync release`")


def _show_reads(found: Status) -> None:
    ago = since(found.now)
    if not found.reads:
        say("No read yet.\n")
        return
    show_table(
        ["last read", "when", "took", "complete", "seen", "new", "changed", "left", "rejected", "error"],
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
    say(f"\n{len(found.parked)} parked; `kuma-sync retry --all` when the reason is gone, or retry or drop one:")
    show_table(
        ["id", "queue", "reason"], [[job.id, job.queue, job.why] for job in found.parked[:MOST_SHOWN]], indent="  "
    )
    if len(found.parked) > MOST_SHOWN:
        say(f"  … and {len(found.parked) - MOST_SHOWN} more: `kuma-sync alerts --state parked`")
