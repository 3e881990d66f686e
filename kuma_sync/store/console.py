"""What the console keeps in the store for all copies of the daemon: its key, who is signed in, forms that were used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select

from kuma_sync.core.errors import UsedAlready
from kuma_sync.store import schema
from kuma_sync.store.dialect import insert_into
from kuma_sync.store.keys import Keys

_SIGNING = "signing"
_SESSIONS, _TOKENS = schema.console_sessions, schema.console_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """Somebody who is signed in. `digest` is that of the session's id, which the browser alone has.

    `source` says who vouched for the name (local, oidc), `proof` stands for what was true then: where that changed
    since, the session is over. `role` is empty where the configuration says it.
    """

    digest: bytes
    name: str
    source: str
    role: str
    proof: str
    begun_at: datetime
    expires_at: datetime


class ConsoleRows:
    """The console's tables, inside one transaction."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now
        self._keys = Keys(connection, now)

    def key(self) -> bytes | None:
        """Return the key that signs cookies and forms; None before there is one."""
        return self._keys.get(_SIGNING)

    def make_key(self) -> bytes:
        """Make the key, unless another copy did, and return it."""
        return self._keys.make(_SIGNING)

    def begin(self, session: SessionRow) -> None:
        """Note that somebody signed in."""
        values = {name: getattr(session, name) for name in SessionRow.__slots__}
        self._connection.execute(_SESSIONS.insert().values(values))

    def session(self, digest: bytes) -> SessionRow | None:
        """Return a session that has not expired."""
        row = self._connection.execute(select(_SESSIONS).where(_SESSIONS.c.digest == digest)).one_or_none()
        if row is None or row.expires_at <= self._now:
            return None
        return SessionRow(**{**row._mapping, "digest": bytes(row.digest)})

    def end(self, digest: bytes) -> None:
        """Note that somebody signed out."""
        self._connection.execute(delete(_SESSIONS).where(_SESSIONS.c.digest == digest))

    def spend(self, digest: bytes, *, until: datetime) -> None:
        """Note that a form was used, in the transaction of what it orders; raise UsedAlready."""
        values = {"digest": digest, "expires_at": until}
        insert = insert_into(self._connection, _TOKENS).values(values).on_conflict_do_nothing()
        if self._connection.execute(insert.returning(_TOKENS.c.digest)).first() is None:
            raise UsedAlready("this form was used already")
