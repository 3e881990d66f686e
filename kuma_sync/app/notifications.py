"""`[notify]` as the daemon has it, over reloads and beside everything, and as a single pass has it, at its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from kuma_sync.app.build import utc_now
from kuma_sync.app.shared_state import SharedState
from kuma_sync.settings import Secret
from kuma_sync.settings.sections import NotifySection
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.runtime.notifying import DeadMansSwitch, Knowledge, Notifier
from kuma_sync.sync.runtime.pass_notices import ask_the_switch, tell
from kuma_sync.sync.runtime.supervisor import supervise
from kuma_sync.transport.receiver import Receiver

NEVER_GIVEN_UP = 10**6
"""As many failures of these loops end the process as of others five: telling must not end what is told of."""


class Notifications:
    """The dead man's switch and the notifier that are configured now, if any."""

    def __init__(self, shared: SharedState, section: NotifySection) -> None:
        self._knowledge = _knowledge(shared)
        self._section = section
        self._limits = shared.limits
        self._is_open = False
        self._switch: DeadMansSwitch | None = None
        self._notifier: Notifier | None = None
        self._changed = asyncio.Event()

    def configure(self, section: NotifySection) -> None:
        """Go on with other receivers, unless they are the same."""
        if _addresses(section) != _addresses(self._section):
            self._section = section
            self._changed.set()

    def open(self) -> None:
        """Go by the store from now on: it is ready."""
        self._is_open = True
        if self._notifier is not None:
            self._notifier.is_open = True

    def round_succeeded(self) -> None:
        """Note that a round of reading KUMA succeeded."""
        if self._switch is not None:
            self._switch.round_succeeded()

    async def run(self) -> None:
        """Ask and tell, for ever."""
        while True:
            self._changed.clear()
            async with self._telling():
                await self._changed.wait()

    @asynccontextmanager
    async def _telling(self) -> AsyncIterator[None]:
        section, notices = self._section, self._limits.notices
        self._switch = self._notifier = None
        loops: dict[str, Callable[[], Awaitable[None]]] = {}
        async with AsyncExitStack() as stack:
            if section.heartbeat_url:
                self._switch = DeadMansSwitch(
                    _receiver("heartbeat_url", section.heartbeat_url, self._limits, stack), notices
                )
                loops["dead man's switch"] = self._switch.run
            if section.webhook_url:
                receiver = _receiver("webhook_url", section.webhook_url, self._limits, stack)
                self._notifier = Notifier(receiver, self._knowledge, notices)
                self._notifier.is_open = self._is_open
                loops["notifier"] = self._notifier.run
            restarts, never = replace(self._limits.restarts, too_often=NEVER_GIVEN_UP), asyncio.Event()
            tasks = [
                asyncio.ensure_future(supervise(name, loop, never, restarts=restarts)) for name, loop in loops.items()
            ]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                if tasks:
                    await asyncio.wait(tasks)


async def told_once(shared: SharedState, section: NotifySection, *, complete: bool) -> None:
    """Ask and tell after a single pass; the dead man's switch is asked only where it was `complete`."""
    async with AsyncExitStack() as stack:
        if section.heartbeat_url and complete:
            await ask_the_switch(_receiver("heartbeat_url", section.heartbeat_url, shared.limits, stack))
        if section.webhook_url:
            webhook = _receiver("webhook_url", section.webhook_url, shared.limits, stack)
            await tell(webhook, _knowledge(shared), shared.limits.notices)


def _knowledge(shared: SharedState) -> Knowledge:
    return Knowledge(
        store=shared.store,
        owner=shared.owner,
        health=shared.health,
        certificates=shared.certificates,
        clock=utc_now,
    )


def _receiver(key: str, address: Secret, limits: Limits, stack: AsyncExitStack) -> Receiver:
    patience = limits.notices.deadline.total_seconds()
    receiver = Receiver(f"notify.{key}", address, patience=patience, clock=utc_now)
    stack.push_async_callback(receiver.aclose)
    return receiver


def _addresses(section: NotifySection) -> tuple[tuple[str, object], ...]:
    return tuple((secret.reveal(), secret.path) for secret in (section.heartbeat_url, section.webhook_url))
