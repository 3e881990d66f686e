"""Column types that mean the same on SQLite and PostgreSQL.

Must not: know any table.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, Dialect, LargeBinary, String, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from kuma_sync.core.alert import EventDigest
from kuma_sync.core.text import fit

DIGEST_BYTES = 16


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC time: `timestamptz` on PostgreSQL, text that sorts as time on SQLite."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column's real type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(String(27))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Write a time."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        if dialect.name == "postgresql":
            return moment
        return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"

    def process_result_value(self, value: Any, _dialect: Dialect) -> datetime | None:
        """Read a time."""
        if value is None:
            return None
        moment: datetime = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return moment.astimezone(UTC)


class Words(TypeDecorator[str]):
    """Text for people, with what no database holds (NUL, half a surrogate pair) replaced: no row fails for it.

    Not for what names something: a key must be refused where it comes from.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        """Write a text."""
        return None if value is None else fit(value)


class Digests(TypeDecorator[frozenset[EventDigest]]):
    """A set of event digests, one after the other."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: frozenset[EventDigest] | None, _dialect: Dialect) -> bytes:
        """Write a set, sorted, so that equal sets are equal bytes."""
        return b"".join(sorted(value or ()))

    def process_result_value(self, value: Any, _dialect: Dialect) -> frozenset[EventDigest]:
        """Read a set."""
        packed = bytes(value or b"")
        return frozenset(EventDigest(packed[i : i + DIGEST_BYTES]) for i in range(0, len(packed), DIGEST_BYTES))


class Json(TypeDecorator[Any]):
    """A small JSON value as text."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, _dialect: Dialect) -> str | None:
        """Write a value; None stays NULL."""
        return None if value is None else json.dumps(value, separators=(",", ":"), sort_keys=True)

    def process_result_value(self, value: Any, _dialect: Dialect) -> Any:
        """Read a value."""
        return None if value is None else json.loads(value)
