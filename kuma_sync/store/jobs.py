"""The rows of a queue, and the statements that claim, renew and remove them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum, auto
from functools import cache
from typing import Any

from sqlalchemy import Delete, Row, Table, Update, and_, bindparam, delete, or_, select, update

from kuma_sync.core.lanes import Lane
from kuma_sync.core.link import Link
from kuma_sync.core.routing import IRP
from kuma_sync.store.dialect import lease_now, lease_until, one_of


class JobState(StrEnum):
    """Where a row of a queue stands, as its column says."""

    PENDING = "pending"
    RUNNING = "running"
    PARKED = "parked"  # it waits for a human
    HELD = "held"  # the brake keeps it until a human's release


class Depth(StrEnum):
    """The groups in which rows are counted, in display order; pending rows are split by the reason for their delay."""

    PENDING = "pending"
    POSTPONED = "postponed"  # put off on purpose, nothing failed
    BACKOFF = "backoff"
    RUNNING = "running"
    HELD = "held"
    PARKED = "parked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """A subject to be brought up to date. `held`: it waits for a human's release. `target`: whose worker takes it."""

    subject: str
    lane: Lane
    target: str = IRP
    payload: dict[str, Any] | None = None
    held: bool = False


def put_of(link: Link) -> Put:
    """Return the order to bring the incident of a link up to date."""
    return Put(subject=link.alert_id, lane=Lane.UPDATE if link.made else Lane.CREATE, target=link.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A job that is ours until its lease ends. `attempts` counts the failures before."""

    id: int
    subject: str
    lane: Lane
    attempts: int
    owner: str
    payload: dict[str, Any] | None
    put_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A row as an operator sees it."""

    subject: str
    target: str
    state: JobState
    lane: Lane
    due: datetime
    attempts: int
    reason: str
    payload: dict[str, Any] | None
    put_at: datetime

    def postponed(self, now: datetime) -> bool:
        """Tell whether it waits although nothing failed."""
        return self.state is JobState.PENDING and self.attempts == 0 and self.due > now


def as_claim(row: Row[Any]) -> Claim:
    """Read a row that was just claimed."""
    return Claim(
        id=row.id,
        subject=row.subject,
        lane=Lane(row.lane),
        attempts=row.attempts,
        owner=row.owner,
        payload=row.payload,
        put_at=row.put_at,
    )


def as_job(row: Row[Any]) -> Job:
    """Read a row for a human."""
    return Job(
        subject=row.subject,
        target=row.target,
        state=JobState(row.state),
        lane=Lane(row.lane),
        due=row.due,
        attempts=row.attempts,
        reason=row.reason,
        payload=row.payload,
        put_at=row.put_at,
    )


class Claimable(Enum):
    """The kinds of rows that may be claimed. Each has its own query: one query for all could not use the index."""

    ABANDONED = auto()
    DUE = auto()
    MISDATED = auto()


@cache
def claim_statement(table: Table, kind: Claimable, lanes: tuple[Lane, ...]) -> Update:
    """Take up to `b_limit` rows of a kind."""
    match kind:
        case Claimable.ABANDONED:
            condition = and_(table.c.state == JobState.RUNNING, table.c.lease_until < lease_now(table.c.lease_until))
        case Claimable.DUE:
            # `b_since`: only rows that were due by then, or came later and were not tried yet.
            fresh = and_(table.c.put_at > bindparam("b_since"), table.c.attempts == 0)
            since = or_(table.c.due <= bindparam("b_since"), fresh)
            condition = and_(table.c.state == JobState.PENDING, table.c.due <= bindparam("b_now"), since)
        case Claimable.MISDATED:
            condition = and_(table.c.state == JobState.PENDING, table.c.due > bindparam("b_horizon"))
    other = table.alias("other")
    running_elsewhere = (
        select(other.c.id)
        .where(other.c.subject == table.c.subject, other.c.state == JobState.RUNNING, other.c.id != table.c.id)
        .exists()
    )
    query = select(table.c.id).where(table.c.target == bindparam("b_target"), condition, ~running_elsewhere)
    if len(lanes) < len(Lane):
        query = query.where(table.c.lane.in_([int(lane) for lane in lanes]))
    chosen = (
        query.order_by(table.c.lane, table.c.due, table.c.id)
        .limit(bindparam("b_limit"))
        .with_for_update(skip_locked=True)
        .cte("chosen")  # as a plain subquery PostgreSQL may run it more than once and exceed the limit
    )
    return (
        update(table)
        .where(table.c.id.in_(select(chosen.c.id)))
        .values(state=JobState.RUNNING, owner=bindparam("b_owner"), lease_until=lease_until(table.c.lease_until))
        .returning(table)
    )


@cache
def done_statement(table: Table) -> Delete:
    """Remove a finished row that is ours."""
    # SQLite once gave a new row the number of a deleted one: the subject must be the same, too.
    same = and_(table.c.id == bindparam("b_id"), table.c.subject == bindparam("b_subject"))
    return delete(table).where(same, table.c.owner == bindparam("b_owner"), table.c.state == JobState.RUNNING)


@cache
def all_done_statement(table: Table) -> Delete:
    """Remove rows that were renewed just before."""
    return delete(table).where(one_of(table.c.id, "b_ids"))


@cache
def renew_statement(table: Table) -> Any:
    """Prolong the leases of rows that are ours."""
    ours = and_(table.c.owner == bindparam("b_owner"), table.c.state == JobState.RUNNING)
    return (
        update(table)
        .where(one_of(table.c.id, "b_ids"), ours)
        .values(lease_until=lease_until(table.c.lease_until))
        .returning(table.c.id, table.c.subject)
    )
