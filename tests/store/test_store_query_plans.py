"""Plans of the queries that run every second: they must not grow with what was finished or set aside long ago."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
from queue_steps import LEASE, claim_one, put
from sqlalchemy import event, text
from stores import opened

from kuma_sync.core.alert import AlertId
from kuma_sync.store import Shape, Store

ROWS = 50_000
FILL = [
    "INSERT INTO delivery_queue (subject, state, lane, due, put_at) "
    "SELECT 'parked' || n, 'parked', 2, {time}, {time} FROM {numbers}",
    "INSERT INTO links (alert_id, sent_fields, sent_events, intent_events, alert_closed, changed_at) "
    "SELECT 'old' || n, '{{}}', {bytes}, {bytes}, true, {time} FROM {numbers}",
    "INSERT INTO alerts (id, event_ids, fingerprint, contents_digest, listing_digest, last_seen, shown_at) "
    "SELECT 'old' || n, {bytes}, '1:' || n, {digest}, {digest}, {time}, {time} FROM {numbers}",
]


def fill(url: str) -> None:
    """Store 50,000 parked jobs and as many settled alerts."""
    if url.startswith("sqlite"):
        words = {
            "time": "'2026-01-15T12:00:00.000000Z'",
            "numbers": f"(WITH RECURSIVE c(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM c WHERE n < {ROWS}) "
            "SELECT n FROM c)",
            "bytes": "x''",
            "digest": "CAST('digest' || n AS BLOB)",
        }
        with sqlite3.connect(url.removeprefix("sqlite:///")) as file:
            for statement in FILL:
                file.execute(statement.format(**words))
        file.close()
        return
    words = {
        "time": "timestamptz '2026-01-15 12:00Z'",
        "numbers": f"generate_series(1, {ROWS}) AS n",
        "bytes": "''::bytea",
        "digest": "convert_to('digest' || n, 'UTF8')",
    }
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in FILL:
            connection.execute(statement.format(**words))  # type: ignore[arg-type]  # a test's own statement
        connection.execute("ANALYZE")


@contextmanager
def plans(store: Store) -> Iterator[list[str]]:
    """Collect the plans of all statements that go through the store meanwhile."""
    found: list[str] = []
    explain = "EXPLAIN QUERY PLAN " if store.local else "EXPLAIN "

    def note(_connection: Any, cursor: Any, statement: str, parameters: Any, *_more: object) -> None:
        if statement.split(" ", 1)[0] in {"SELECT", "UPDATE", "WITH", "DELETE"} and "clock_timestamp" not in statement:
            cursor.execute(explain + statement, parameters)
            found.extend(str(row[-1]) for row in cursor.fetchall())

    event.listen(store.engine.sync_engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(store.engine.sync_engine, "before_cursor_execute", note)


def whole_tables(plan: list[str], *tables: str) -> list[str]:
    """Return the lines of a plan that read one of these tables from end to end."""
    return [
        line.strip()
        for line in plan
        for table in tables
        if f"Seq Scan on {table}" in line or (line.startswith(f"SCAN {table}") and "USING" not in line)
    ]


async def test_neither_claims_nor_polls_read_what_is_finished(database_url: str) -> None:
    fill(database_url)
    async with opened(database_url) as store:
        await put(store, "due")
        with plans(store) as plan:
            claimed = await claim_one(store)
            async with store.begin() as tx:
                await tx.delivery.renew([claimed], lease=LEASE)
                await tx.delivery.again(claimed, at=tx.now + timedelta(minutes=1))
                await tx.alerts.by_digest(Shape.CONTENTS, [b"unknown"])
                await tx.alerts.by_digest(Shape.LISTING, [b"unknown"])
                await tx.alerts.pictures([AlertId("unknown")])
                await tx.alerts.unshown(7)
                await tx.alerts.to_recheck(tx.now)
                await tx.alerts.tied(tx.now)
                await tx.links.get(AlertId("unknown"), lock=True)
                await tx.overview.state(AlertId("unknown"))

        assert plan
        assert whole_tables(plan, "delivery_queue", "links", "alerts") == []


async def test_the_watch_over_the_plans_notices_a_table_read_from_end_to_end(database_url: str) -> None:
    async with opened(database_url) as store:
        with plans(store) as plan:
            async with store.engine.connect() as connection:
                await connection.execute(text("SELECT id FROM alerts WHERE assignee = 'nobody'"))

        assert len(whole_tables(plan, "alerts")) == 1
