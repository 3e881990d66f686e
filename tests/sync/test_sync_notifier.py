"""The notifier with a real store and a receiver that takes what it is told, or does not."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from stores import Clock, opened

from kuma_sync.core.errors import Transient
from kuma_sync.store import Store
from kuma_sync.sync.limits import NoticeLimits
from kuma_sync.sync.runtime.notifying import Knowledge, Notifier
from kuma_sync.telemetry.certificates import Certificates
from kuma_sync.telemetry.health import Health

LIMITS = NoticeLimits(first_wait=timedelta(0), longest_wait=timedelta(0))
SUCCEEDED_AT_ONCE = replace(LIMITS, lease=timedelta(0))


class Hook:
    """A receiver in memory."""

    def __init__(self) -> None:
        self.takes = True
        self.refuses = ""
        self.told: list[tuple[str, str, str]] = []

    async def send(self, message: Mapping[str, str]) -> None:
        """Take a message, or raise."""
        if not self.takes or message["event"] == self.refuses:
            raise Transient(remote="notify.webhook_url", operation="tell", summary="answered 500")
        self.told.append((message["event"], message["severity"], message["target"]))


class Copy:
    """One process's notifier with a clock that is moved."""

    def __init__(
        self, store: Store, clock: Clock, hook: Hook, owner: str = "one", *, limits: NoticeLimits = LIMITS
    ) -> None:
        self.clock = clock
        self.health = Health(monotonic=time.monotonic)
        self.certificates = Certificates()
        knowledge = Knowledge(store=store, owner=owner, health=self.health, certificates=self.certificates, clock=clock)
        self.notifier = Notifier(hook, knowledge, limits)
        self.notifier.is_open = True

    async def looks(self, seconds: int = 0) -> None:
        """Look every five seconds for so long, and until nothing is told any more."""
        for _ in range(seconds // 5):
            self.clock.advance(seconds=5)
            await self.settled()
        await self.settled()

    async def settled(self) -> None:
        while await self.notifier.look():
            pass


@asynccontextmanager
async def house(url: str) -> AsyncIterator[tuple[Store, Clock, Hook]]:
    clock = Clock()
    async with opened(url, clock=clock) as store:
        yield store, clock, Hook()


PAUSED, RESUMED = ("paused", "critical", "irp"), ("paused", "ok", "irp")


async def test_a_refusal_is_told_and_its_end(database_url: str) -> None:
    async with house(database_url) as (store, clock, hook):
        copy = Copy(store, clock, hook)
        copy.health.paused("irp", "token refused (answered 401)")
        await copy.looks(120)
        copy.health.succeeded("irp")
        await copy.looks(300)

    assert hook.told == [PAUSED, RESUMED]


async def test_a_process_that_begins_anew_tells_nothing_again(database_url: str) -> None:
    async with house(database_url) as (store, clock, hook):
        for number in range(3):
            copy = Copy(store, clock, hook, owner=f"life {number}", limits=SUCCEEDED_AT_ONCE)
            copy.health.paused("irp", "token refused (answered 401)")
            await copy.looks(180)
        last = Copy(store, clock, hook, owner="last life", limits=SUCCEEDED_AT_ONCE)
        await last.looks(300)

    assert hook.told == [PAUSED, RESUMED]


async def test_of_two_copies_one_tells_also_what_only_the_other_knows(postgres_url: str) -> None:
    from kuma_sync.core.condition import Trouble
    from kuma_sync.store import Process

    async with house(postgres_url) as (store, clock, hook):
        one, other = Copy(store, clock, hook, "one"), Copy(store, clock, hook, "other")
        await one.looks()
        await other.looks()
        other.health.refused("irp.url: cannot change")
        process = Process(owner="other", host="b", pid=2, version="1", started_at=clock())
        trouble = Trouble(part="configuration", state="refused", reason="irp.url: cannot change", since=clock())
        await store.write(lambda tx: tx.heartbeats.beat(process, (trouble,)))
        for _ in range(10):
            await other.looks(5)
            await one.looks(5)

    assert hook.told == [("configuration_refused", "warning", "")]


async def test_a_receiver_that_fails_is_told_later_and_only_what_still_lasts(database_url: str) -> None:
    async with house(database_url) as (store, clock, hook):
        copy = Copy(store, clock, hook)
        hook.takes = False
        copy.health.backlog(parked={"irp": 1}, held={"kuma": 4})
        await copy.looks(60)
        copy.health.backlog(parked={}, held={"kuma": 4})
        await copy.looks(300)
        hook.takes = True
        await copy.looks(10)

    assert hook.told == [("held", "warning", "kuma")]


async def test_a_message_that_is_refused_holds_up_no_other(database_url: str) -> None:
    async with house(database_url) as (store, clock, hook):
        copy = Copy(store, clock, hook, limits=NoticeLimits())
        hook.refuses = "parked"
        copy.health.backlog(parked={"irp": 1}, held={})
        await copy.looks(60)
        copy.health.refused("irp.url: cannot change")
        await copy.looks(60)

    assert hook.told == [("configuration_refused", "warning", "")]


async def test_a_store_out_of_reach_is_told_and_remembered_when_it_is_back(sqlite_url: str) -> None:
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    async with house(sqlite_url) as (store, clock, hook):
        copy = Copy(store, clock, hook)
        await copy.looks()
        aside = path.rename(path.with_name("aside.db"))
        copy.health.failed("store", "its file was moved or deleted")
        await copy.looks(120)
        told = list(hook.told)
        aside.rename(path)
        await copy.looks(5)
        again = Copy(store, clock, hook, owner="next life")
        again.health.failed("store", "the disk is full")
        await again.looks(120)

    assert told == hook.told == [("store_unavailable", "critical", "store")]


async def test_a_store_that_is_away_from_the_start_is_told(sqlite_url: str) -> None:
    async with house(sqlite_url) as (store, clock, hook):
        copy = Copy(store, clock, hook)
        copy.notifier.is_open = False
        copy.health.failed("store", "the database is out of reach")
        await copy.looks(120)

    assert hook.told == [("store_unavailable", "critical", "store")]


async def test_while_the_store_is_not_there_nothing_else_is_told(sqlite_url: str) -> None:
    """Another copy, or an earlier life, may have told it."""
    async with house(sqlite_url) as (store, clock, hook):
        copy = Copy(store, clock, hook)
        copy.notifier.is_open = False
        copy.health.refused("irp.url: cannot change")
        await copy.looks(60)
        told = list(hook.told)
        copy.notifier.is_open = True
        await copy.looks(5)

    assert told == []
    assert hook.told == [("configuration_refused", "warning", "")]


async def test_a_certificate_that_is_renewed_is_over(database_url: str) -> None:
    async with house(database_url) as (store, clock, hook):
        copy = Copy(store, clock, hook)
        copy.certificates.shown("kuma", clock() + timedelta(days=10))
        await copy.looks(60)
        copy.certificates.shown("kuma", clock() + timedelta(days=90))
        await copy.looks(300)

    assert hook.told == [("certificate_expires", "warning", "kuma"), ("certificate_expires", "ok", "kuma")]
