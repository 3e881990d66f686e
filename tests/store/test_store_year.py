"""Many days in the life of a store: it stops growing when its retention is reached, and a quiet minute costs at the end
what it cost in the third week. Work is counted (rows, pages, the engine's own steps), never timed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from builders import a_link, an_asset, an_event, an_incident, seen
from sqlalchemy import event, func, select, text
from stores import Clock, engines_of, opened

from kuma_sync.core import transitions
from kuma_sync.core.alert import AlertId, AlertSnapshot, first_snapshot
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import DeliveredState, Link, Linked
from kuma_sync.store import Lane, PassRecord, Put, Shape, Shown, Store, Tx
from kuma_sync.store.pruning import AT_ONCE
from kuma_sync.store.schema import metadata
from kuma_sync.sync.runtime.housekeeping import prune

RETENTION = timedelta(days=30)
A_DAY = 2
"""Alerts that appear in a day."""


@dataclass(slots=True)
class Year:
    """A KUMA with its IRP as the store sees them: what appeared on which day, and how it stands."""

    store: Store
    clock: Clock
    day: int = 0
    snapshots: dict[AlertId, AlertSnapshot] = field(default_factory=dict)
    born: dict[int, list[AlertId]] = field(default_factory=dict)

    async def lives(self, days: int) -> None:
        for _ in range(days):
            self.clock.advance(days=1)
            self.day += 1
            with self.store.writing() as tx:
                self._day(tx)
            if self.day % 7 == 0:
                await prune(self.store, RETENTION)

    def _day(self, tx: Tx) -> None:
        """Let alerts appear, half of yesterday's grow, and those of three days ago be closed; then sweep."""
        fresh = self.born[self.day] = [AlertId(f"{self.day:03}-{number}") for number in range(A_DAY)]
        growing, closing = self.born.get(self.day - 1, [])[::2], self.born.pop(self.day - 3, [])
        for alert_id in fresh:
            self.snapshots[alert_id] = first_snapshot(self._seen(alert_id, 1))
        for alert_id in growing:
            self.snapshots[alert_id] = self.snapshots[alert_id].with_seen(self._seen(alert_id, 3))
        for alert_id in closing:
            snapshot = self.snapshots[alert_id]
            self.snapshots[alert_id] = replace(snapshot, alert=replace(snapshot.alert, status="closed"))
        tx.links.add([Link(alert_id=alert_id) for alert_id in fresh], now=tx.now)
        self._told(tx, [*fresh, *growing, *closing])
        for alert_id in closing:
            tx.links.change(alert_id, _closed, now=tx.now)
            tx.audit.note("kuma-sync", "incident_closed", alert_id, "responded")
            del self.snapshots[alert_id]
        self._sweep(tx)

    def _told(self, tx: Tx, ids: list[AlertId]) -> None:
        """Record what a read showed, and deliver it."""
        shown = [
            Shown(
                snapshot=self.snapshots[alert_id],
                shape=Shape.CONTENTS,
                digest=f"{alert_id} {self.day}".encode(),
                contents=self._seen(alert_id, 3).contents,
            )
            for alert_id in ids
        ]
        tx.alerts.save(shown, now=tx.now, sweep=0)
        tx.delivery.put([Put(subject=alert_id, lane=Lane.UPDATE) for alert_id in ids])
        for claim in tx.delivery.claim(len(ids), owner="w", lease=timedelta(minutes=1)):
            snapshot = self.snapshots[AlertId(claim.subject)]
            tx.links.change(snapshot.alert.id, partial(_sent, snapshot=snapshot), now=tx.now)
            tx.audit.note("kuma-sync", "updated", claim.subject, "eventsTotal")
            tx.alerts.forget_contents(snapshot.alert.id)
            tx.delivery.done(claim)

    def _sweep(self, tx: Tx) -> None:
        number = tx.cursor.begin_sweep()
        tx.alerts.mark_shown(list(self.snapshots), number)
        for kind in ("window", "late", "sweep", "watch"):
            tx.audit.note_pass(PassRecord(kind=kind, started_at=tx.now, seconds=1.0, complete=True))
        tx.cursor.move(sweep=number, swept_at=tx.now, watermark=tx.now)

    def _seen(self, alert_id: AlertId, events: int) -> Any:
        told = [an_event(ID=f"{alert_id}-{number}", Message="m" * 200) for number in range(events)]
        moments = {"first_seen": self.clock.now, "last_seen": self.clock.now}
        return seen(id=alert_id, events=told, assets=[an_asset()], **moments)


def _sent(link: Link, snapshot: AlertSnapshot) -> Link:
    sent = DeliveredState(fingerprint=snapshot.fingerprint, fields={"title": "t" * 32}, events=snapshot.event_ids)
    return link.become(Linked(incident=an_incident(id=f"inc-{link.alert_id}"), sent=sent))


def _closed(link: Link) -> Link:
    return transitions.incident_closed(transitions.alert_closed(link, Origin.KUMA, "responded"), Origin.KUMA)


def quiet(tx: Tx) -> None:
    """Ask what the loops ask when nothing happens."""
    tx.cursor.read()
    tx.links.open_count()
    tx.alerts.tied(tx.now)
    for shape in Shape:
        tx.alerts.by_digest(shape, [b"new"])
    tx.alerts.gone([AlertId("new")])
    tx.alerts.unshown(10**6)
    tx.alerts.newly_closed()
    tx.alerts.to_recheck(tx.now)
    tx.links.behind()
    tx.links.by_incident(["unknown"])
    tx.links.held()
    tx.rejects.count()
    for queue in (tx.delivery, tx.closes):
        queue.claim(8, owner="w", lease=timedelta(minutes=1))
        queue.depths()
        queue.oldest()
    tx.pruning.alerts(tx.now - RETENTION)


