"""Several stores on one real PostgreSQL: the races that it was built against, each forced to happen."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any

import psycopg
from builders import NOW, a_link, an_alert, changed
from queue_steps import LEASE, again, claim, claim_one, done, job, jobs, put
from sqlalchemy import event
from stores import Clock, opened

from kuma_sync.core.alert import AlertId, AlertSnapshot
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import Link
from kuma_sync.store import Claim, Lane, Put, Shape, Shown, Store, Tx
from kuma_sync.store.jobs import JobState
from kuma_sync.store.locks import lock
from kuma_sync.sync import operator
from kuma_sync.sync.leader import READER
from kuma_sync.sync.runtime.housekeeping import prune


@asynccontextmanager
async def stores(url: str, number: int) -> AsyncIterator[list[Store]]:
    """Open several stores, as several copies of the daemon do."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opened(url)) for _ in range(number)]


async def somebody_waits(url: str) -> None:
    """Return as soon as a session of this database waits for another one's lock."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND wait_event_type = 'Lock' AND state = 'active'"
    )
    async with asyncio.timeout(10), await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while True:
            row = await (await connection.execute(query)).fetchone()
            if row is not None and row[0]:
                return
            await asyncio.sleep(0.01)


async def test_a_change_put_onto_a_waiting_job_is_never_delivered_from_before_the_change(postgres_url: str) -> None:
    """With DO NOTHING the worker takes the job, reads the old content, finishes it, and the change is lost."""
    async with stores(postgres_url, 2) as (poller, worker):
        await put(poller)

        with poller.writing() as tx:
            tx.delivery.put([Put(subject="a", lane=Lane.UPDATE)])
            before_the_commit = await claim(worker)
        after_the_commit = await claim(worker)

        assert before_the_commit == []
        assert [claimed.subject for claimed in after_the_commit] == ["a"]


async def test_a_change_put_while_the_job_is_being_claimed_becomes_a_successor(postgres_url: str) -> None:
    async with stores(postgres_url, 2) as (poller, worker):
        await put(poller)

        async with asyncio.TaskGroup() as group:
            with worker.writing() as tx:
                (claimed,) = tx.delivery.claim(1, owner="w1", lease=LEASE)
                group.create_task(put(poller))
                await somebody_waits(postgres_url)
        states = [row.state for row in await jobs(poller)]
        await done(worker, claimed)

        assert sorted(states) == ["pending", "running"]
        assert (await claim_one(worker)).id != claimed.id


async def test_two_workers_asking_at_once_never_get_the_same_job(postgres_url: str) -> None:
    async with stores(postgres_url, 2) as (one, other):
        with one.writing() as tx:
            tx.delivery.put([Put(subject=f"a{number}", lane=Lane.UPDATE) for number in range(10)])

        with one.writing() as mine, other.writing() as theirs:
            first = mine.delivery.claim(6, owner="w1", lease=LEASE)
            second = theirs.delivery.claim(6, owner="w2", lease=LEASE)

        subjects = [claimed.subject for claimed in first + second]
        assert [len(first), len(second)] == [6, 4]
        assert len(set(subjects)) == 10


async def test_a_job_put_back_meets_a_change_that_commits_in_that_very_moment(postgres_url: str) -> None:
    async with stores(postgres_url, 2) as (poller, worker):
        await put(poller)
        claimed = await claim_one(worker)

        def put_back(tx: Tx) -> None:
            tx.delivery.again(claimed, at=tx.now + timedelta(minutes=10), reason="503")

        async with asyncio.TaskGroup() as group:
            with poller.writing() as tx:
                tx.delivery.put([Put(subject="a", lane=Lane.CREATE)])
                group.create_task(worker.write(put_back))
                await somebody_waits(postgres_url)

        merged = await job(poller)
        assert (merged.state, merged.attempts, merged.lane) == (JobState.PENDING, 1, Lane.CREATE)
        assert merged.due > merged.put_at + timedelta(minutes=9)


async def test_a_job_put_back_beside_a_change_that_is_taken_back_waits_by_itself(postgres_url: str) -> None:
    async with stores(postgres_url, 2) as (poller, worker):
        await put(poller)
        claimed = await claim_one(worker)

        def put_back(tx: Tx) -> None:
            tx.delivery.again(claimed, at=tx.now + timedelta(minutes=10), reason="503")

        async def change_and_fail(group: asyncio.TaskGroup) -> None:
            with poller.writing() as tx:
                tx.delivery.put([Put(subject="a", lane=Lane.CREATE)])
                group.create_task(worker.write(put_back))
                await somebody_waits(postgres_url)
                raise LookupError

        async with asyncio.TaskGroup() as group:
            with suppress(LookupError):
                await change_and_fail(group)

        waiting = await job(poller)
        assert (waiting.state, waiting.attempts, waiting.lane) == (JobState.PENDING, 1, Lane.UPDATE)


async def test_a_job_being_parked_meets_a_change_and_the_change_is_tried(postgres_url: str) -> None:
    async with stores(postgres_url, 2) as (poller, worker):
        await put(poller)
        claimed = await claim_one(worker)

        def park(tx: Tx) -> None:
            tx.delivery.park(claimed, "refused")
            tx.audit.note("w1", "parked", "a")

        async with asyncio.TaskGroup() as group:
            with poller.writing() as tx:
                tx.delivery.put([Put(subject="a", lane=Lane.UPDATE)])
                group.create_task(worker.write(park))
                await somebody_waits(postgres_url)

        second = await claim_one(worker)
        assert (second.attempts, len(await jobs(poller))) == (0, 1)
        with poller.reading() as read:
            assert [entry.action for entry in read.audit.history("a")] == ["parked"]


SUBJECTS = [AlertId(f"a{number}") for number in range(40)]
CHANGES = 25


class Witness:
    """What was delivered, and whether two jobs of one subject ever ran at once."""

    def __init__(self) -> None:
        self.running: Counter[str] = Counter()
        self.delivered: dict[str, int] = {}
        self.overlaps: list[str] = []
        self.writers = 3


async def write(store: Store, witness: Witness, chance: random.Random) -> None:
    """Change alerts, a few in one transaction: their queue rows, and their content (a number on the link)."""
    for _ in range(CHANGES):
        subjects = sorted(chance.sample(SUBJECTS, 5))
        await store.write(partial(change, [Put(subject=each, lane=chance.choice(list(Lane))) for each in subjects]))
    witness.writers -= 1


def change(puts: Sequence[Put], tx: Tx) -> None:
    tx.delivery.put(puts)
    for each in puts:
        tx.links.change(AlertId(each.subject), _grown, now=NOW)


def _grown(link: Link) -> Link:
    return changed(link, close_origin=Origin.IRP, close_comment=str(int(link.close_comment or "0") + 1))


async def work(store: Store, witness: Witness, chance: random.Random, owner: str) -> None:
    """Deliver what is due until the writers ended and nothing is left."""
    while True:
        nothing_more_comes = not witness.writers
        claims = await claim(store, chance.choice([1, 3]), owner=owner)
        witness.running.update(claimed.subject for claimed in claims)
        witness.overlaps += [claimed.subject for claimed in claims if witness.running[claimed.subject] > 1]
        for claimed in claims:
            link = await store.read(partial(link_of, claimed))
            assert link is not None
            witness.delivered[claimed.subject] = int(link.close_comment or "0")
            witness.running[claimed.subject] -= 1
            if chance.random() < 0.3:
                await again(store, claimed, after=0, reason="503")
            else:
                await done(store, claimed)
        if nothing_more_comes and not claims and not await jobs(store):
            return


def link_of(claim: Claim, tx: Tx) -> Link | None:
    return tx.links.get(AlertId(claim.subject))


async def test_four_workers_and_three_writers_lose_nothing_and_double_nothing(
    postgres_url: str,
) -> None:
    witness, seeds = Witness(), itertools.count(7)
    async with stores(postgres_url, 7) as opened_stores:
        with opened_stores[0].writing() as tx:
            tx.links.add([a_link(alert_id=subject) for subject in SUBJECTS], now=NOW)

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for store in opened_stores[:3]:
                group.create_task(write(store, witness, random.Random(next(seeds))))
            for number, store in enumerate(opened_stores[3:]):
                group.create_task(work(store, witness, random.Random(next(seeds)), f"w{number}"))

        with opened_stores[0].reading() as tx:
            links = tx.links.many(SUBJECTS)
        assert witness.overlaps == []
        assert witness.delivered == {key: int(link.close_comment) for key, link in links.items()}


# Pruning from the command line


async def old_and_settled(store: Store, clock: Clock, *ids: str) -> None:
    """Have alerts that were closed long ago, and that the last sweep did not show any more."""
    with store.writing() as tx:
        for alert_id in map(AlertId, ids):
            shown = Shown(snapshot=AlertSnapshot(alert=an_alert(id=alert_id)), shape=Shape.LISTING, digest=None)
            tx.alerts.save([shown], now=tx.now, sweep=1)
            tx.links.add([a_link(alert_id=alert_id, alert_closed=True)], now=tx.now)
    clock.advance(days=91)
    with store.writing() as tx:
        tx.cursor.move(sweep=2)
        tx.lease.take(READER, "reader", ttl=LEASE)


async def test_what_a_read_is_just_showing_again_is_not_pruned(postgres_url: str) -> None:
    clock = Clock()
    async with opened(postgres_url, clock=clock) as reader, opened(postgres_url, clock=clock) as operator:
        await old_and_settled(reader, clock, "a", "b")
        async with asyncio.TaskGroup() as group:
            with reader.writing() as tx:
                leadership = tx.lease.take(READER, "reader", ttl=LEASE)
                assert leadership is not None
                pruning = group.create_task(prune(operator, timedelta(days=90)))
                await somebody_waits(postgres_url)
                tx.alerts.mark_shown([AlertId("a")], 3)
                tx.alerts.mark_shown([AlertId("b")], 0)
        with reader.reading() as tx:
            left = tx.alerts.snapshots([AlertId("a"), AlertId("b")])

    assert (pruning.result(), list(left)) == (1, ["a"])


async def test_an_alert_for_which_a_closing_is_being_handed_in_is_not_pruned(postgres_url: str) -> None:
    clock = Clock()
    async with opened(postgres_url, clock=clock) as door, opened(postgres_url, clock=clock) as operator:
        await old_and_settled(door, clock, "a", "b")
        with door.writing() as tx:
            lock(tx, links=[AlertId("a")])
            async with asyncio.timeout(10):
                removed = await prune(operator, timedelta(days=90))
            tx.closes.put([Put(subject="a", lane=Lane.CLOSE)])
        with door.reading() as tx:
            left = tx.links.many([AlertId("a"), AlertId("b")])

    assert (removed, list(left)) == (1, ["a"])


async def test_what_is_released_at_this_moment_is_not_given_up_with_its_group(postgres_url: str) -> None:
    async with stores(postgres_url, 2) as (one, other):
        with one.writing() as tx:
            tx.links.add([a_link(held_create=True)], now=tx.now)
            (held,) = tx.waiting.held()

        async with asyncio.TaskGroup() as group:
            with one.writing() as tx:
                released = operator.release(tx, by="viktor", what=[held])
                dropping = group.create_task(other.write(lambda tx: operator.drop(tx, held.id, by="anna", seen=[held])))
                await somebody_waits(postgres_url)

        assert (released, dropping.result()) == ([held.id], False)
        assert [row.state for row in await jobs(one)] == [JobState.PENDING]


async def test_a_pause_is_not_ended_by_another_while_it_is_being_ended(postgres_url: str) -> None:
    """With DO NOTHING and a lock afterwards the row could vanish in between, and the second found none to lock."""
    refused: list[bool] = []

    def end_it_elsewhere(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if not statement.startswith("INSERT INTO pauses"):
            return
        with psycopg.connect(postgres_url, autocommit=True, options="-c lock_timeout=200") as another:
            try:
                another.execute("DELETE FROM pauses")
            except psycopg.errors.LockNotAvailable:
                refused.append(True)

    async with stores(postgres_url, 2) as (one, other):
        await one.write(lambda tx: tx.pauses.begin("irp", until=None, by="anna"))
        event.listen(other.engine, "after_cursor_execute", end_it_elsewhere)

        with other.writing() as tx:
            ended = tx.pauses.end("irp")

    assert ended is not None
    assert refused
