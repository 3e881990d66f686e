"""The daemon's life: store, doors, runtime, signals, reloads, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial

import structlog

from kuma_sync.app.build import build, open_store, pullers, utc_now
from kuma_sync.app.console_door import ConsoleDoor, FromDaemon
from kuma_sync.app.door import Door, door_rules
from kuma_sync.app.hiding import obey
from kuma_sync.app.identity import served
from kuma_sync.app.notifications import Notifications
from kuma_sync.app.processes import refuse_second
from kuma_sync.app.remotes import certified_parts
from kuma_sync.app.shared_state import SharedState
from kuma_sync.app.takeover import refuse_renamed, refuse_unfit, take_over
from kuma_sync.app.usable_store import make_ready
from kuma_sync.core.errors import ConfigError, StoreReplaced, StoreUnavailable
from kuma_sync.irp.profile import Profile
from kuma_sync.settings import Settings, changed_keys, frozen_changes, secrets_of, waiting_changes
from kuma_sync.sync.closing.intake import ClosingIntake, Waiters
from kuma_sync.sync.handout.giving import Giving
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.polling.enqueue import route_anew
from kuma_sync.sync.runtime.activity import ActivityLog
from kuma_sync.sync.runtime.monitor import Heart, report, scraped
from kuma_sync.sync.runtime.runner import Runtime, expect_targets, work
from kuma_sync.sync.runtime.supervisor import happens, supervise
from kuma_sync.sync.troubles import Outage
from kuma_sync.telemetry import logs
from kuma_sync.telemetry.certificates import DOOR, Certificates
from kuma_sync.telemetry.health import Health, Part, split_part
from kuma_sync.telemetry.metrics import Metrics
from kuma_sync.telemetry.watchdog import Pulse, Systemd
from kuma_sync.web.certificate import door_tls
from kuma_sync.web.listener import DoorLimits, most_connections
from kuma_sync.web.routes import build_app
from kuma_sync.web.server import serve

log = structlog.get_logger(__name__)


class Daemon:
    """One process from its start to its end. `reload` reads the configuration again, raising ConfigError.

    Without `limits` it has the program's normal ones.
    """

    _runtime: Runtime | None = None
    _activity: ActivityLog | None = None

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
        self._stop, self._hup, self._store_away = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._systemd = Systemd(env, monotonic_ns=time.monotonic_ns)
        self._pulse = Pulse(limit=limits.blocked, last_line=limits.last_line)
        metrics = Metrics()
        self._callers = DoorLimits(most=most_connections())
        self._shared = SharedState(
            store=open_store(settings, limits=limits.store),
            limits=limits,
            health=Health(monotonic=time.monotonic, on_success=self._succeeded),
            metrics=metrics,
            certificates=Certificates(metrics),
            waiters=Waiters(most=min(limits.waiting_callers, self._callers.most // 2)),
        )
        self._door = Door(self._shared.certificates)
        self._notifications = Notifications(self._shared, settings.notify)
        self._giving = Giving(store=self._shared.store, health=self._shared.health, metrics=metrics)
        self._console = ConsoleDoor(
            FromDaemon(
                settings=lambda: self._settings,
                ready=lambda: self._intake.open,
                store=self._shared.store,
                health=self._shared.health,
                runtime=lambda: self._runtime,
                ring=self._ring,
                note=self._note,
            )
        )
        self._intake = ClosingIntake(
            store=self._shared.store,
            waiters=self._shared.waiters,
            ring=self._ring,
            every=limits.answers_looked_for,
        )

    def stop(self) -> None:
        """Stop gracefully. A second call ends the process at once: all that matters is in the store."""
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
            runtime = await build(self._settings, self._shared, first)
            await asyncio.to_thread(refuse_second, self._settings, runtime.identity)
            stack.enter_context(self._shared.store.hold())
            stack.push_async_callback(self._shared.store.aclose)  # closed before it is let go
            expect_targets(runtime)
            self._giving.serve(pullers(self._settings))
            door = self._door.open(self._settings.web)
            self._take_signals()
            stack.enter_context(self._pulse.watched())
            closed = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                if door is not None:
                    group.create_task(self._serve(door, closed), name="door")
                heart = Heart(
                    self._shared.store,
                    self._shared.process(),
                    health=self._shared.health,
                    clock=utc_now,
                    limits=self._limits,
                )
                beside = [
                    group.create_task(self._tell_start(heart), name="start"),
                    group.create_task(self._report(), name="report"),
                    group.create_task(self._notifications.run(), name="notifications"),
                    group.create_task(self._intake.look_out(), name="look-out"),
                ]
                if await self._make_ready(runtime):
                    self._activity = activity = ActivityLog(
                        self._shared.store, self._shared.metrics, owner=self._shared.owner, clock=utc_now
                    )
                    noting = partial(activity.keep, every=self._limits.activity_noted)
                    noted = supervise("activity", noting, self._stop, restarts=self._limits.restarts)
                    beside.append(group.create_task(noted, name="activity"))
                    async with heart.beating():
                        await self._generations(runtime, first, group)
                    await self._last_note(activity)
                closed.set()
                for task in beside:
                    task.cancel()
            log.info("stopped")

    async def _tell_start(self, heart: Heart) -> None:
        """Tell that the daemon is up once `status` sees it, or the store is away: waiting for that may take long."""
        seen = [asyncio.ensure_future(event.wait()) for event in (heart.tried, self._store_away, self._stop)]
        within = self._limits.begun_within.total_seconds()
        try:
            await asyncio.wait(seen, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in seen:
                one.cancel()
        if not self._stop.is_set():
            self._systemd.ready()
        log.info("started", listen=self._settings.web.listen, store=self._settings.store.url)

    async def _last_note(self, activity: ActivityLog) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.last_word.total_seconds()):
                await activity.note()

    async def _serve(self, door: socket.socket, closed: asyncio.Event) -> None:
        """Answer at the HTTP door until it is closed."""
        await self._console.prepare(self._settings)
        app = build_app(
            rules=lambda: door_rules(self._settings),
            intake=self._intake,
            gives=self._giving,
            passes=lambda: None if self._runtime is None else self._runtime.passing,
            health=self._shared.health,
            render_metrics=self._scraped,
            serves=lambda: served(self._settings),
            console=self._console,
        )
        await serve(app, door, stop=closed, limits=self._callers, tls=self._door.tls)

    async def _scraped(self) -> bytes:
        shared, runtime = self._shared, self._runtime
        if runtime is None:  # the store is not ready yet
            return shared.metrics.render()
        return await scraped(
            shared.store,
            health=shared.health,
            metrics=shared.metrics,
            targets=runtime.names,
            within=self._limits.scraped_within,
        )

    async def _make_ready(self, runtime: Runtime) -> bool:
        """Make the store ready; false when told to stop meanwhile."""
        ready = await self._when_there(partial(make_ready, self._shared.store, runtime, self._shared.owner))
        if ready:
            self._intake.open = self._giving.open = True
            self._notifications.open()
        return ready

    async def _when_there(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Do this with the store, waiting for it for as long as it takes; false when told to stop meanwhile."""
        outage = Outage()
        while True:
            try:
                await work()
            except StoreReplaced:
                raise
            except StoreUnavailable as error:
                self._shared.health.failed("store", str(error))
                self._store_away.set()
                outage.lasts(error)
                if await happens(self._stop, within=self._limits.store_tried_again.total_seconds()):
                    return False
            else:
                outage.over()
                self._shared.health.succeeded("store")
                return True

    async def _generations(self, runtime: Runtime, stack: AsyncExitStack, group: asyncio.TaskGroup) -> None:
        """Run one runtime after the other: each reload begins a new one. `stack` closes the first one's connections."""
        try:
            while True:
                self._runtime = runtime
                self._giving.serve(pullers(self._settings))
                enough = asyncio.Event()
                working = group.create_task(work(runtime, enough, self._settings.run.grace), name="runtime")
                successor = await self._successor(runtime, working)
                if successor is None:
                    enough.set()
                    await working
                    return
                new, opened, settings = successor
                async with opened:  # closed again, unless it takes over
                    enough.set()
                    await working
                    if not await self._handed_over(runtime, new):
                        continue
                    await stack.aclose()
                    stack = opened.pop_all()
                self._took_over(runtime, new, settings)
                runtime = new
        finally:
            await stack.aclose()

    def _took_over(self, old: Runtime, new: Runtime, settings: Settings) -> None:
        """Note that the new configuration counts from now on."""
        before, self._settings = self._settings, settings
        self._shared.certificates.keep({DOOR} | certified_parts(settings))
        self._notifications.configure(settings.notify)
        try:
            self._door.renew(settings.web)
        except ConfigError as error:  # the files changed since they were looked at
            self._refuse(error)
        else:
            self._refused("")
        logs.configure(level=settings.log.level, format=settings.log.format)
        # Names alone: the values may be secret.
        log.info(
            "configuration_reloaded",
            keys=changed_keys(before, settings),
            profile_changed=_profiles(new) != _profiles(old),
        )
        self._systemd.ready()

    async def _handed_over(self, old: Runtime, new: Runtime) -> bool:
        """Let a new runtime take over once the old one has ended; false where the old one must go on.

        Until its end it may have written jobs for a target that the new one does not have.
        """
        store = self._shared.store

        async def hand_over() -> None:
            await store.write(partial(take_over, runtime=new, served=old.targets))
            await obey(store, new.privacy, anew=new.privacy.mark != old.privacy.mark)
            await route_anew(store, new.routing)

        try:
            return await self._when_there(hand_over)
        except ConfigError as error:
            self._refuse(error)
            return False

    def _refuse(self, error: ConfigError) -> None:
        log.error("configuration_refused", key=error.key, problem=error.problem)
        self._refused(str(error))
        self._systemd.ready()

    async def _successor(
        self, runtime: Runtime, working: asyncio.Task[bool]
    ) -> tuple[Runtime, AsyncExitStack, Settings] | None:
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
                return await self._reloaded(runtime)
            except ConfigError as error:
                self._refuse(error)
            except Exception as error:
                # The old runtime works; no error of the new one may end it.
                problem = f"a bug in kuma-sync: {type(error).__name__}"
                log.exception("configuration_refused", key="unknown", problem=problem)
                self._refused(problem)
                self._systemd.ready()

    def _refused(self, problem: str) -> None:
        """Note why the configuration on disk was refused; "" after one was taken."""
        self._shared.health.refused(problem)
        self._shared.metrics.config_refused.set(1 if problem else 0)

    async def _reloaded(self, old: Runtime) -> tuple[Runtime, AsyncExitStack, Settings]:
        settings = self._reload()
        for _key, secret in secrets_of(settings):
            logs.hide(secret.reveal())
        changed = frozen_changes(self._settings, settings)
        if changed:
            raise ConfigError(changed[0], "cannot change while the daemon runs; restart it")
        if settings.web.listen:
            door_tls(settings.web.cert_file, settings.web.key_file)  # an unusable one is refused, and the old one stays
        if waiting := waiting_changes(self._settings, settings):
            log.warning("configuration_waits_for_restart", keys=waiting)
        async with AsyncExitStack() as opened:
            runtime = await build(settings, self._shared, opened, broken_before=old.broken)
            refuse_renamed(old.identity, runtime.identity)
            await self._shared.store.read(partial(refuse_unfit, runtime=runtime))
            await self._console.prepare(settings)
            stack = opened.pop_all()
        return runtime, stack, settings

    async def _report(self) -> None:
        await report(self._systemd, self._shared.health, self._pulse, self._limits)

    def _succeeded(self, part: Part) -> None:
        name, target = split_part(part)
        self._shared.metrics.last_success.labels(part=name, target=target).set_to_current_time()
        if part == "poll":
            self._notifications.round_succeeded()

    def _ring(self) -> None:
        if self._runtime is not None:
            self._runtime.closes.bell.ring()

    async def _note(self) -> None:
        if self._activity is not None:
            await self._activity.note()

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._hup.set)


def _profiles(runtime: Runtime) -> dict[str, Profile]:
    return {name: target.profile for name, target in runtime.targets.items()}
