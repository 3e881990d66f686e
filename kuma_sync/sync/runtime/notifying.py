"""`[notify]`: a dead man's switch is asked after every good round, and a webhook is told what needs a human.

Neither ever raises, holds anything up, or is waited for: a receiver that fails is told of in the log alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import structlog

from kuma_sync.core.condition import Condition, went_on
from kuma_sync.core.errors import RemoteError, StoreError
from kuma_sync.core.moments import rfc3339
from kuma_sync.core.notices import (
    Event,
    Key,
    Notice,
    Sighting,
    Told,
    after_telling,
    remembered,
    sighted,
    taken_up,
    untold,
)
from kuma_sync.store import Store, Tx
from kuma_sync.store.copies import DEAD_AFTER
from kuma_sync.sync.limits import NoticeLimits
from kuma_sync.sync.runtime.monitor import condition
from kuma_sync.sync.runtime.noticing import of_backlog, of_certificates, of_conditions
from kuma_sync.sync.troubles import Lasting
from kuma_sync.telemetry.certificates import Certificates
from kuma_sync.telemetry.health import Health
from kuma_sync.telemetry.redact import masked

log = structlog.get_logger(__name__)

NOTIFIER = "notifier"
"""The lease of the one copy that tells."""


class Asked(Protocol):
    """A dead man's switch."""

    async def ask(self) -> None:
        """Say that all goes well; raise RemoteError."""


class Sent(Protocol):
    """A webhook."""

    async def send(self, message: Mapping[str, str]) -> None:
        """Tell something; raise RemoteError."""


def message_of(notice: Notice) -> dict[str, str]:
    """Return what a webhook is sent."""
    return {
        "event": notice.event.value,
        "severity": notice.severity.value,
        "text": masked(notice.words),
        "target": notice.target,
        "since": rfc3339(notice.since.replace(microsecond=0)),
    }


class DeadMansSwitch:
    """Asks a receiver after rounds that succeeded, at most once a minute."""

    def __init__(self, receiver: Asked, limits: NoticeLimits) -> None:
        self._receiver = receiver
        self._limits = limits
        self._round = asyncio.Event()
        self._asked: float | None = None
        self._trouble = Lasting()

    def round_succeeded(self) -> None:
        """Note a round that succeeded."""
        self._round.set()

    async def run(self) -> None:
        """Ask, for ever."""
        while True:
            await self._round.wait()
            self._round.clear()
            early = 0.0 if self._asked is None else self._limits.beats_apart.total_seconds() - self._since_asked()
            if early > self._limits.beat_waits.total_seconds():
                continue
            await asyncio.sleep(max(early, 0.0))
            await self._ask()

    def _since_asked(self) -> float:
        return time.monotonic() - (self._asked or 0.0)

    async def _ask(self) -> None:
        self._asked = time.monotonic()
        try:
            await self._receiver.ask()
        except RemoteError as error:
            if self._trouble.begins(error.summary):
                log.warning("notification_failed", to="heartbeat_url", reason=error.summary)
        else:
            if count := self._trouble.ends():
                log.info("notification_recovered", to="heartbeat_url", failures=count)


@dataclass(slots=True, kw_only=True)
class _Trial:
    """A message that its receiver did not take yet: how often it was tried, and when it is tried again."""

    notice: Notice
    tries: int = 0
    again_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """Where it is known from what is wrong: `owner` is this process among several copies."""

    store: Store
    owner: str
    health: Health
    certificates: Certificates
    clock: Callable[[], datetime]


@dataclass(slots=True, kw_only=True)
class _Memory:
    """What this process remembers: what lasts, what was told, and whether the store knows that."""

    lasting: dict[Key, Sighting] = field(default_factory=dict)
    told: dict[Key, Told] = field(default_factory=dict)
    unsaved: dict[Key, Told] = field(default_factory=dict)
    condition: Condition = ()


