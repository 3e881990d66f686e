"""What a process notes of how much it did."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from stores import Clock, opened

from kuma_sync.store import Store
from kuma_sync.store.activity import Counts
from kuma_sync.store.read_models.activity import Slot
from kuma_sync.sync.runtime.activity import ActivityLog
from kuma_sync.telemetry.metrics import Metrics

NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


def noted(store: Store) -> Slot:
    with store.reading() as tx:
        return tx.happened.last(timedelta(hours=1))


def work(metrics: Metrics) -> None:
    """Count what a daemon counts."""
    metrics.alerts.labels(change="new").inc(3)
    metrics.alerts.labels(change="updated").inc(2)
    metrics.alerts.labels(change="rejected").inc()
    metrics.closes.labels(result="closed").inc()
    metrics.closes.labels(result="already_closed").inc()
    metrics.closes.labels(result="failed").inc(4)
    for operation, result in (("create", "ok"), ("create", "transient"), ("close", "ok"), ("close", "refused")):
        metrics.deliveries.labels(operation=operation, result=result, target="north").inc()
    for seconds in (0.5, 2.5):
        metrics.delivered("north", seconds)


async def test_what_the_counters_grew_by_is_noted_by_target(database_url: str) -> None:
    metrics = Metrics()
    work(metrics)
    async with opened(database_url, clock=Clock(NOON)) as store:
        log = ActivityLog(store, metrics, owner="vm:1:a", clock=Clock(NOON))
        metrics.take_longest()
        work(metrics)
        await log.note()

        found = noted(store)

    assert found.kuma == Counts(arrived=3, changed=2, closed=2, failed=4)
    assert found.targets == {"north": Counts(delivered=2, waited=3.0, longest=2.5, closed=1, failed=2)}


async def test_what_was_noted_is_not_noted_again_and_a_quiet_minute_writes_nothing(database_url: str) -> None:
    metrics = Metrics()
    async with opened(database_url, clock=Clock(NOON)) as store:
        log = ActivityLog(store, metrics, owner="vm:1:a", clock=Clock(NOON))
        work(metrics)
        await log.note()
        first = noted(store)
        with store.writing() as tx:
            tx.activity.forget(NOON + timedelta(hours=1))
        await log.note()

        assert first.kuma.arrived == 3
        assert noted(store).targets == {}


async def test_several_who_note_at_once_note_it_once(database_url: str) -> None:
    metrics = Metrics()
    async with opened(database_url, clock=Clock(NOON)) as store:
        log = ActivityLog(store, metrics, owner="vm:1:a", clock=Clock(NOON))
        work(metrics)
        await asyncio.gather(*(log.note() for _ in range(5)))

        assert noted(store).kuma.arrived == 3


async def test_what_a_store_that_is_away_did_not_take_is_noted_later_and_nothing_is_raised(database_url: str) -> None:
    metrics, clock = Metrics(), Clock(NOON)
    async with opened(database_url, clock=clock) as store:
        log = ActivityLog(store, metrics, owner="vm:1:a", clock=clock)
        work(metrics)
        with store.engine.begin() as connection:
            connection.execute(text("ALTER TABLE activity RENAME TO elsewhere"))
        await log.note()
        with store.engine.begin() as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO activity"))
        metrics.delivered("north", 1.0)
        await log.note()

        found = noted(store)

    assert found.kuma.arrived == 3
    assert found.targets["north"].delivered == 3
    assert found.targets["north"].longest == 2.5
