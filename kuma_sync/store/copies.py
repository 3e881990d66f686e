"""The copies of the daemon that share a store: which of them live, and which one reads KUMA."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, select, update

from kuma_sync.core.condition import Condition, Trouble
from kuma_sync.core.errors import ClaimLost
from kuma_sync.core.moments import EPOCH, read_moment, rfc3339
from kuma_sync.store import schema
from kuma_sync.store.dialect import LeaseClock, insert_into

DEAD_AFTER = timedelta(minutes=1)
"""A process that was silent for so long counts as dead, where no lock tells. Other versions use it, too."""

FORGOTTEN_AFTER = timedelta(days=1)
"""The row of a process that was silent for so long is removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leadership:
    """The right to be the one copy that reads, while the fence is still ours."""

    name: str
    owner: str
    fence: int


class Lease:
    """The lease table, inside one transaction."""

    def __init__(self, connection: Connection, clock: LeaseClock) -> None:
        self._connection = connection
        self._clock = clock

    def take(self, name: str, owner: str, *, ttl: timedelta, force: bool = False) -> Leadership | None:
        """Take or renew the lease; None while somebody else's has not expired. `force` takes it from a dead owner."""
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
        return Leadership(name=name, owner=owner, fence=fence)

    def ensure_valid(self, leadership: Leadership) -> None:
        """Raise ClaimLost unless the leadership is still ours; the row stays locked until this transaction ends."""
        table = schema.lease
        found = self._connection.execute(
            select(table.c.expires_at)
            .where(
                table.c.name == leadership.name, table.c.owner == leadership.owner, table.c.fence == leadership.fence
            )
            .with_for_update()
        )
        expires = found.scalar_one_or_none()
        if expires is None or expires <= self._clock.now():
            raise ClaimLost(f"the lease of the {leadership.name} went to another daemon")

    def lock(self, name: str) -> None:
        """Lock this lease's row until this transaction ends, so that its owner writes nothing meanwhile."""
        table = schema.lease
        self._connection.execute(select(table.c.name).where(table.c.name == name).with_for_update())

    def give_back(self, leadership: Leadership) -> None:
        """Let the next one have it at once."""
        table = schema.lease
        self._connection.execute(
            update(table)
            .where(
                table.c.name == leadership.name, table.c.owner == leadership.owner, table.c.fence == leadership.fence
            )
            .values(expires_at=self._clock.now() - timedelta(seconds=1))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that works on a store: the daemon, or (`single_pass`) a `run --once`."""

    owner: str
    """The token of this process start."""
    host: str
    pid: int
    version: str
    started_at: datetime
    single_pass: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """The last heartbeat of a process, and how long ago it came."""

    process: Process
    heard_at: datetime
    silent: timedelta
    condition: Condition


class Heartbeats:
    """The table heartbeats, inside one transaction; times are the database's where several machines share it."""

    def __init__(self, connection: Connection, clock: LeaseClock) -> None:
        self._connection = connection
        self._clock = clock

    def beat(self, process: Process, condition: Condition) -> None:
        """Say that a process lives, and how it is."""
        table = schema.heartbeats
        values = {
            "owner": process.owner,
            "host": process.host,
            "pid": process.pid,
            "version": process.version,
            "single_pass": process.single_pass,
            "started_at": process.started_at,
            "heard_at": self._clock.now(),
            "condition": [_as_row(trouble) for trouble in condition],
        }
        insert = insert_into(self._connection, table).values(**values)
        changes = {name: insert.excluded[name] for name in ("heard_at", "condition")}
        self._connection.execute(insert.on_conflict_do_update(index_elements=["owner"], set_=changes))

    def end(self, owner: str) -> None:
        """Forget a process that ends."""
        self._connection.execute(delete(schema.heartbeats).where(schema.heartbeats.c.owner == owner))

    def forget(self, *, silent_for: timedelta) -> None:
        """Forget processes that were not heard for so long."""
        last = self._clock.now() - silent_for
        self._connection.execute(delete(schema.heartbeats).where(schema.heartbeats.c.heard_at < last))

    def forget_predecessors(self, process: Process) -> None:
        """Forget earlier daemons of this host and pid, where `process` is one: they have ended.

        In containers that share a host name another daemon may live under the same pid; its next beat brings it back.
        """
        if process.single_pass:
            return
        table = schema.heartbeats
        same = (table.c.host == process.host, table.c.pid == process.pid, table.c.single_pass.is_(False))
        self._connection.execute(delete(table).where(*same, table.c.owner != process.owner))

    def forget_others(self, owner: str) -> None:
        """Forget all but one; only for a store that no other process can hold."""
        self._connection.execute(delete(schema.heartbeats).where(schema.heartbeats.c.owner != owner))

    def heard(self) -> list[Heartbeat]:
        """Return the heartbeats that are known, the earliest start first."""
        table, now = schema.heartbeats, self._clock.now()
        rows = self._connection.execute(select(table).order_by(table.c.started_at, table.c.owner))
        return [_heartbeat(row, now) for row in rows]


def _heartbeat(row: Any, now: datetime) -> Heartbeat:
    process = Process(
        owner=row.owner,
        host=row.host,
        pid=row.pid,
        version=row.version,
        started_at=row.started_at,
        single_pass=row.single_pass,
    )
    condition = tuple(_trouble(each) for each in row.condition)
    silent = max(now - row.heard_at, timedelta())
    return Heartbeat(process=process, heard_at=row.heard_at, silent=silent, condition=condition)


def _as_row(trouble: Trouble) -> dict[str, str | bool]:
    return {
        "part": trouble.part,
        "state": trouble.state,
        "reason": trouble.reason,
        "since": rfc3339(trouble.since),
        "maintained": trouble.maintained,
    }


def _trouble(row: dict[str, Any]) -> Trouble:
    # A newer version may write more keys: only known ones are read.
    since = read_moment(row.get("since")) or EPOCH
    told = {name: row.get(name, "") for name in ("part", "state", "reason")}
    return Trouble(**told, since=since, maintained=row.get("maintained") is True)
