"""One complete pass without doors, and what it leaves behind.

Must not: print.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

from kuma_sync.daemon.run import once
from kuma_sync.settings import Settings
from kuma_sync.store import Put, Store
from kuma_sync.store.backlog import WAITING
from kuma_sync.store.jobs import PENDING
from kuma_sync.wiring.crew import make_crew, open_store
from kuma_sync.wiring.ground import Ground
from kuma_sync.wiring.ready import make_ready
from kuma_sync.wiring.second import refuse_second


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a pass went: what failed, and what waits, is held or parked afterwards (earlier runs included)."""

    troubles: tuple[str, ...]
    counts: dict[str, int]
    waiting: int
    held: int
    parked: int

    @property
    def clean(self) -> bool:
        """Tell whether nothing failed, waits, is held or parked."""
        return not (self.troubles or self.waiting or self.held or self.parked)

    def summary(self) -> str:
        """Return one line for a human."""
        states = ", ".join(f"{count} {state}" for state, count in self.counts.items() if count) or "no alerts"
        rest = f"{self.waiting} waiting, {self.held} held, {self.parked} parked"
        return f"{states}; jobs: {rest}"


def at_once(settings: Settings) -> Settings:
    """Return the configuration of a single pass: its caller sets the pace, so that no update is put off for another."""
    return settings.model_copy(update={"poll": settings.poll.model_copy(update={"interval": timedelta()})})


async def complete_pass(settings: Settings, stack: AsyncExitStack) -> Outcome:
    """Do one complete pass. Raise ConfigError, or StoreError."""
    settings = at_once(settings)
    ground = Ground(store=open_store(settings))
    crew = await make_crew(settings, ground, stack)
    await refuse_second(settings, crew.identity)
    stack.enter_context(ground.store.hold())
    stack.push_async_callback(ground.store.close)  # closed before it is let go
    await make_ready(ground.store, crew.identity, ground.owner, can_find=crew.can_find)
    async with ground.store.begin() as tx:
        # What a daemon put off: an alert's updates that came too fast.
        waiting = await tx.delivery.jobs(states=[PENDING])
        await tx.delivery.put([Put(subject=job.subject, lane=job.lane) for job in waiting if job.postponed(tx.now)])
    troubles = await once(crew)
    return await _outcome(ground.store, tuple(troubles))


async def _outcome(store: Store, troubles: tuple[str, ...]) -> Outcome:
    async with store.read() as tx:
        depths = [await tx.delivery.depths(), await tx.closes.depths()]
        counts = await tx.overview.counts()
        rejected = await tx.records.parked_count()
        marked = len(await tx.links.held())
    return Outcome(
        troubles=troubles,
        counts=counts,
        waiting=sum(depth.get(state, 0) for depth in depths for state in (*WAITING, "postponed")),
        held=marked + depths[1].get("held", 0),
        parked=rejected + sum(depth.get("parked", 0) for depth in depths),
    )
