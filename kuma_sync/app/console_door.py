"""The operators' console at the daemon's door: there while the configuration says so, made when first asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import import_module

from kuma_sync.app.build import utc_now
from kuma_sync.settings import Settings
from kuma_sync.store import Store
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.telemetry.health import Health
from kuma_sync.web.routes import Pages

_ROOM = "kuma_sync.web.console"


@dataclass(frozen=True, slots=True, kw_only=True)
class FromDaemon:
    """What of the daemon stands behind the console; the functions are called anew each time.

    `ring` wakes the workers, for there is something new on the queues; `note` stores what was done and is not stored.
    """

    settings: Callable[[], Settings]
    ready: Callable[[], bool]
    store: Store
    health: Health
    runtime: Callable[[], Runtime | None]
    ring: Callable[[], None]
    note: Callable[[], Awaitable[None]]


class ConsoleDoor:
    """Returns the console when it is called, or None while it is off. All are asked anew at every request."""

    def __init__(self, daemon: FromDaemon) -> None:
        self._daemon = daemon
        self._made: Pages | None = None

    def __call__(self) -> Pages | None:
        """Return the console, if it is switched on."""
        if not self._daemon.settings().web.console.enabled:
            return None
        if self._made is None:
            self._made = self._make()
        return self._made

    async def prepare(self, settings: Settings) -> None:
        """Load the libraries of a console that is to be on. In a thread: half a second in which the loop must turn."""
        if settings.web.console.enabled and self._made is None:
            await asyncio.to_thread(import_module, f"{_ROOM}.app")

    def _make(self) -> Pages:
        # Its libraries take thirteen megabytes: a daemon without a console does not load them.
        app, console = (import_module(f"{_ROOM}.{name}") for name in ("app", "console"))
        source, actions = (import_module(f"kuma_sync.app.console_{name}") for name in ("source", "actions"))
        daemon = self._daemon
        behind = console.Behind(
            settings=daemon.settings,
            ready=daemon.ready,
            store=daemon.store,
            health=daemon.health,
            clock=utc_now,
            source=source.Source(daemon.store, settings=daemon.settings, runtime=daemon.runtime, note=daemon.note),
            actions=actions.Actions(daemon.store, settings=daemon.settings, ring=daemon.ring),
        )
        made: Pages = app.console_app(behind)
        return made
