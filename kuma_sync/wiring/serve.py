"""The daemon's life: store, doors, crew, signals, reloads, and the end.

Must not: do any of the work.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

import structlog

from kuma_sync.core.errors import ConfigError, StoreReplaced, StoreUnavailable
from kuma_sync.daemon.desk import Door
from kuma_sync.daemon.heartbeat import Heart
from kuma_sync.daemon.limits import Limits
from kuma_sync.daemon.observe import report
from kuma_sync.daemon.outage import Outage
from kuma_sync.daemon.run import Crew, work
from kuma_sync.daemon.supervise import happens
from kuma_sync.daemon.waiters import Waiters
from kuma_sync.settings import Settings, changed_keys, frozen_changes, secrets_of, waiting_changes
from kuma_sync.settings.sections import WebSection
from kuma_sync.telemetry import logs
from kuma_sync.telemetry.health import Health, Part
from kuma_sync.telemetry.metrics import Metrics
from kuma_sync.telemetry.pulse import Pulse
from kuma_sync.telemetry.systemd import Systemd
from kuma_sync.web.listener import DoorLimits, most_connections
from kuma_sync.web.routes import build_app
from kuma_sync.web.server import assure_certificate, bind, serve
from kuma_sync.wiring.crew import make_crew, open_store, utc_now
from kuma_sync.wiring.door import door_rules, served
from kuma_sync.wiring.ground import Ground
from kuma_sync.wiring.ready import make_ready
from kuma_sync.wiring.second import refuse_second

log = structlog.get_logger(__name__)


class Daemon:
    """One process from its start to its end. `reload` reads the configuration again, raising ConfigError.

    Without `limits` it has those of the program as it is delivered.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        reload: Callable[[], Settings],
        env: Mapping[str, str],
        limits: Limits | None = None,
    ) -> None:
        self._limits = limits = limits or Limits()
        self._settings = settings
        self._reload = reload
        self._stop = asyncio.Event()
        self._hup = asyncio.Event()
        self._systemd = Systemd(env, monotonic_ns=time.monotonic_ns)
        self._pulse = Pulse(limit=limits.blocked, last_line=limits.last_line)
        metrics = Metrics()
        self._callers = DoorLimits(most=most_connections())
        most_waiting = min(limits.waiting_callers, self._callers.most // 2)
        self._ground = Ground(
            store=open_store(settings, limits=limits.store),
            limits=limits,
            health=Health(monotonic=time.monotonic, on_success=lambda part: _stamp(metrics, part)),
            metrics=metrics,
            waiters=Waiters(most=most_waiting),
        )
        self._crew: Crew | None = None
        self._door = Door(
            store=self._ground.store,
            waiters=self._ground.waiters,
            ring=self._ring,
            every=limits.answers_looked_for,
        )

    def stop(self) -> None:
        """Stop gracefully; called again, end at once: everything that matters is in the store."""
        if self._stop.is_set():
            log.warning("stopped_at_once")
            os._exit(0)
        log.info("stopping", grace_seconds=self._settings.run.grace.total_seconds())
        self._systemd.stopping("finishing what is in flight")
        self._stop.set()

    async def run(self) -> None:
        """Run until stopped. Raise ConfigError, StoreHeld, NewerSchema or PortTaken where that cannot begin."""
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(AsyncExitStack())
            crew = await make_crew(self._settings, self._ground, first)
            await refuse_second(self._settings, crew.identity)
            stack.enter_context(self._ground.store.hold())
            stack.push_async_callback(self._ground.store.close)  # closed before it is let go
            door = _door(self._settings.web)
            self._take_signals()
            stack.enter_context(self._pulse.watched())
            closed = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                if door is not None:
                    web = self._settings.web
                    app = build_app(
                        rules=lambda: door_rules(self._settings),
                        desk=self._door,
                        health=self._ground.health,
                        render_metrics=self._ground.metrics.render,
                        serves=served(crew.identity),
                    )
                    files = {"cert_file": web.cert_file, "key_file": web.key_file}
                    group.create_task(serve(app, door, stop=closed, limits=self._callers, **files), name="door")
                beside = [
                    group.create_task(self._report(), name="report"),
                    group.create_task(self._door.look_out(), name="look-out"),
                ]
                self._systemd.ready()
                log.info("started", listen=self._settings.web.listen, store=self._settings.store.url)
                if await self._make_ready(crew):
                    heart = Heart(
                        self._ground.store,
                        self._ground.process(),
                        health=self._ground.health,
                        clock=utc_now,
                        limits=self._limits,
                    )
                    async with heart.beating():
                        await self._generations(crew, first, group)
                closed.set()
                for task in beside:
                    task.cancel()
            log.info("stopped")

    async def _make_ready(self, crew: Crew) -> bool:
        """Wait for the store for as long as it takes; false when told to stop meanwhile."""
        outage = Outage()
        while True:
            try:
                await make_ready(self._ground.store, crew.identity, self._ground.owner, can_find=crew.can_find)
            except StoreReplaced:
                raise
            except StoreUnavailable as error:
                self._ground.health.failed("store", str(error))
                outage.lasts(error)
                if await happens(self._stop, within=self._limits.store_tried_again.total_seconds()):
                    return False
            else:
                outage.over()
                self._door.open = True
                self._ground.health.succeeded("store")
                return True

    async def _generations(self, crew: Crew, stack: AsyncExitStack, group: asyncio.TaskGroup) -> None:
        """Let one crew work after the other, each with its own configuration."""
        while True:
            self._crew = crew
            enough = asyncio.Event()
            working = group.create_task(work(crew, enough, self._settings.run.grace), name="crew")
            successor = await self._successor(crew, working)
            enough.set()
            await working
            await stack.aclose()
            if successor is None:
                return
            old_profile, old = crew.profile, self._settings
            crew, stack, self._settings = successor
            logs.configure(level=self._settings.log.level, format=self._settings.log.format)
            # Names alone: what the keys say may be secret.
            log.info(
                "configuration_reloaded",
                keys=changed_keys(old, self._settings),
                profile_changed=crew.profile != old_profile,
            )
            self._refused("")
            self._systemd.ready()

    async def _successor(self, crew: Crew, working: asyncio.Task[bool]) -> tuple[Crew, AsyncExitStack, Settings] | None:
        """Wait for the end (None), or for a reload whose configuration is good."""
        while True:
            waits = [asyncio.ensure_future(event.wait()) for event in (self._stop, self._hup)]
            await asyncio.wait([*waits, working], return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if self._stop.is_set() or working.done():
                return None
            self._hup.clear()
            self._systemd.reloading()
            try:
                return await self._reloaded(crew)
            except ConfigError as error:
                log.error("configuration_refused", key=error.key, problem=error.problem)
                self._refused(str(error))
            except Exception as error:
                # The old crew works; whatever is wrong with the new one must not end it.
                problem = f"a bug in kuma-sync: {type(error).__name__}"
                log.exception("configuration_refused", key="unknown", problem=problem)
                self._refused(problem)
            self._systemd.ready()

    def _refused(self, problem: str) -> None:
        """Note why the configuration on disk is not the one that works; "" where it is."""
        self._ground.health.refused(problem)
        self._ground.metrics.config_refused.set(1 if problem else 0)

    async def _reloaded(self, old: Crew) -> tuple[Crew, AsyncExitStack, Settings]:
        settings = self._reload()
        for _key, secret in secrets_of(settings):
            logs.hide(secret.reveal())
        changed = frozen_changes(self._settings, settings)
        if changed:
            raise ConfigError(changed[0], "cannot change while the daemon runs; restart it")
        if waiting := waiting_changes(self._settings, settings):
            log.warning("configuration_waits_for_restart", keys=waiting)
        async with AsyncExitStack() as opened:
            crew = await make_crew(settings, self._ground, opened)
            if crew.identity != old.identity:
                was = old.identity.profile
                raise ConfigError("irp.profile", f"its name was {was!r} when the daemon started; restart it")
            stack = opened.pop_all()
        return crew, stack, settings

    async def _report(self) -> None:
        await report(self._systemd, self._ground.health, self._pulse, self._limits)

    def _ring(self) -> None:
        if self._crew is not None:
            self._crew.closes.bell.ring()

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._hup.set)


def _door(web: WebSection) -> socket.socket | None:
    """Take the door's address, where there is to be one; raise ConfigError or PortTaken."""
    if not web.listen:
        return None
    assure_certificate(web.cert_file, web.key_file)
    return bind(web.listen)


def _stamp(metrics: Metrics, part: Part) -> None:
    metrics.last_success.labels(part=part).set_to_current_time()
