"""The reader's turn among several copies of the daemon: a lease row with a fencing number, by the database's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, select, update

from kuma_sync.core.errors import ClaimLost
from kuma_sync.store import schema
from kuma_sync.store.dialect import LeaseClock, insert_into


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The right to read, while the fence is still ours."""

    name: str
    owner: str
    fence: int


class Lease:
    """The lease table, inside one transaction."""

    def __init__(self, connection: Connection, clock: LeaseClock) -> None:
        self._connection = connection
        self._clock = clock

    def take(self, name: str, owner: str, *, ttl: timedelta, force: bool = False) -> Turn | None:
        """Take or renew a turn; None while somebody else's has not expired. `force` takes it from a dead owner."""
        table, now = schema.lease, self._clock.now()
        insert = insert_into(self._connection, table).values(
            name=name, owner="", fence=0, expires_at=now - timedelta(seconds=1)
        )
        self._connection.execute(insert.on_conflict_do_nothing(index_elements=["name"]))
        row = self._connection.execute(select(table).where(table.c.name == name).with_for_update()).one()
        if row.owner != owner and row.expires_at > now and not force:
            return None
        fence = row.fence if row.owner == owner and row.expires_at > now else row.fence + 1
        self._connection.execute(
            update(table).where(table.c.name == name).values(owner=owner, fence=fence, expires_at=now + ttl)
        )
        return Turn(name=name, owner=owner, fence=fence)

    def ensure_valid(self, turn: Turn) -> None:
        """Raise ClaimLost unless the turn is still ours; the row stays locked until this transaction ends."""
        table = schema.lease
        found = self._connection.execute(
            select(table.c.expires_at)
            .where(table.c.name == turn.name, table.c.owner == turn.owner, table.c.fence == turn.fence)
            .with_for_update()
        )
        expires = found.scalar_one_or_none()
        if expires is None or expires <= self._clock.now():
            raise ClaimLost(f"the turn to {turn.name} went to another daemon")

    def hold(self, name: str) -> None:
        """Keep whoever has this turn from writing until this transaction ends; the turn stays theirs."""
        table = schema.lease
        self._connection.execute(select(table.c.name).where(table.c.name == name).with_for_update())

    def give_back(self, turn: Turn) -> None:
        """Let the next one have it at once."""
        table = schema.lease
        self._connection.execute(
            update(table)
            .where(table.c.name == turn.name, table.c.owner == turn.owner, table.c.fence == turn.fence)
            .values(expires_at=self._clock.now() - timedelta(seconds=1))
        )
