"""What a transaction locks: all in one order, whoever asks, so that two never wait for each other."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from builders import ALERT_ID, a_link
from stores import opened
from test_store_queue_races import somebody_waits

import kuma_sync
from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import ClaimLost
from kuma_sync.core.link import Doubt
from kuma_sync.store import Lane, Put, Store, Tx
from kuma_sync.store.locks import Renew, Stop, lock
from kuma_sync.sync.operator import resync

A, B = AlertId("a"), AlertId("b")
LEASE = timedelta(seconds=60)


async def linked(store: Store, *ids: AlertId) -> None:
    with store.writing() as tx:
        tx.links.add([a_link(alert_id=each) for each in ids], now=tx.now)
        tx.delivery.put([Put(subject=each, lane=Lane.CREATE) for each in ids])


async def test_what_is_locked_is_told_as_it_is_now(database_url: str) -> None:
    async with opened(database_url) as store:
        await linked(store, A, B)
        with store.writing() as tx:
            leadership = tx.lease.take("reader", "us", ttl=LEASE)
            (ours, lost) = tx.delivery.claim(2, owner="us", lease=LEASE)
            tx.delivery.stop(lost.subject)
            jobs = Renew(claims=[ours, lost], lease=LEASE)
            locked = lock(tx, leadership=leadership, deliveries=jobs, links=[B, A, ALERT_ID])

    assert locked.ours == {ours.id}
    assert locked.links == {A: a_link(alert_id=A), B: a_link(alert_id=B)}


async def test_who_lost_the_turn_locks_nothing_more(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            leadership = tx.lease.take("reader", "us", ttl=LEASE)
            tx.lease.take("reader", "they", ttl=LEASE, force=True)
        with pytest.raises(ClaimLost), store.writing() as tx:
            lock(tx, leadership=leadership, links=[A])


async def test_a_delivery_that_is_stopped_is_counted_once(database_url: str) -> None:
    async with opened(database_url) as store:
        await linked(store, A)
        with store.writing() as tx:
            tx.delivery.claim(1, owner="us", lease=LEASE)
            first = lock(tx, deliveries=Stop(subject=A), links=[A])
            second = lock(tx, deliveries=Stop(subject=A), links=[A])

    assert (first.stopped, second.stopped) == (1, 0)


async def test_alerts_named_in_any_order_are_resynced_beside_a_delivery(postgres_url: str) -> None:
    """The operator names b before a; a delivery holds a, and wants b."""
    async with opened(postgres_url) as daemon, opened(postgres_url) as operator:
        await linked(daemon, A, B)

        def ordered(tx: Tx) -> list[AlertId]:
            return resync(tx, [B, A], by="ann")

        async with asyncio.TaskGroup() as group:
            with daemon.writing() as tx:
                lock(tx, links=[A])
                order = group.create_task(operator.write(ordered))
                await somebody_waits(postgres_url)
                lock(tx, links=[B])
        with daemon.reading() as tx:
            doubts = {link.doubt for link in tx.links.many([A, B]).values()}

    assert (order.result(), doubts) == ([B, A], {Doubt.RESYNC})


def test_whoever_locks_several_kinds_asks_the_one_function() -> None:
    package = Path(kuma_sync.__file__).parent
    asks = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        for word in (".lease.ensure_valid(", ".lease.lock(", ".links.locked(", ".delivery.stop(")
        if word in path.read_text()
    }

    assert asks == {"store/locks.py"}
