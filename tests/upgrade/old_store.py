"""Stores as older programs left them, with both sides beside them, from what `record.py` wrote down."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Boolean, Column, DateTime, MetaData, Table, insert, text
from sqlalchemy.engine import Connection
from stores import to_revision

from kuma_sync.sim.irp import Incident, IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.values import moment
from kuma_sync.store import Store, store_url

STORES = Path(__file__).parent / "stores"

NUMBERED = ("delivery_queue", "close_queue", "audit", "passes")

Rows = Mapping[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OldStore:
    """A store at a revision of the schema, and what stood beside it.

    `names` are the alerts of the story in `record.py`, by what became of them; `states` what that program said of each.
    """

    revision: str
    names: Mapping[str, str]
    states: Mapping[str, str]
    alerts: list[dict[str, Any]]
    shown: list[str]
    incidents: list[dict[str, Any]]
    deleted: list[dict[str, Any]]
    irp_url: str
    rows: Rows

    def fill(self, url: str, *, irp_url: str = "") -> None:
        """Make an empty database what that program left; its IRP is at another address now."""
        store = Store(store_url(url), clock=lambda: datetime.now(UTC))
        try:
            with store.engine.begin() as connection:
                to_revision(connection, self.revision)
                tables = MetaData()
                tables.reflect(connection)
                for name, rows in self.rows.items():
                    if rows and name not in ("alembic_version", "sqlite_sequence"):
                        moved = [{**row, "irp_url": irp_url} if irp_url and row.get("irp_url") else row for row in rows]
                        _insert(connection, tables.tables[name], moved)
        finally:
            store.close()

    def begin(self, kuma: KumaSim, irp: IrpSim) -> None:
        """Let both sides hold what they held."""
        kuma.load(self.alerts)
        kuma.shown |= set(self.shown)
        irp.incidents |= {one["id"]: _incident(one) for one in self.incidents}
        irp.deleted += [_incident(one) for one in self.deleted]
        irp.numbers = len(self.incidents) + len(self.deleted)


def revisions() -> list[str]:
    """Return the revisions that were recorded, oldest first."""
    return sorted(path.name.partition(".")[0] for path in STORES.glob("*.json.z"))


def old_store(revision: str) -> OldStore:
    """Return what was recorded of a revision."""
    recorded = json.loads(zlib.decompress((STORES / f"{revision}.json.z").read_bytes()))
    return OldStore(revision=revision, **recorded)


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    """Insert rows of SQLite into a table of either kind, and let its numbers go on from there."""
    names = [name for name in rows[0] if name in table.c]
    assert set(names) == set(table.c.keys()), f"{table.name} was recorded with other columns"
    connection.execute(insert(table), [{name: _value(row[name], table.c[name]) for name in names} for row in rows])
    if connection.dialect.name == "postgresql" and table.name in NUMBERED:
        highest = max(row["id"] for row in rows)
        connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), {highest})"))


def _value(value: Any, column: Column[Any]) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value["bytes"])
    if value is not None and isinstance(column.type, Boolean):
        return bool(value)
    return moment(value) if value is not None and isinstance(column.type, DateTime) else value


def _incident(told: dict[str, Any]) -> Incident:
    times = {name: datetime.fromisoformat(told[name]) for name in ("created_at", "updated_at")}
    history = [(deed, body) for deed, body in told["history"]]
    edited = {name for deed, body in history if deed == "analyst_edit" for name in body}
    return Incident(**{**told, **times, "history": history, "edited": edited})
