"""`run --once --dry-run`: what a pass would do, found out on a copy of the store that is thrown away.

The copy is polled as the store would be, so every decision is the daemon's own; nothing is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from kuma_sync.app.build import RuntimeBuilder, open_store, utc_now
from kuma_sync.app.one_pass import at_once
from kuma_sync.app.processes import refuse_second
from kuma_sync.app.remotes import Remotes, open_remotes, template_context
from kuma_sync.app.shared_state import SharedState
from kuma_sync.app.usable_store import make_ready
from kuma_sync.core.alert import AlertId
from kuma_sync.irp.rendering import Draft
from kuma_sync.settings import Settings, sqlite_path
from kuma_sync.settings.paths import may_exist
from kuma_sync.store import Job, Store, StoreLimits, Tx, store_url
from kuma_sync.store.jobs import JobState
from kuma_sync.store.migrate import check, outdated, upgrade
from kuma_sync.store.read_models.overview import AlertState
from kuma_sync.store.read_models.waiting import Held, Named
from kuma_sync.store.revisions import head
from kuma_sync.sync.closing.requests import read_order
from kuma_sync.sync.delivery.forecast import Forecast, Forecaster
from kuma_sync.sync.delivery.unit_of_work import load_states
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import sweep

AT_ONCE = 50
"""Alerts whose contents are in memory at once."""

_WAITING = (JobState.PENDING, JobState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """An alert, and what would become of its incident."""

    alert_id: AlertId
    name: str
    priority: str
    status: str
    would: Forecast


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedClosing:
    """An alert that would be closed in KUMA."""

    alert_id: AlertId
    name: str
    reason: str


@dataclass(slots=True, kw_only=True)
class TargetPlan:
    """What a pass would do in one target. Of a broken one `problem` says what is wrong, and so many alerts wait."""

    irp: str
    planned: list[Planned] = field(default_factory=list)
    problem: str = ""
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a pass would do. `alerts` counts them by their states as they would be before anything is sent.

    `troubles` are what went wrong when KUMA was read: then this is not all. `paused` says what a pass leaves alone.
    """

    targets: dict[str, TargetPlan]
    kuma: Sequence[PlannedClosing]
    held: Sequence[Held]
    unrouted: Sequence[Named]
    parked: int
    alerts: dict[AlertState, int]
    troubles: Sequence[str]
    paused: Sequence[str] = ()


async def dry_pass(settings: Settings, limits: Limits | None = None) -> DryRun:
    """Find out what one complete pass would do. Raise ConfigError, StoreError, RemoteError or GateClosed."""
    settings, limits = at_once(settings), limits or Limits()
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(copy_of_store(settings, limits.store))
        shared = SharedState(store=store, limits=limits)
        remotes = await open_remotes(settings, utc_now, limits, stack)
        runtime = RuntimeBuilder(settings, shared, remotes).runtime()
        await asyncio.to_thread(refuse_second, settings, runtime.identity)
        await make_ready(store, runtime, shared.owner)
        paused = await runtime.maintenance.look()
        async with runtime.leader.kept():
            troubles = await sweep(runtime)
        plan = await _plan(settings, runtime, remotes, troubles)
        return replace(plan, paused=[one.reason for one in paused])


@asynccontextmanager
async def copy_of_store(settings: Settings, limits: StoreLimits) -> AsyncIterator[Store]:
    """Copy the configured store into a file of its own, removed at the end; an absent or empty one gives an empty copy.

    Raise StoreError where it is out of reach, or has another schema.
    """
    with TemporaryDirectory(prefix="kuma-sync-dry-run-") as folder:
        copy = Store(store_url(f"sqlite:///{Path(folder) / 'copy.db'}"), clock=utc_now, limits=limits)
        try:
            await asyncio.to_thread(_fill, copy, settings, limits)
            yield copy
        finally:
            await copy.aclose()


def _fill(copy: Store, settings: Settings, limits: StoreLimits) -> None:
    upgrade(copy)
    path = sqlite_path(settings.store.url)
    if path and not may_exist(Path(path)):
        return
    store = open_store(settings, untouched=True, limits=limits)
    try:
        revision = check(store)
        if revision not in (None, head()):
            raise outdated(revision)
        if revision is not None:
            store.copy_to(copy)
    finally:
        store.close()


async def _plan(settings: Settings, runtime: Runtime, remotes: Remotes, troubles: Sequence[str]) -> DryRun:
    store = runtime.store
    targets = {name: TargetPlan(irp=str(irp)) for name, irp in runtime.identity.targets.items()}
    targets |= {name: TargetPlan(irp="", problem=problem) for name, problem in remotes.broken.items()}
    jobs = await store.read(lambda tx: tx.delivery.jobs(states=_WAITING))
    for name, plan in targets.items():
        ours = list(dict.fromkeys(AlertId(job.subject) for job in _by_urgency(jobs) if job.target == name))
        if name not in remotes.targets:
            plan.waiting = len(ours)
            continue
        target = remotes.targets[name]
        forecaster = Forecaster(
            capabilities=target.capabilities,
            context=template_context(settings, name, utc_now),
            draft=target.irp.draft if target.irp else _nothing_is_sent,
            clock=utc_now,
        )
        for start in range(0, len(ours), AT_ONCE):
            some = ours[start : start + AT_ONCE]
            plan.planned += await store.read(partial(_planned, some, forecaster))
    return await store.read(partial(_together, targets, troubles))


def _nothing_is_sent(operation: str, _values: Mapping[str, object]) -> Draft:
    """Stand in for the requests of an IRP that polls us: there are none."""
    raise AssertionError(operation)


def _by_urgency(jobs: Sequence[Job]) -> list[Job]:
    return sorted(jobs, key=lambda job: (job.lane, job.due, job.subject))


def _planned(ids: Sequence[AlertId], forecaster: Forecaster, tx: Tx) -> list[Planned]:
    works = [work for work in load_states(ids, tx) if work is not None]
    found = [(work.snapshot.alert, forecaster.forecast(work)) for work in works]
    return [
        Planned(alert_id=alert.id, name=alert.name, priority=alert.priority, status=alert.status, would=would)
        for alert, would in found
        if would.created or would.updated or would.closed or would.parked
    ]


def _together(targets: dict[str, TargetPlan], troubles: Sequence[str], tx: Tx) -> DryRun:
    closes = tx.closes.jobs(states=_WAITING)
    known = tx.alerts.snapshots([AlertId(job.subject) for job in closes])
    queues = (tx.delivery, tx.closes)
    return DryRun(
        targets=targets,
        kuma=[_closing(job, known[AlertId(job.subject)].alert.name if job.subject in known else "") for job in closes],
        held=tx.waiting.held(),
        unrouted=tx.waiting.unrouted(),
        parked=sum(len(queue.jobs(states=[JobState.PARKED])) for queue in queues) + tx.rejects.count(),
        alerts=tx.overview.counts(),
        troubles=troubles,
    )


def _closing(job: Job, name: str) -> PlannedClosing:
    order = read_order(job.subject, job.payload)
    reason = order.reason.value if order.reason else f"none for the resolution {order.resolution!r}: it would be parked"
    return PlannedClosing(alert_id=order.alert_id, name=name, reason=reason)
