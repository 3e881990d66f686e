"""The heartbeat: said when something changed and every 20 s, no more often; nobody stops where it cannot be said."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, text
from stores import engines_of, opened

from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.store import Heartbeat, Process, Store, Tx
from kuma_sync.store.copies import DEAD_AFTER
from kuma_sync.sync.limits import Limits, Restarts
from kuma_sync.sync.runtime.monitor import Heart
from kuma_sync.telemetry.health import Health

STARTED = datetime(2026, 1, 15, 12, tzinfo=UTC)


def a_process(owner: str = "host:1:a") -> Process:
    return Process(owner=owner, host="host", pid=1, version="1", started_at=STARTED)


STANDARD = Limits()


def a_heart(store: Store, *, health: Health | None = None, owner: str = "host:1:a", limits: Limits = STANDARD) -> Heart:
    health = health or Health(monotonic=time.monotonic)
    return Heart(store, a_process(owner), health=health, clock=lambda: datetime.now(UTC), limits=limits)


async def heard(store: Store) -> list[Heartbeat]:
    with store.reading() as tx:
        return tx.heartbeats.heard()


def listened_to(store: Store, statements: list[str]) -> None:
    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    for engine in engines_of(store):
        event.listen(engine, "before_cursor_execute", note)


def test_a_daemon_that_is_killed_counts_as_dead_within_a_minute() -> None:
    assert timedelta(seconds=10) <= STANDARD.heartbeat <= timedelta(seconds=30)
    assert timedelta(minutes=1) >= DEAD_AFTER > STANDARD.heartbeat * 2


async def test_it_is_said_once_and_again_only_when_something_changed(database_url: str) -> None:
    health = Health(monotonic=time.monotonic)
    async with opened(database_url) as store:
        heart = a_heart(store, health=health)
        await heart.beat()
        before = await heard(store)
        writes = list[str]()
        listened_to(store, writes)
        for _ in range(20):
            await heart.beat()
        quiet = list(writes)
        health.paused("irp", "token refused")
        await heart.beat()
        after = await heard(store)
        health.refused("poll.intervall: is not a known key")
        await heart.beat()
        refused = await heard(store)
        health.succeeded("irp")
        health.refused("")
        await heart.beat()
        well = await heard(store)

    def irp(found: list[Heartbeat]) -> list[tuple[str, str, str]]:
        return [
            (one.part, one.state, one.reason)
            for one in found[0].condition
            if one.part in ("irp", "configuration") and one.state != "starting"
        ]

    assert quiet == []
    assert irp(before) == []
    assert irp(after) == [("irp", "paused", "token refused")]
    assert irp(refused) == [*irp(after), ("configuration", "refused", "poll.intervall: is not a known key")]
    assert irp(well) == []


async def test_it_is_said_every_20_s_though_nothing_changed(sqlite_url: str) -> None:
    async with opened(sqlite_url) as store:
        heart = a_heart(store, limits=Limits(heartbeat=timedelta()))
        await heart.beat()
        first = await heard(store)
        await heart.beat()
        second = await heard(store)

    assert second[0].heard_at > first[0].heard_at


async def test_while_it_beats_it_is_heard_and_at_the_end_it_takes_leave(database_url: str) -> None:
    async with opened(database_url) as store:
        async with a_heart(store).beating():
            async with asyncio.timeout(10):
                while not await heard(store):
                    await asyncio.sleep(0.02)
        left = await heard(store)

    assert left == []


async def test_it_is_heard_at_once_and_not_only_at_the_first_look(sqlite_url: str) -> None:
    limits = Limits(heartbeat_looked_for=timedelta(seconds=1000))
    async with opened(sqlite_url) as store, a_heart(store, limits=limits).beating(), asyncio.timeout(10):
        while not await heard(store):
            await asyncio.sleep(0.02)


async def test_on_a_file_what_dead_processes_left_is_forgotten_and_copies_stay(database_url: str) -> None:
    async with opened(database_url) as store:
        await a_heart(store, owner="host:0:dead").beat()
        await a_heart(store, owner="host:1:alive").beat()
        owners = [one.process.owner for one in await heard(store)]

    assert owners == ["host:1:alive"] if store.local else ["host:0:dead", "host:1:alive"]


async def test_a_store_that_is_away_keeps_nobody_from_going_on(sqlite_url: str) -> None:
    limits = Limits(heartbeat_looked_for=timedelta(milliseconds=10))
    async with opened(sqlite_url) as store:
        write, away, tries = store.write, [True], list[int]()

        async def sometimes(work: Callable[[Tx], None]) -> None:
            tries.append(1)
            if away[0]:
                raise StoreUnavailable("the store is out of reach")
            await write(work)

        store.write = sometimes  # type: ignore[method-assign, assignment]  # a store that goes away and comes back
        async with a_heart(store, limits=limits).beating():
            async with asyncio.timeout(10):
                while len(tries) < 5:
                    await asyncio.sleep(0.01)
                away[0] = False
                while not await heard(store):
                    await asyncio.sleep(0.01)
            away[0] = True

    assert len(tries) > 5


async def test_beats_that_fail_on_and_on_end_what_they_speak_for(postgres_url: str) -> None:
    limits = Limits(restarts=Restarts(too_often=1))
    async with opened(postgres_url) as store:
        await rename(store, "condition", "renamed")
        try:
            with pytest.raises(ExceptionGroup) as ended:
                async with asyncio.timeout(30), a_heart(store, limits=limits).beating():
                    await asyncio.Event().wait()
        finally:
            await rename(store, "renamed", "condition")  # other tests use this database, too

    assert "the heartbeat loop keeps failing" in str(ended.value.exceptions[0])


async def rename(store: Store, column: str, name: str) -> None:
    with store.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE heartbeats RENAME COLUMN {column} TO {name}"))


async def test_an_outage_keeps_its_age_over_an_operators_pause(database_url: str) -> None:
    health = Health(monotonic=time.monotonic)
    async with opened(database_url) as store:
        heart = a_heart(store, health=health)
        health.paused("irp", "503")
        await heart.beat()
        (before,) = [one for one in (await heard(store))[0].condition if one.part == "irp"]
        health.maintained({"irp": "paused by anna"})
        await heart.beat()
        await heart.beat()
        (under,) = [one for one in (await heard(store))[0].condition if one.part == "irp"]
        health.maintained({})
        await heart.beat()
        (after,) = [one for one in (await heard(store))[0].condition if one.part == "irp"]

    assert under == replace(before, maintained=True)
    assert after == before
