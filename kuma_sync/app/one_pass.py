"""`run --once`: one complete pass without an HTTP door, and its result."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog

from kuma_sync.app.build import build, open_store, utc_now
from kuma_sync.app.notifications import told_once
from kuma_sync.app.pass_progress import Follower
from kuma_sync.app.processes import refuse_second
from kuma_sync.app.shared_state import SharedState
from kuma_sync.app.usable_store import make_ready
from kuma_sync.core.maintenance import CLOSE, Maintenance
from kuma_sync.settings import Settings
from kuma_sync.store import Put, Tx
from kuma_sync.store.jobs import Depth, JobState
from kuma_sync.store.queue import WAITING
from kuma_sync.store.read_models.overview import AlertState
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.runtime.monitor import Heart, look
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a pass: its failures, and all jobs that wait, are held or parked afterwards.

    What an operator `paused` was left alone: that is no failure, but what waits for it waits.
    """

    troubles: tuple[str, ...]
    paused: tuple[Maintenance, ...]
    counts: dict[AlertState, int]
    waiting: int
    held: int
    """What the brake holds, and what no route takes."""
    unrouted: int
    parked: int

    @property
    def clean(self) -> bool:
        """Tell whether nothing failed, waits, is held or parked, and no side was left alone.

        Paused closings wait on the queue, if there are any.
        """
        left_alone = any(one.part != CLOSE for one in self.paused)
        return not (self.troubles or self.waiting or self.held or self.parked or left_alone)

    def summary(self) -> str:
        """Return one line for a human."""
        states = ", ".join(f"{count} {state}" for state, count in self.counts.items() if count) or "no alerts"
        rest = f"{self.waiting} waiting, {self.held} held, {self.parked} parked"
        left_alone = "".join(f"; {one.reason}: left alone" for one in self.paused)
        return f"{states}; jobs: {rest}{left_alone}"


def at_once(settings: Settings) -> Settings:
    """Return the configuration of a single pass: without a poll interval, so that no update is postponed."""
    return settings.model_copy(update={"poll": settings.poll.model_copy(update={"interval": timedelta()})})


async def complete_pass(
    settings: Settings,
    stack: AsyncExitStack,
    limits: Limits | None = None,
    *,
    told: Callable[[str], None] | None = None,
) -> Outcome:
    """Do one complete pass; `told` hears how far it is. SIGTERM and SIGINT end it early, in order; the second at once.

    Raise ConfigError, or StoreError.
    """
    settings = at_once(settings)
    stop = _stopped_by_signals(settings.run.grace.total_seconds())
    limits = limits or Limits()
    shared = SharedState(store=open_store(settings, limits=limits.store), limits=limits)
    runtime = await build(settings, shared, stack)
    await asyncio.to_thread(refuse_second, settings, runtime.identity)
    stack.enter_context(shared.store.hold())
    stack.push_async_callback(shared.store.aclose)  # closed before it is let go
    await make_ready(shared.store, runtime, shared.owner)
    await shared.store.write(_take_up_postponed)
    heart = Heart(
        shared.store, shared.process(single_pass=True), health=shared.health, clock=utc_now, limits=shared.limits
    )
    async with heart.beating(), _followed(runtime, told) as begun:
        troubles = await once(runtime, stop=stop, grace=settings.run.grace, told=begun)
        if not stop.is_set():
            await look(shared.store, health=shared.health, metrics=shared.metrics, targets=runtime.names)
            await told_once(shared, settings.notify, complete=not troubles and runtime.kuma.maintenance is None)
    return await shared.store.read(partial(_outcome, tuple(troubles), tuple(shared.paused.all(utc_now()))))


@asynccontextmanager
async def _followed(
    runtime: Runtime, told: Callable[[str], None] | None
) -> AsyncIterator[Callable[[str], None] | None]:
    """Tell how far the pass is while the block runs; yield the function that hears each step which begins."""
    if told is None:
        yield None
        return
    follower = Follower(runtime, told)
    following = asyncio.ensure_future(follower.follow())
    try:
        yield follower.begin
    finally:
        following.cancel()


def _take_up_postponed(tx: Tx) -> None:
    """Make due the updates that a daemon has postponed because they came too fast."""
    waiting = tx.delivery.jobs(states=[JobState.PENDING])
    tx.delivery.put(
        [Put(subject=job.subject, lane=job.lane, target=job.target) for job in waiting if job.postponed(tx.now)]
    )


def _stopped_by_signals(grace: float) -> asyncio.Event:
    stop = asyncio.Event()

    def told() -> None:
        if stop.is_set():
            log.warning("stopped_at_once")
            os._exit(1)  # the next pass finds requests that were in flight
        log.info("stopping", grace_seconds=grace)
        stop.set()

    # Only the main thread can handle signals.
    heard = threading.current_thread() is threading.main_thread()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP) if heard else ():
        asyncio.get_running_loop().add_signal_handler(number, told)
    return stop


def _outcome(troubles: tuple[str, ...], paused: tuple[Maintenance, ...], tx: Tx) -> Outcome:
    jobs = Counter[Depth]()
    for queue in tx.queues().values():
        jobs.update(queue.jobs)
    return Outcome(
        troubles=troubles,
        paused=paused,
        counts=tx.overview.counts(),
        waiting=sum(jobs[state] for state in (*WAITING, Depth.POSTPONED)),
        held=jobs[Depth.HELD],
        unrouted=len(tx.links.unrouted()),
        parked=jobs[Depth.PARKED] + tx.rejects.count(),
    )
