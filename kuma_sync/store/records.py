"""What else is remembered: the cursor, whose store it is, passes, the audit trail, and what could not be read.

Must not: hold alerts, links or jobs.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from kuma_sync.core.diff import Rejected
from kuma_sync.core.window import Cursor
from kuma_sync.store import schema
from kuma_sync.store.dialect import insert_into


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which KUMA and which IRP a store belongs to; addresses are normalised."""

    kuma_instance: str
    irp_url: str
    profile: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownProfile:
    """The profile that creates are made by, as a digest, and whether `find` showed what one made; None: nobody said."""

    digest: str | None = None
    shown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PassRecord:
    """One read of KUMA, or one watch round, as it went. `error` is empty when it did."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedAlert:
    """A piece of KUMA's answer that is no alert, or that the database did not take; `size` in bytes, as it came."""

    digest: str
    reason: str
    size: int
    first_seen: datetime


_NOTE = schema.audit.insert()


class Records:
    """The tables cursor, passes, audit and parked, inside one transaction."""

    def __init__(self, connection: AsyncConnection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    async def cursor(self) -> Cursor:
        """Return how far this store has come; a new store is born by the first call that writes."""
        table = schema.cursor
        row = (await self._connection.execute(select(table))).one_or_none()
        if row is None:
            return Cursor(born_at=self._now)
        return Cursor(
            watermark=row.watermark,
            sweep=row.sweep,
            swept_at=row.swept_at,
            watched_until=row.watched_until,
            first_read=row.first_read_at,
            born_at=row.born_at,
        )

    async def begin_sweep(self) -> int:
        """Number a sweep; a number is used once, so what an aborted sweep marked is not taken for seen by the next."""
        await self._born()
        table = schema.cursor
        begun = await self._connection.execute(
            update(table).values(sweeps_begun=table.c.sweeps_begun + 1).returning(table.c.sweeps_begun)
        )
        return int(begun.scalar_one())

    async def move_cursor(self, **values: Any) -> None:
        """Set some of: watermark, sweep, swept_at, watched_until, first_read_at."""
        await self._born()
        await self._connection.execute(update(schema.cursor).values(**values))

    async def identity(self) -> Identity | None:
        """Return whose store this is; None while nobody said."""
        row = (await self._connection.execute(select(schema.cursor))).one_or_none()
        if row is None or row.kuma_instance is None:
            return None
        return Identity(kuma_instance=row.kuma_instance, irp_url=row.irp_url, profile=row.profile)

    async def bind(self, identity: Identity) -> None:
        """Say whose store this is."""
        await self._born()
        await self._connection.execute(update(schema.cursor).values(**asdict(identity)))

    async def profile(self) -> KnownProfile:
        """Return which profile was the last, and what is known of it."""
        row = (await self._connection.execute(select(schema.cursor))).one_or_none()
        return KnownProfile() if row is None else KnownProfile(digest=row.profile_digest, shown=row.profile_shown)

    async def note_profile(self, digest: str, *, shown: bool) -> None:
        """Remember a profile, and whether `find` shows what its create makes."""
        await self._born()
        await self._connection.execute(update(schema.cursor).values(profile_digest=digest, profile_shown=shown))

    async def note_pass(self, record: PassRecord) -> None:
        """Remember how a read went."""
        await self._connection.execute(schema.passes.insert().values(**asdict(record)))

    async def last_passes(self, limit: int) -> list[PassRecord]:
        """Return the latest passes, newest first."""
        table = schema.passes
        rows = await self._connection.execute(select(table).order_by(table.c.id.desc()).limit(limit))
        return [_pass(row) for row in rows.mappings()]

    async def last_pass_by_kind(self) -> list[PassRecord]:
        """Return the latest pass of every kind."""
        table = schema.passes
        latest = select(func.max(table.c.id)).group_by(table.c.kind)
        rows = await self._connection.execute(select(table).where(table.c.id.in_(latest)).order_by(table.c.kind))
        return [_pass(row) for row in rows.mappings()]

    async def note(self, actor: str, action: str, alert_id: str = "", detail: str = "") -> None:
        """Write a line of the audit trail."""
        await self.note_all(actor, [(action, alert_id, detail)])

    async def note_all(self, actor: str, lines: Sequence[tuple[str, str, str]]) -> None:
        """Write lines of the audit trail, each an action, whose alert, and the detail."""
        if lines:
            rows = [
                {"at": self._now, "actor": actor, "action": action, "alert_id": alert_id, "detail": detail}
                for action, alert_id, detail in lines
            ]
            await self._connection.execute(_NOTE, rows)

    async def history(self, alert_id: str) -> list[AuditEntry]:
        """Return an alert's audit trail, oldest first."""
        table = schema.audit
        rows = await self._connection.execute(select(table).where(table.c.alert_id == alert_id).order_by(table.c.id))
        return [
            AuditEntry(at=row.at, actor=row.actor, action=row.action, alert_id=row.alert_id, detail=row.detail)
            for row in rows
        ]

    async def park(self, rejected: Sequence[Rejected]) -> int:
        """Keep pieces that are no alerts, one row each however often seen; return how many are new."""
        table = schema.parked
        if not rejected:
            return 0
        before = await self.parked_count()
        insert = insert_into(self._connection, table)
        await self._connection.execute(
            insert.on_conflict_do_update(index_elements=["digest"], set_={"last_seen": insert.excluded.last_seen}),
            [
                {
                    "digest": item.digest,
                    "raw": zlib.compress(item.raw),
                    "size": len(item.raw),
                    "reason": item.reason,
                    "first_seen": self._now,
                    "last_seen": self._now,
                }
                for item in rejected
            ],
        )
        return await self.parked_count() - before

    async def parked(self) -> list[ParkedAlert]:
        """Return the pieces that wait for a human, oldest first, without what they hold."""
        table = schema.parked
        columns = (table.c.digest, table.c.reason, table.c.size, table.c.first_seen)
        rows = await self._connection.execute(
            select(*columns).where(table.c.dropped.is_(False)).order_by(table.c.first_seen, table.c.digest)
        )
        return [ParkedAlert(**row) for row in rows.mappings()]

    async def parked_body(self, digest: str) -> bytes | None:
        """Return what a piece that waits for a human holds, as it came; None where there is no such piece."""
        table = schema.parked
        found = await self._connection.execute(
            select(table.c.raw).where(table.c.digest == digest, table.c.dropped.is_(False))
        )
        packed: bytes | None = found.scalar_one_or_none()
        return None if packed is None else zlib.decompress(packed)

    async def parked_count(self) -> int:
        """Count the pieces that wait for a human."""
        table = schema.parked
        found = await self._connection.execute(select(func.count()).where(table.c.dropped.is_(False)))
        return int(found.scalar_one())

    async def drop_parked(self, digest: str) -> bool:
        """Give a piece up for good; the row stays, so that seeing it again parks nothing new."""
        table = schema.parked
        dropped = await self._connection.execute(
            update(table).where(table.c.digest == digest, table.c.dropped.is_(False)).values(dropped=True)
        )
        return dropped.rowcount == 1

    async def unpark(self, digest: str) -> bool:
        """Forget a piece that turned out to be an alert after all; false where it does not wait any more."""
        table = schema.parked
        forgotten = await self._connection.execute(
            delete(table).where(table.c.digest == digest, table.c.dropped.is_(False))
        )
        return forgotten.rowcount == 1

    async def _born(self) -> None:
        insert = insert_into(self._connection, schema.cursor).values(id=1, born_at=self._now)
        await self._connection.execute(insert.on_conflict_do_nothing(index_elements=["id"]))


def _pass(row: Any) -> PassRecord:
    return PassRecord(**{name: value for name, value in row.items() if name != "id"})
