"""Clients of both sides, and gates before them, for a command: it asks while a daemon may be running."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from functools import partial

from kuma_sync.app.build import utc_now
from kuma_sync.app.remotes import Gatekeeper, Remotes, open_remotes, retry_context
from kuma_sync.app.shared_state import SharedState
from kuma_sync.core.alert import Alert
from kuma_sync.core.privacy import Privacy
from kuma_sync.core.window import Query
from kuma_sync.kuma.client import End, PageEnd
from kuma_sync.kuma.parse import Parsed, parse_alert
from kuma_sync.settings import Settings
from kuma_sync.store import Store
from kuma_sync.sync.delivery.context import ContentsReader
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.remote.gate import RemoteGate
from kuma_sync.sync.remote.gates import RemoteGates


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedRemotes:
    """The clients, the gate before KUMA and those before each target. What an operator paused they do not ask."""

    remotes: Remotes
    kuma: RemoteGate
    gates: Mapping[str, RemoteGates]
    shared: SharedState

    def contents(self, settings: Settings, privacy: Privacy) -> ContentsReader:
        """Return what reads an alert's contents through the gate; `privacy` hides what it names."""
        admit = partial(self.kuma.admit, reads=True)
        most = settings.poll.max_events
        return ContentsReader(kuma=self.remotes.kuma, max_events=most, privacy=privacy, admit=admit)

    async def listed(self, query: Query) -> AsyncGenerator[Alert | PageEnd | None, None]:
        """Read alerts without their contents, page by page; None stands for a piece that is no alert.

        Close the iterator (`aclosing`): it holds a connection. Raise GateClosed or RemoteError.
        """
        async with self.kuma.admit(paced=True, reads=True), aclosing(self.remotes.kuma.read(query)) as items:
            async for item in items:
                if isinstance(item, PageEnd):
                    yield item
                    if item.end is End.MORE:
                        await self.kuma.turn_page()
                else:
                    yield _alert(item.raw)


async def open_gated(settings: Settings, store: Store, limits: Limits, stack: AsyncExitStack) -> GatedRemotes:
    """Make them; `stack` closes the connections. Raise ConfigError or StoreError."""
    shared = SharedState(store=store, limits=limits)
    with store.reading() as tx:
        shared.paused.learn(tx.pauses.all())
    remotes = await open_remotes(settings, utc_now, limits, stack)
    keeper = Gatekeeper(shared, retry_context(settings, utc_now, limits))
    gates = {name: keeper.target(target).irp for name, target in remotes.targets.items()}
    return GatedRemotes(remotes=remotes, kuma=keeper.kuma(remotes.kuma).whole, gates=gates, shared=shared)


def _alert(raw: bytes | None) -> Alert | None:
    parsed = None if raw is None else parse_alert(raw, with_events=False, max_events=1, privacy=Privacy())
    return parsed.seen.alert if isinstance(parsed, Parsed) else None
