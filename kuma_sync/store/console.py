"""What the console keeps in the store for all copies: its key, who is signed in, used forms, tries with a password."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, delete, func, or_, select

from kuma_sync.core.errors import UsedAlready
from kuma_sync.store import schema
from kuma_sync.store.dialect import LeaseClock, insert_into
from kuma_sync.store.keys import Keys

_SIGNING = "signing"
_SESSIONS, _TOKENS, _TRIES = schema.console_sessions, schema.console_tokens, schema.console_tries
_NUMBER = 2
"""Bytes of a try's number, which follow the digest of its key."""

_FORGOTTEN_AT_ONCE = 20
"""Tries that no longer count and are removed where one is added: so their number stays that of those which count."""


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

    def __init__(self, connection: Connection, now: datetime, lease_clock: LeaseClock) -> None:
        self._connection = connection
        self._now = now
        self._lease_clock = lease_clock
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

    def tried(self, key: bytes, *, most: int, within: timedelta) -> timedelta | None:
        """Count a try by its key's digest; return the wait that is due instead where `most` of them count already.

        A try counts for `within`, by the clock that all copies share.
        """
        now = self._lease_clock.now()
        self._forget_some(now)
        until = now + within
        # One from far ahead was made before the clock was set back; one made right now may be a little ahead of us.
        free = or_(_TRIES.c.expires_at <= now, _TRIES.c.expires_at > until + within)
        for number in range(most):
            row = {"digest": key + number.to_bytes(_NUMBER, "big"), "expires_at": until}
            insert = insert_into(self._connection, _TRIES).values(row)
            take = insert.on_conflict_do_update(index_elements=["digest"], set_={"expires_at": until}, where=free)
            if self._connection.execute(take.returning(_TRIES.c.digest)).first() is not None:
                return None
        first: datetime = self._connection.execute(select(func.min(_TRIES.c.expires_at)).where(_of(key))).scalar_one()
        return first - now

    def forget_tries(self, key: bytes) -> None:
        """Count no try of a key any more: the last one was right."""
        self._connection.execute(delete(_TRIES).where(_of(key)))

    def _forget_some(self, now: datetime) -> None:
        few = select(_TRIES.c.digest).where(_TRIES.c.expires_at <= now).limit(_FORGOTTEN_AT_ONCE)
        # Two copies that remove the same rows in different orders would wait for each other.
        old = few.with_for_update(skip_locked=True)
        self._connection.execute(delete(_TRIES).where(_TRIES.c.digest.in_(old.scalar_subquery())))


def _of(key: bytes) -> ColumnElement[bool]:
    return _TRIES.c.digest.between(key + b"\x00" * _NUMBER, key + b"\xff" * _NUMBER)