async def quiet_steps(store: Store) -> int:
    """Count the steps of SQLite's own machine that a quiet minute takes."""
    with steps_of(store) as steps, store.writing() as tx:
        quiet(tx)
    return steps[0]


@contextmanager
def steps_of(store: Store) -> Iterator[list[int]]:
    """Count SQLite's steps for every statement that goes through the store meanwhile."""
    found, touched = [0], set()

    def step() -> int:
        found[0] += 1
        return 0

    def watch(_connection: Any, cursor: Any, *_more: object) -> None:
        connection = cursor.connection
        touched.add(connection)
        connection.set_progress_handler(step, 1)

    for engine in engines_of(store):
        event.listen(engine, "before_cursor_execute", watch)
    try:
        yield found
    finally:
        for engine in engines_of(store):
            event.remove(engine, "before_cursor_execute", watch)
        for connection in touched:
            connection.set_progress_handler(None, 1)


async def rows(store: Store) -> dict[str, int]:
    with store.engine.connect() as connection:
        return {
            name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in metadata.tables.items()
        }


async def packed(store: Store) -> None:
    """Give back what tests before this one left in the same PostgreSQL database."""
    if not store.local:
        with store.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM FULL"))


async def used(store: Store) -> int:
    """Return the bytes a store takes: a file with all that is free in it, or relations after a vacuum."""
    if store.local:
        with store.engine.connect() as connection:
            pages, size = [
                connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in ("page_count", "page_size")
            ]
            return int(pages * size)
    with store.engine.connect() as connection:
        free = connection.execution_options(isolation_level="AUTOCOMMIT")
        free.execute(text("VACUUM ANALYZE"))
        relations = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = 2200"
        return int(free.execute(text(relations)).scalar_one())


async def test_a_store_stops_growing_when_its_retention_is_reached(
    database_url: str,
) -> None:
    clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
    async with opened(database_url, clock=clock) as store:
        await packed(store)
        year, sizes, counts, costs = Year(store=store, clock=clock), [], [], []
        for days in (21, 42, *[14] * 6):
            await year.lives(days)
            sizes.append(await used(store))
            counts.append(await rows(store))
            if store.local:
                costs.append(await quiet_steps(store))

    assert year.day == 21 * 7
    assert sizes[1] > sizes[0] * 1.05, "it grows until then"
    assert max(sizes[5:]) <= max(sizes[1:5]) * 1.05
    assert counts[1:] == [counts[1]] * 7, "as many rows of each kind, day for day"
    assert A_DAY * RETENTION.days < counts[1]["links"] < A_DAY * (RETENTION.days + 12)
    assert costs == costs[:1] * len(costs), "step by step what it cost in the third week, when there was little to know"
    assert min(costs, default=1000) > 100


async def test_the_file_gives_freed_pages_to_what_comes_next(tmp_path: Path, sqlite_url: str) -> None:
    clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
    async with opened(sqlite_url, clock=clock) as store:
        year = Year(store=store, clock=clock)
        await year.lives(42)
        full = await used(store)
        clock.advance(days=365)
        with store.writing() as tx:
            tx.cursor.move(sweep=tx.cursor.begin_sweep())
        await prune(store, RETENTION)
        empty, after = await used(store), await rows(store)
        year.day, year.born = 497, {}
        year.snapshots.clear()
        await year.lives(28)
        again = await used(store)

    assert after["links"] <= 3 * A_DAY, "what never was closed"
    assert empty == full, "the file is not made smaller …"
    assert again <= full * 1.02, "… but grows no further"


@pytest.mark.parametrize("number", [0, 1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE])
async def test_pruning_goes_in_short_transactions_to_its_end(database_url: str, number: int) -> None:
    clock = Clock()
    ids = [AlertId(f"{each:05}") for each in range(number)]
    async with opened(database_url, clock=clock) as store:
        with store.writing() as tx:
            shown = [
                Shown(snapshot=first_snapshot(seen(id=alert_id)), shape=Shape.LISTING, digest=None) for alert_id in ids
            ]
            tx.alerts.save(shown, now=tx.now, sweep=0)
            tx.links.add([Link(alert_id=alert_id, gone=True) for alert_id in ids], now=tx.now)
            tx.cursor.move(sweep=1)
        clock.advance(days=31)
        commits = []
        for engine in engines_of(store):
            event.listen(engine, "commit", lambda _connection: commits.append(1))
        first = await store.write(lambda tx: tx.pruning.alerts(clock.now - RETENTION))
        removed = first.removed + await prune(store, RETENTION)

        assert first.removed == min(number, AT_ONCE)
        assert removed == number
        assert (await rows(store))["links"] == (await rows(store))["alerts"] == 0
        assert len(commits) >= -(-number // AT_ONCE)


async def test_pruning_passes_by_what_it_must_keep(database_url: str) -> None:
    clock = Clock()
    ids = [AlertId(f"{each:05}") for each in range(2 * AT_ONCE + 7)]
    kept = set(ids[: AT_ONCE + 3])
    async with opened(database_url, clock=clock) as store:
        with store.writing() as tx:
            for alert_id in ids:
                snapshot = first_snapshot(seen(id=alert_id))
                tx.alerts.save([Shown(snapshot=snapshot, shape=Shape.LISTING, digest=None)], now=tx.now, sweep=0)
            tx.links.add(
                [a_link(alert_id=alert_id, incident=an_incident(), incident_closed=True) for alert_id in ids],
                now=tx.now,
            )
            tx.alerts.mark_shown(kept, 1)
            tx.cursor.move(sweep=1)
        clock.advance(days=31)

        removed = await prune(store, RETENTION)

        with store.reading() as tx:
            assert set(tx.links.many(ids)) == kept
        assert removed == len(ids) - len(kept)