class Notifier:
    """Tells a receiver what needs a human, and when it is over: of several copies one does.

    `is_open` turns true once the store is ready. While it is not, or the store is away, whoever told last goes on.
    """

    def __init__(self, receiver: Sent, knowledge: Knowledge, limits: NoticeLimits) -> None:
        self.is_open = False
        self._receiver = receiver
        self._knowledge = knowledge
        self._limits = limits
        self._memory = _Memory()
        self._ours = True  # until the store says otherwise: that it is away is told, too
        self._agreed_before = False
        self._trials: dict[Key, _Trial] = {}
        self._trouble = Lasting()

    async def run(self) -> None:
        """Look and tell, for ever."""
        while True:
            if not await self.look():
                await asyncio.sleep(self._limits.looked_every.total_seconds())

    async def look(self) -> bool:
        """Look once and tell one thing at most; say whether something was told."""
        knowledge, memory, patience = self._knowledge, self._memory, self._limits.patience
        now = knowledge.clock()
        # After an operator's pause what failed before it has its patience anew.
        troubles = [one for one in condition(knowledge.health, now) if not one.maintained]
        memory.condition = went_on(memory.condition, troubles)
        others = await self._agreed()
        blind = others is None and not (knowledge.store.local and self._agreed_before)
        readiness = knowledge.health.ready()
        seen = [
            *of_conditions([memory.condition, *(others or [])]),
            *of_backlog(readiness.parked_by_target, readiness.held_by_target, now),
            *of_certificates(knowledge.certificates.ends, now),
        ]
        memory.lasting = sighted(memory.lasting, seen, memory.told, now=now, patience=patience)
        if not self._ours:
            return False
        wanted = untold(memory.lasting, memory.told, now=now, patience=patience)
        # What else was told meanwhile, and by whom, only the store knows.
        notice = self._next([one for one in wanted if one.event is Event.STORE] if blind else wanted)
        if notice is None or not await self._told(notice):
            return False
        memory.unsaved[notice.key] = after_telling(memory.told, notice, now=now, patience=patience)
        memory.told |= memory.unsaved
        await self._saved()
        log.info("notified", of=notice.event.value, severity=notice.severity.value, about=notice.target)
        return True

    async def _agreed(self) -> list[Condition] | None:
        """Agree with the other copies on who tells, and on what was told; return their conditions.

        None where the store is not there.
        """
        if not self.is_open:
            return None
        store = self._knowledge.store
        try:
            if store.local and not self._memory.unsaved:  # nobody else can tell: a look costs no write
                ours, told, others = True, await store.read(lambda tx: tx.notified.told()), list[Condition]()
            else:
                ours, told, others = await store.write(self._agree)
        except StoreError:  # told by the loops, and by us
            return None
        memory, now = self._memory, self._knowledge.clock()
        memory.told = remembered({**told, **memory.unsaved}, now=now, patience=self._limits.patience)
        memory.unsaved = {}
        if ours and not self._agreed_before:
            memory.lasting = taken_up(memory.lasting, memory.told, now=now)
        self._ours = self._agreed_before = ours
        return others

    def _agree(self, tx: Tx) -> tuple[bool, dict[Key, Told], list[Condition]]:
        knowledge, unsaved = self._knowledge, self._memory.unsaved
        lease = tx.lease.take(NOTIFIER, knowledge.owner, ttl=self._limits.lease, force=knowledge.store.local)
        told = tx.notified.told()
        if unsaved:
            tx.notified.remember(remembered({**told, **unsaved}, now=tx.now, patience=self._limits.patience))
        copies = [] if knowledge.store.local else tx.heartbeats.heard()
        others = [
            one.condition
            for one in copies
            if one.silent < DEAD_AFTER and one.process.owner != knowledge.owner and not one.process.single_pass
        ]
        return lease is not None, told, others

    async def _saved(self) -> None:
        """Have the store remember what was told; what it does not take now it is given at the next look."""
        if self.is_open:
            with contextlib.suppress(StoreError):
                await self._knowledge.store.write(self._agree)
                self._memory.unsaved = {}

    def _next(self, wanted: list[Notice]) -> Notice | None:
        """Return what is to be told first; what was refused lately waits, and holds up nothing else."""
        now = time.monotonic()
        self._trials = {
            notice.key: trial
            for notice in wanted
            if (trial := self._trials.get(notice.key)) is not None and trial.notice.is_over == notice.is_over
        }
        return next(
            (one for one in wanted if one.key not in self._trials or self._trials[one.key].again_at <= now), None
        )

    async def _told(self, notice: Notice) -> bool:
        """Tell this; say whether it was taken."""
        try:
            await self._receiver.send(message_of(notice))
        except RemoteError as error:
            if self._trouble.begins(error.summary):
                log.warning("notification_failed", to="webhook_url", reason=error.summary)
            trial = self._trials.setdefault(notice.key, _Trial(notice=notice))
            wait = min(self._limits.first_wait * 2 ** min(trial.tries, 20), self._limits.longest_wait)
            trial.tries, trial.again_at = trial.tries + 1, time.monotonic() + wait.total_seconds()
            return False
        if count := self._trouble.ends():
            log.info("notification_recovered", to="webhook_url", failures=count)
        self._trials.pop(notice.key, None)
        return True
