"""What stands on a queue: jobs as they are put, claimed and shown. Must not: hold queries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Row

from kuma_sync.core.lanes import Lane


class JobState(StrEnum):
    """Where a row of a queue stands, as its column says."""

    PENDING = "pending"
    RUNNING = "running"
    PARKED = "parked"  # set aside for a human
    HELD = "held"  # the brake keeps it until a human's release


class Depth(StrEnum):
    """What rows are counted as, in the order that people read them: pending ones by why they are not due yet."""

    PENDING = "pending"
    POSTPONED = "postponed"  # put off on purpose, nothing failed
    BACKOFF = "backoff"
    RUNNING = "running"
    HELD = "held"
    PARKED = "parked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """A subject to bring up to date. `held` waits for a human's release."""

    subject: str
    lane: Lane
    payload: dict[str, Any] | None = None
    held: bool = False


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
        state=JobState(row.state),
        lane=Lane(row.lane),
        due=row.due,
        attempts=row.attempts,
        reason=row.reason,
        payload=row.payload,
        put_at=row.put_at,
    )
