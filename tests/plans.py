"""Stores full of what was settled long ago, and how the database reads them: plans of real statements, none forced."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from sqlalchemy import event, text
from stores import engines_of

from kuma_sync.store import Store

ROWS = 50_000
FILL = [
    "INSERT INTO delivery_queue (subject, state, lane, due, put_at) "
    "SELECT 'parked' || n, 'parked', 20, {time}, {time} FROM {numbers}",
    "INSERT INTO links (alert_id, incident_id, sent_fields, sent_events, intent_events, alert_closed, incident_closed,"
    " changed_at) SELECT 'old' || n, 'inc' || n, '{{}}', {bytes}, {bytes}, true, true, {time} FROM {numbers}",
    "INSERT INTO alerts (id, status, event_ids, fingerprint, contents_digest, listing_digest, last_seen, shown_at) "
    "SELECT 'old' || n, 'closed', {bytes}, '1:' || n, {digest}, {digest}, {time}, {time} FROM {numbers}",
]

PARTIAL = (
    "ix_links_open",
    "ix_links_held",
    "ix_links_unresolved",
    "ix_links_unshown",
    "ix_links_unrouted",
    "ix_alerts_recheck",
)
"""Indexes that hold no settled row: to read one of them from end to end is cheap."""


def fill(url: str, *, rows: int = ROWS, time: str = "2026-01-15T12:00:00.000000Z", parked: bool = True) -> None:
    """Store so many parked jobs, and as many settled alerts, last touched at `time`."""
    statements = FILL if parked else FILL[1:]
    if url.startswith("sqlite"):
        words = {
            "time": f"'{time}'",
            "numbers": f"(WITH RECURSIVE c(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM c WHERE n < {rows}) "
            "SELECT n FROM c)",
            "bytes": "x''",
            "digest": "CAST('digest' || n AS BLOB)",
        }
        with sqlite3.connect(url.removeprefix("sqlite:///")) as file:
            for statement in statements:
                file.execute(statement.format(**words))
        file.close()
        return
    words = {
        "time": f"timestamptz '{time}'",
        "numbers": f"generate_series(1, {rows}) AS n",
        "bytes": "''::bytea",
        "digest": "convert_to('digest' || n, 'UTF8')",
    }
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.format(**words))  # type: ignore[arg-type]  # a test's own statement
        connection.execute("ANALYZE")


async def analyze(store: Store) -> None:
    """Let PostgreSQL know what its tables hold, as it finds out by itself before long; until then it guesses."""
    if not store.local:
        with store.engine.begin() as connection:
            connection.execute(text("ANALYZE"))


@dataclass(slots=True)
class Plans:
    """What a database said of how it would run our statements: (statement, table read from end to end)."""

    looked_at: list[str] = field(default_factory=list)
    ends: list[tuple[str, str]] = field(default_factory=list)

    def whole(self, *tables: str) -> list[str]:
        """Return the statements that read one of these tables from end to end."""
        return [f"{table}: {statement}" for statement, table in self.ends if table in tables]


@contextmanager
def plans(store: Store) -> Iterator[Plans]:
    """Collect the plans of all statements that go through the store meanwhile."""
    found = Plans()
    explain = "EXPLAIN QUERY PLAN " if store.local else "EXPLAIN (FORMAT JSON) "

    def note(_connection: Any, cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if statement.split(" ", 1)[0] not in {"SELECT", "UPDATE", "WITH", "DELETE"} or "clock_timestamp" in statement:
            return
        cursor.execute(explain + statement, parameters[0] if many else parameters)
        rows = cursor.fetchall()
        found.looked_at.append(statement)
        tables = _scanned(str(row[-1]) for row in rows) if store.local else _read_through(_tree(rows))
        found.ends += [(statement, table) for table in tables]

    for engine in engines_of(store):
        event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        for engine in engines_of(store):
            event.remove(engine, "before_cursor_execute", note)


def _scanned(lines: Iterator[str]) -> Iterator[str]:
    """Name the tables that SQLite would scan, by themselves or by an index that holds every row."""
    for line in lines:
        words = line.split()
        if words[0] == "SCAN" and not any(name in line for name in PARTIAL):
            yield words[1]


def _tree(rows: list[Any]) -> dict[str, Any]:
    (((value),),) = rows
    plan: dict[str, Any] = (json.loads(value) if isinstance(value, str) else value)[0]["Plan"]
    return plan


def _read_through(node: dict[str, Any]) -> Iterator[str]:
    """Name the tables that PostgreSQL would scan, by themselves or by an index that holds every row."""
    kind, index = node["Node Type"], node.get("Index Name", "")
    by_index = kind.startswith("Index") and "Index Cond" not in node and index not in PARTIAL
    if "Relation Name" in node and (kind == "Seq Scan" or by_index):
        yield node["Relation Name"]
    for child in node.get("Plans", ()):
        yield from _read_through(child)
