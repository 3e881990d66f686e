"""Heartbeats: what each process that works on a store said last, and when."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial

from sqlalchemy import text
from stores import Clock, opened

from kuma_sync.core.condition import Trouble
from kuma_sync.store import Process, Store, Tx

CLOCK = Clock()
ONE = Process(owner="host:1:a", host="host", pid=1, version="1.2", started_at=CLOCK.now)
OTHER = replace(ONE, owner="host:2:b", pid=2, single_pass=True, started_at=CLOCK.now + timedelta(seconds=1))
REFUSED = Trouble(part="irp", state="paused", reason="token refused", since=CLOCK.now)


async def beat(store: Store, *processes: Process, condition: tuple[Trouble, ...] = ()) -> None:
    for process in processes:
        await store.write(partial(_beat, process, condition))


def _beat(process: Process, condition: tuple[Trouble, ...], tx: Tx) -> None:
    tx.heartbeats.beat(process, condition)


async def test_what_a_process_said_last_is_heard_with_how_long_ago(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        await beat(store, OTHER, ONE)
        await beat(store, ONE, condition=(REFUSED,))
        clock.advance(seconds=30)
        if not store.local:
            with store.engine.begin() as connection:
                connection.execute(text("UPDATE heartbeats SET heard_at = heard_at - interval '30 seconds'"))
        with store.reading() as tx:
            first, second = tx.heartbeats.heard()

    assert (first.process, second.process) == (ONE, OTHER)
    assert (first.condition, second.condition) == ((REFUSED,), ())
    assert timedelta(seconds=30) <= first.silent < timedelta(seconds=40)


async def test_a_process_that_ends_is_forgotten_at_once(database_url: str) -> None:
    async with opened(database_url) as store:
        await beat(store, ONE, OTHER)
        with store.writing() as tx:
            tx.heartbeats.end(ONE.owner)
        with store.reading() as tx:
            left = tx.heartbeats.heard()

    assert [one.process for one in left] == [OTHER]


async def test_who_had_the_number_of_a_process_before_is_forgotten_when_it_starts(database_url: str) -> None:
    killed = replace(ONE, owner="host:1:killed", started_at=CLOCK.now - timedelta(minutes=1))
    away = replace(ONE, owner="elsewhere:1:c", host="elsewhere")
    async with opened(database_url) as store:
        await beat(store, killed, OTHER, away)
        with store.writing() as tx:
            tx.heartbeats.forget_predecessors(ONE)
            tx.heartbeats.beat(ONE, ())
        with store.reading() as tx:
            left = {one.process.owner for one in tx.heartbeats.heard()}

    assert left == {ONE.owner, OTHER.owner, away.owner}


async def test_processes_long_silent_are_forgotten_and_the_others_stay(database_url: str) -> None:
    async with opened(database_url) as store:
        await beat(store, ONE)
        with store.engine.begin() as connection:
            old = "'2026-01-01T00:00:00.000000Z'"
            connection.execute(text(f"UPDATE heartbeats SET heard_at = {old}"))
        await beat(store, OTHER)
        with store.writing() as tx:
            tx.heartbeats.forget(silent_for=timedelta(days=1))
        with store.reading() as tx:
            left = tx.heartbeats.heard()

    assert [one.process for one in left] == [OTHER]


async def test_a_trouble_in_words_of_a_newer_version_is_read_as_far_as_it_is_known(database_url: str) -> None:
    async with opened(database_url) as store:
        await beat(store, ONE)
        with store.engine.begin() as connection:
            newer = '[{"part": "irp:north", "since": 7, "n": 1}]'
            connection.execute(text("UPDATE heartbeats SET condition = :newer"), {"newer": newer})
        with store.reading() as tx:
            ((trouble,),) = [one.condition for one in tx.heartbeats.heard()]

    assert (trouble.part, trouble.state, trouble.reason) == ("irp:north", "", "")


async def test_copies_that_beat_at_once_do_not_disturb_each_other(database_url: str) -> None:
    async with opened(database_url) as store:
        await asyncio.gather(*(beat(store, replace(ONE, owner=f"host:{n}", pid=n)) for n in range(8)))
        with store.reading() as tx:
            heard = tx.heartbeats.heard()

    assert {one.process.pid for one in heard} == set(range(8))
