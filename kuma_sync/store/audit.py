"""The history: who did what, and the result of each read of KUMA and each watch round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from kuma_sync.store import schema


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRecord:
    """The result of one read of KUMA, or of one watch round. `error` is empty after a success."""

    kind: str
    started_at: datetime
    seconds: float
    complete: bool
    pages: int = 0
    bytes: int = 0
    seen: int = 0
    appeared: int = 0
    changed: int = 0
    left: int = 0
    rejected: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what, by command, by a door, or by the program itself."""

    at: datetime
    actor: str
    action: str
    alert_id: str = ""
    detail: str = ""


_NOTE = schema.audit.insert()


class Audit:
    """The tables audit and passes, inside one transaction: who did what, and how reads went."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def note_pass(self, record: PassRecord) -> None:
        """Remember how a read went."""
        self._connection.execute(schema.passes.insert().values(**asdict(record)))

    def last_passes(self, limit: int) -> list[PassRecord]:
        """Return the latest passes, newest first."""
        table = schema.passes
        rows = self._connection.execute(select(table).order_by(table.c.id.desc()).limit(limit))
        return [_pass(row) for row in rows.mappings()]

    def passes_before(self, row_id: int | None, limit: int, *, kind: str = "") -> list[tuple[int, PassRecord]]:
        """Return the passes that were noted before a row, all or those of a kind, newest first, each with its row's id.

        None means from the newest on.
        """
        table = schema.passes
        query = select(table).order_by(table.c.id.desc()).limit(limit)
        if row_id is not None:
            query = query.where(table.c.id < row_id)
        if kind:
            query = query.where(table.c.kind == kind)
        return [(row["id"], _pass(row)) for row in self._connection.execute(query).mappings()]

    def last_pass_by_kind(self) -> list[PassRecord]:
        """Return the latest pass of every kind."""
        table = schema.passes
        latest = select(func.max(table.c.id)).group_by(table.c.kind)
        rows = self._connection.execute(select(table).where(table.c.id.in_(latest)).order_by(table.c.kind))
        return [_pass(row) for row in rows.mappings()]

    def note(self, actor: str, action: str, alert_id: str = "", detail: str = "") -> None:
        """Write a line of the audit trail."""
        self.note_all(actor, [(action, alert_id, detail)])

    def note_all(self, actor: str, lines: Sequence[tuple[str, str, str]]) -> None:
        """Write lines of the audit trail, each (action, alert id, detail)."""
        if lines:
            rows = [
                {"at": self._now, "actor": actor, "action": action, "alert_id": alert_id, "detail": detail}
                for action, alert_id, detail in lines
            ]
            self._connection.execute(_NOTE, rows)

    def history(self, alert_id: str) -> list[AuditEntry]:
        """Return an alert's audit trail, oldest first."""
        table = schema.audit
        rows = self._connection.execute(select(table).where(table.c.alert_id == alert_id).order_by(table.c.id))
        return [_entry(row) for row in rows]

    def last(
        self, *actions: str, alert_id: str | None = "", detail: str | None = None, since: datetime | None = None
    ) -> AuditEntry | None:
        """Return the latest line of these actions: about an alert, about none (""), or about any (None).

        With `detail`, of the lines that have it; with `since`, of those written since then.
        """
        table = schema.audit
        query = select(table).where(table.c.action.in_(actions))
        if since is not None:
            query = query.where(table.c.at >= since)
        if alert_id is not None:
            query = query.where(table.c.alert_id == alert_id)
        if detail is not None:
            query = query.where(table.c.detail == detail)
        row = self._connection.execute(query.order_by(table.c.id.desc()).limit(1)).first()
        return None if row is None else _entry(row)


def _entry(row: Any) -> AuditEntry:
    return AuditEntry(at=row.at, actor=row.actor, action=row.action, alert_id=row.alert_id, detail=row.detail)


def _pass(row: Any) -> PassRecord:
    return PassRecord(**{name: value for name, value in row.items() if name != "id"})
