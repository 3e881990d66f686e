"""The one row about a store: how far it has read, which KUMA and IRP it belongs to, and the last profile."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select, update

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
    """The digest of the last profile (None: not known), and whether `find` has shown an incident created by it."""

    digest: str | None = None
    shown: bool = False


class CursorRow:
    """The table cursor, inside one transaction."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def read(self) -> Cursor:
        """Return how far this store has read; the row itself is made by the first call that writes."""
        table = schema.cursor
        row = self._connection.execute(select(table)).one_or_none()
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

    def begin_sweep(self) -> int:
        """Return a new number for a sweep, used once: marks of an aborted sweep must not count for the next."""
        self._born()
        table = schema.cursor
        begun = self._connection.execute(
            update(table).values(sweeps_begun=table.c.sweeps_begun + 1).returning(table.c.sweeps_begun)
        )
        return int(begun.scalar_one())

    def move(self, **values: Any) -> None:
        """Set some of: watermark, sweep, swept_at, watched_until, first_read_at."""
        self._born()
        self._connection.execute(update(schema.cursor).values(**values))

    def identity(self) -> Identity | None:
        """Return the KUMA and IRP that this store belongs to; None while none is set."""
        row = self._connection.execute(select(schema.cursor)).one_or_none()
        if row is None or row.kuma_instance is None:
            return None
        return Identity(kuma_instance=row.kuma_instance, irp_url=row.irp_url, profile=row.profile)

    def bind(self, identity: Identity) -> None:
        """Set the KUMA and IRP that this store belongs to."""
        self._born()
        self._connection.execute(update(schema.cursor).values(**asdict(identity)))

    def profile(self) -> KnownProfile:
        """Return what is known of the last profile."""
        row = self._connection.execute(select(schema.cursor)).one_or_none()
        return KnownProfile() if row is None else KnownProfile(digest=row.profile_digest, shown=row.profile_shown)

    def note_profile(self, digest: str, *, shown: bool) -> None:
        """Store a profile's digest, and whether `find` shows the incidents that it creates."""
        self._born()
        self._connection.execute(update(schema.cursor).values(profile_digest=digest, profile_shown=shown))

    def _born(self) -> None:
        insert = insert_into(self._connection, schema.cursor).values(id=1, born_at=self._now)
        self._connection.execute(insert.on_conflict_do_nothing(index_elements=["id"]))
