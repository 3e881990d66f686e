"""What a single pass tells: at once what it met, and of what it did not look at nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta

from stores import Clock, opened

from kuma_sync.core.errors import Transient
from kuma_sync.store import Store
from kuma_sync.sync.limits import NoticeLimits
from kuma_sync.sync.runtime.notifying import NOTIFIER, Knowledge
from kuma_sync.sync.runtime.pass_notices import tell
from kuma_sync.telemetry.certificates import Certificates
from kuma_sync.telemetry.health import Health

LIMITS = NoticeLimits()
STUCK, WELL = ("stuck", "critical", "irp"), ("stuck", "ok", "irp")


class Hook:
    """A receiver in memory; it refuses an event of this name, or is away."""

    def __init__(self) -> None:
        self.refuses = ""
        self.away = False
        self.asked = 0
        self.told: list[tuple[str, str, str]] = []

    async def send(self, message: Mapping[str, str]) -> None:
        """Take a message, or raise."""
        self.asked += 1
        if self.away or message["event"] == self.refuses:
            status = None if self.away else 400
            raise Transient(remote="notify.webhook_url", operation="tell", summary="answered 400", status=status)
        self.told.append((message["event"], message["severity"], message["target"]))


class Pass:
    """A pass that has ended, with what it learnt of KUMA and the IRP: nothing yet."""

    def __init__(self, store: Store, clock: Clock, owner: str) -> None:
        self.health = Health(monotonic=time.monotonic)
        self.certificates = Certificates()
        self.knowledge = Knowledge(
            store=store, owner=owner, health=self.health, certificates=self.certificates, clock=clock
        )


@asynccontextmanager
async def house(url: str) -> AsyncIterator[tuple[Store, Clock, Hook]]:
    clock = Clock()
    async with opened(url, clock=clock) as store:
        yield store, clock, Hook()


async def test_what_passes_meet_is_told_once_and_that_it_is_over_by_one_that_saw_it(database_url: str) -> None:
    async with house(database_url) as (store, clock, hook):
        said = []
        for number, state in enumerate(["fails", "fails", "not asked", "well", "well", "fails"]):
            clock.advance(minutes=5)
            done = Pass(store, clock, f"pass {number}")
            if state == "fails":
                done.health.failed("irp", "answered 503")
            elif state == "well":
                done.health.succeeded("irp")
            await tell(hook, done.knowledge, LIMITS)
            said.append(list(hook.told))
            hook.told.clear()

    assert said == [[STUCK], [], [], [WELL], [], [STUCK]]


async def test_what_waits_for_a_human_is_over_once_the_store_holds_none_of_it(sqlite_url: str) -> None:
    async with house(sqlite_url) as (store, clock, hook):
        for parked in ({"irp": 2}, {"irp": 3}, {}):
            done = Pass(store, clock, "pass")
            done.health.backlog(parked=parked, held={})
            await tell(hook, done.knowledge, LIMITS)

    assert hook.told == [("parked", "warning", "irp"), ("parked", "ok", "irp")]


async def test_a_pass_beside_a_daemon_leaves_the_telling_to_it(postgres_url: str) -> None:
    async with house(postgres_url) as (store, clock, hook):
        done = Pass(store, clock, "pass")
        done.health.failed("irp", "answered 503")
        theirs = await store.write(lambda tx: tx.lease.take(NOTIFIER, "daemon", ttl=timedelta(seconds=30)))
        await tell(hook, done.knowledge, LIMITS)
        beside = list(hook.told)
        assert theirs is not None
        await store.write(lambda tx: tx.lease.give_back(theirs))
        await tell(hook, done.knowledge, LIMITS)
        after = await store.write(lambda tx: tx.lease.take(NOTIFIER, "daemon", ttl=timedelta(seconds=30)))

    assert (beside, hook.told) == ([], [STUCK])
    assert after is not None, "a pass gives the right to tell back"


async def test_a_message_that_is_refused_holds_up_no_other_and_comes_again(sqlite_url: str) -> None:
    async with house(sqlite_url) as (store, clock, hook):
        done = Pass(store, clock, "pass")
        done.health.failed("irp", "answered 503")
        done.health.backlog(parked={"irp": 1}, held={})
        hook.refuses = "stuck"
        await tell(hook, done.knowledge, LIMITS)
        hook.refuses = ""
        await tell(hook, done.knowledge, LIMITS)

    assert hook.told == [("parked", "warning", "irp"), STUCK]


async def test_a_receiver_that_is_away_is_asked_once(sqlite_url: str) -> None:
    async with house(sqlite_url) as (store, clock, hook):
        done = Pass(store, clock, "pass")
        done.health.backlog(parked={"irp": 1}, held={"irp": 1, "kuma": 1})
        hook.away = True
        await tell(hook, done.knowledge, LIMITS)

    assert hook.asked == 1
