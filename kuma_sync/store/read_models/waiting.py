"""What waits for a human: parked jobs, pieces that are no alerts, what the brake holds, alerts without a route."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from typing import Any, Literal

from sqlalchemy import Column, Connection, Result, Select, Table, bindparam, func, select

from kuma_sync.core.plan import CLOSING_HELD, CREATE_HELD
from kuma_sync.store import schema
from kuma_sync.store.jobs import JobState

QueueName = Literal["delivery", "close"]
Towards = Literal["irp", "kuma"]
"""The direction of what waits."""

TOWARDS: dict[QueueName, Towards] = {"delivery": "irp", "close": "kuma"}
"""Where each queue's jobs go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedJob:
    """A parked alert, or a parked piece of KUMA's answer that is no alert; and why.

    `size` is a piece's length in bytes; None for an alert. `name` and `priority` are empty where no such alert is known
    here. `since` is when the job was put on its queue, `attempts` how often it failed.
    """

    id: str
    queue: QueueName
    reason: str
    size: int | None = None
    name: str = field(default="", compare=False)
    target: str = ""
    since: datetime | None = None
    attempts: int = 0
    priority: str = field(default="", compare=False)

    @property
    def towards(self) -> Towards:
        """Return the side that it goes to."""
        return TOWARDS[self.queue]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Something that the brake holds: the `create` of an incident, or a `close` towards KUMA or the IRP.

    `since` is when its link last changed, or its closing was put on the queue.
    """

    id: str
    what: Literal["create", "close"]
    towards: Towards
    reason: str
    name: str = field(compare=False)
    target: str = ""
    since: datetime | None = field(default=None, compare=False)
    priority: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """An alert by its name."""

    id: str
    name: str
    last_seen: datetime | None
    priority: str = field(default="", compare=False)


class Waiting:
    """Questions about what waits for a human, inside one transaction; of all, or of one subject."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def parked(self, subject: str | None = None) -> list[ParkedJob]:
        """Return what is parked: deliveries, closings, and pieces that are no alerts."""
        deliveries, closings = (self._found(_jobs(queue, JobState.PARKED), subject) for queue in QUEUES)
        return [
            *(parked_job("delivery", row) for row in deliveries),
            *(parked_job("close", row) for row in closings),
            *(parked_piece(row) for row in self._found(_pieces(), subject)),
        ]

    def held(self, subject: str | None = None) -> list[Held]:
        """Return what the brake holds, by alert."""
        found = [one for row in self._found(_held_links(), subject) for one in held_link(row)]
        found += [held_closing(row) for row in self._found(_jobs("close", JobState.HELD), subject)]
        return sorted(found, key=lambda one: (one.id, one.towards, one.what))

    def unrouted(self, subject: str | None = None) -> list[Named]:
        """Return the alerts that no route takes, by id: they are held until a route does, and `release` frees none."""
        return [named(row) for row in self._found(_unrouted(), subject)]

    def _found(self, asked: _Asked, subject: str | None) -> Result[Any]:
        if subject is None:
            return self._connection.execute(asked.all)
        return self._connection.execute(asked.one, {"b_subject": subject})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A question, of all and of one subject. It is built once: that costs more than to ask it, and many are asked."""

    all: Select[Any]
    one: Select[Any]

    @classmethod
    def by(cls, subject: Column[Any], query: Select[Any]) -> _Asked:
        return cls(all=query, one=query.where(subject == bindparam("b_subject")))


@cache
def _jobs(queue: QueueName, state: JobState) -> _Asked:
    return _Asked.by(QUEUES[queue].c.subject, in_state(queue, state))


@cache
def _pieces() -> _Asked:
    table = schema.parked
    query = select(*PIECE).where(table.c.dropped.is_(False)).order_by(table.c.first_seen, table.c.digest)
    return _Asked.by(table.c.digest, query)


@cache
def _held_links() -> _Asked:
    alert_id = schema.links.c.alert_id
    return _Asked.by(alert_id, with_name(alert_id, *HELD_LINK).where(schema.HELD))


@cache
def _unrouted() -> _Asked:
    alert_id = schema.links.c.alert_id
    query = with_name(alert_id, alert_id, schema.alerts.c.last_seen).where(schema.UNROUTED).order_by(alert_id)
    return _Asked.by(alert_id, query)


QUEUES: dict[QueueName, Table] = {"delivery": schema.delivery_queue, "close": schema.close_queue}

PIECE = (schema.parked.c.digest, schema.parked.c.reason, schema.parked.c.size, schema.parked.c.first_seen)

HELD_LINK = tuple(schema.links.c[name] for name in ("alert_id", "target", "held_create", "held_close", "changed_at"))


def with_name(alert_id: Column[Any], *columns: Any) -> Select[Any]:
    """Select columns of a table that names alerts, and the alert's name and priority, empty where it is unknown."""
    alerts = schema.alerts
    joined = alert_id.table.outerjoin(alerts, alerts.c.id == alert_id)
    known = (func.coalesce(column, "").label(column.name) for column in (alerts.c.name, alerts.c.priority))
    return select(*columns, *known).select_from(joined)


def in_state(queue: QueueName, state: JobState) -> Select[Any]:
    """Select the jobs of a queue in a state, in the order in which they came."""
    table = QUEUES[queue]
    return with_name(table.c.subject, table).where(table.c.state == state).order_by(table.c.id)


def parked_job(queue: QueueName, row: Any) -> ParkedJob:
    """Return the parked job of a row."""
    return ParkedJob(
        id=row.subject,
        queue=queue,
        reason=row.reason,
        name=row.name,
        target=row.target if queue == "delivery" else "",
        since=row.put_at,
        attempts=row.attempts,
        priority=row.priority,
    )


def parked_piece(row: Any) -> ParkedJob:
    """Return the parked piece of a row."""
    return ParkedJob(id=row.digest, queue="delivery", reason=row.reason, size=row.size, since=row.first_seen)


def held_link(row: Any) -> list[Held]:
    """Return what the brake holds of a link, which may be two things."""
    held = partial(
        Held,
        id=row.alert_id,
        towards="irp",
        name=row.name,
        target=row.target,
        since=row.changed_at,
        priority=row.priority,
    )
    return [
        *([held(what="create", reason=CREATE_HELD)] if row.held_create else []),
        *([held(what="close", reason=CLOSING_HELD)] if row.held_close else []),
    ]


def held_closing(row: Any) -> Held:
    """Return the held closing of a row of the close queue."""
    reason = both(CLOSING_HELD, row.reason)
    return Held(
        id=row.subject,
        what="close",
        towards="kuma",
        reason=reason,
        name=row.name,
        since=row.put_at,
        priority=row.priority,
    )


def named(row: Any) -> Named:
    """Return the alert of a row."""
    return Named(id=row.alert_id, name=row.name, last_seen=row.last_seen, priority=row.priority)


def both(reason: str, more: str | None) -> str:
    """Return a reason with what else is known."""
    return f"{reason}; {more}" if more else reason
