"""Keys that all copies of the daemon share, made by the first one that needs them, and kept in the store."""

from __future__ import annotations

import secrets
from datetime import datetime

from sqlalchemy import Connection, delete, select

from kuma_sync.store import schema
from kuma_sync.store.dialect import insert_into

MASKING = "masking"
"""Masks values ([privacy])."""

APPLIED = "privacy applied"
"""No key: the mark of the names in [privacy] that were applied to all that is stored."""

_BYTES = 32
_KEYS = schema.console_keys


class Keys:
    """The table console_keys, inside one transaction."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def get(self, name: str) -> bytes | None:
        """Return a key; None before there is one."""
        found = self._connection.execute(select(_KEYS.c.key).where(_KEYS.c.name == name)).scalar_one_or_none()
        return None if found is None else bytes(found)

    def make(self, name: str) -> bytes:
        """Make a key, unless another copy did, and return it."""
        values = {"name": name, "key": secrets.token_bytes(_BYTES), "made_at": self._now}
        self._connection.execute(insert_into(self._connection, _KEYS).values(values).on_conflict_do_nothing())
        made = self.get(name)
        assert made is not None  # noqa: S101  # it was just written, or is there
        return made

    def put(self, name: str, value: bytes) -> None:
        """Set one."""
        self.forget(name)
        self._connection.execute(_KEYS.insert().values(name=name, key=value, made_at=self._now))

    def forget(self, name: str) -> None:
        """Remove one."""
        self._connection.execute(delete(_KEYS).where(_KEYS.c.name == name))
