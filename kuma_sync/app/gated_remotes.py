"""Clients of both sides, and gates before them, for a command: it asks while a daemon may be running."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from kuma_sync.app.build import utc_now
from kuma_sync.app.remotes import Gatekeeper, Remotes, open_remotes
from kuma_sync.app.shared_state import SharedState
from kuma_sync.core.retry import RetryPolicy
from kuma_sync.settings import Settings
from kuma_sync.store import Store
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.remote.gate import RemoteGate
from kuma_sync.sync.remote.gates import RemoteGates
from kuma_sync.sync.remote.rate import RetryContext


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedRemotes:
    """The clients, the gate before KUMA and those before each target. What an operator paused they do not ask."""

    remotes: Remotes
    kuma: RemoteGate
    gates: Mapping[str, RemoteGates]
    shared: SharedState


async def open_gated(settings: Settings, store: Store, limits: Limits, stack: AsyncExitStack) -> GatedRemotes:
    """Make them; `stack` closes the connections. Raise ConfigError or StoreError."""
    shared = SharedState(store=store, limits=limits)
    with store.reading() as tx:
        shared.paused.learn(tx.pauses.all())
    remotes = await open_remotes(settings, utc_now, limits, stack)
    pace = RetryContext(
        clock=utc_now,
        policy=RetryPolicy(base=settings.retry.base, max=settings.retry.max),
        jitter=random.SystemRandom().random,
        limits=limits,
    )
    keeper = Gatekeeper(shared, pace)
    gates = {name: keeper.target(target).irp for name, target in remotes.targets.items()}
    return GatedRemotes(remotes=remotes, kuma=keeper.kuma(remotes.kuma).whole, gates=gates, shared=shared)
