"""The operators' console at the daemon's door: there while the configuration says so, made when first asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module

from kuma_sync.app.build import utc_now
from kuma_sync.settings import Settings
from kuma_sync.store import Store
from kuma_sync.telemetry.health import Health
from kuma_sync.web.routes import Pages

_ROOM = "kuma_sync.web.console"


class ConsoleDoor:
    """Returns the console when it is called, or None while it is off. All are asked anew at every request."""

    def __init__(
        self, *, settings: Callable[[], Settings], ready: Callable[[], bool], store: Store, health: Health
    ) -> None:
        self._settings = settings
        self._ready = ready
        self._store = store
        self._health = health
        self._made: Pages | None = None

    def __call__(self) -> Pages | None:
        """Return the console, if it is switched on."""
        if not self._settings().web.console.enabled:
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
        behind = console.Behind(
            settings=self._settings, ready=self._ready, store=self._store, health=self._health, clock=utc_now
        )
        made: Pages = app.console_app(behind)
        return made
