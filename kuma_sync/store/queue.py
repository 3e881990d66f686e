"""A durable queue: one table, claimed by lease, shown to workers and to humans.

A row says "bring this subject up to date", never "apply this patch". At most one row per subject waits; a running one
blocks its successor. A claim is a lease: owner token, expiry by the database's clock, recovery inside the claim query.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, case, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError

from kuma_sync.core.errors import ClaimLost
from kuma_sync.core.lanes import STOPPED, Lane
from kuma_sync.core.routing import IGNORE, IRP, NO_ROUTE
from kuma_sync.store.dialect import LeaseClock, batches, insert_into
from kuma_sync.store.jobs import (
    Claim,
    Claimable,
    Depth,
    Job,
    JobState,
    Put,
    all_done_statement,
    as_claim,
    as_job,
    claim_statement,
    done_statement,
    renew_statement,
)
from kuma_sync.store.schema import NOT_RUNNING

WAITING = (Depth.PENDING, Depth.BACKOFF, Depth.RUNNING)
"""Jobs that a worker does or will do soon; a postponed job is delayed on purpose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCounts:
    """Jobs by state, and when the oldest waiting or running job was put; postponed jobs do not count for that."""

    jobs: Mapping[Depth, int] = field(default_factory=dict)
    oldest: datetime | None = None

    def plus(self, other: QueueCounts) -> QueueCounts:
        """Return both together."""
        jobs = {depth: self.jobs.get(depth, 0) + other.jobs.get(depth, 0) for depth in Depth}
        moments = [moment for moment in (self.oldest, other.oldest) if moment is not None]
        return QueueCounts(jobs=jobs, oldest=min(moments, default=None))


class Backlog:
    """One queue table as it stands, inside one transaction; `now` is our time."""

    def __init__(self, connection: Connection, table: Table, *, now: datetime) -> None:
        self._connection = connection
        self._table = table
        self._now = now

    def jobs(self, subject: str | None = None, *, states: Sequence[JobState] = ()) -> list[Job]:
        """List rows for a human: all, one subject's, or those in some states."""
        query = select(self._table).order_by(self._table.c.id)
        if subject is not None:
            query = query.where(self._table.c.subject == subject)
        if states:
            query = query.where(self._table.c.state.in_(states))
        return [as_job(row) for row in self._connection.execute(query)]

    def queued(self, subjects: Collection[str]) -> set[str]:
        """Return those of these subjects that have a job in any state."""
        found: set[str] = set()
        for some in batches(list(subjects)):
            rows = self._connection.execute(select(self._table.c.subject).where(self._table.c.subject.in_(some)))
            found.update(rows.scalars())
        return found

    def states(self, subjects: Collection[str]) -> dict[str, set[JobState]]:
        """Return the states of these subjects' jobs."""
        found: dict[str, set[JobState]] = {}
        table = self._table
        for some in batches(list(subjects)):
            rows = self._connection.execute(select(table.c.subject, table.c.state).where(table.c.subject.in_(some)))
            for subject, state in rows:
                found.setdefault(subject, set()).add(JobState(state))
        return found

    def waits(self, lanes: Collection[Lane] = tuple(Lane), *, target: str = IRP) -> bool:
        """Tell whether there is a running or waiting job of a target on these lanes."""
        table = self._table
        waiting = table.c.state.in_((JobState.PENDING, JobState.RUNNING))
        found = self._connection.execute(
            select(table.c.id).where(table.c.target == target, waiting, table.c.lane.in_(sorted(lanes))).limit(1)
        )
        return found.first() is not None

    def counts(self) -> dict[str, QueueCounts]:
        """Count rows by target and state. A pending row not due yet is in back-off, or postponed if nothing failed."""
        ahead = and_(self._table.c.state == JobState.PENDING, self._table.c.due > self._now)
        state = case((self._postponed(), Depth.POSTPONED), (ahead, Depth.BACKOFF), else_=self._table.c.state)
        columns = (self._table.c.target, state, func.count(), func.min(self._table.c.put_at))
        found: dict[str, QueueCounts] = {}
        for target, name, count, oldest in self._connection.execute(select(*columns).group_by(columns[0], state)):
            depth = Depth(name)
            before = found.get(target, QueueCounts())
            since = oldest if depth in WAITING else None
            found[target] = before.plus(QueueCounts(jobs={depth: count}, oldest=since))
        return found

    def depths(self) -> dict[Depth, int]:
        """Count the rows of all targets by state; a state of none is left out."""
        return {depth: count for depth, count in self.total().jobs.items() if count}

    def oldest(self) -> datetime | None:
        """Return when the oldest waiting or running job of all targets was put."""
        return self.total().oldest

    def total(self) -> QueueCounts:
        """Count the rows of all targets."""
        return reduce(QueueCounts.plus, self.counts().values(), QueueCounts())

    def _postponed(self) -> ColumnElement[bool]:
        table = self._table
        return and_(table.c.state == JobState.PENDING, table.c.attempts == 0, table.c.due > self._now)


class DurableQueue(Backlog):
    """One queue table, inside one transaction.

    `now` is our time (dues are ours), `lease_clock` the database's. A due beyond `horizon` counts as due: the clock was
    set back.
    """

    def __init__(
        self, connection: Connection, table: Table, *, now: datetime, lease_clock: LeaseClock, horizon: timedelta
    ) -> None:
        super().__init__(connection, table, now=now)
        self._lease_clock = lease_clock
        self._horizon = horizon

    def put(self, puts: Sequence[Put]) -> None:
        """Queue subjects, or wake what waits for them: a parked one is tried once more, a held one stays held.

        A waiting row keeps its payload (the first one wins) and, where something failed, its due: a back-off is never
        shortened. One that waits although nothing failed is due at once, for what is new may be worth doing now.
        Nothing is queued for an alert that goes to no target.
        """
        puts = [put for put in puts if put.target not in (NO_ROUTE, IGNORE)]
        if not puts:
            return
        insert = insert_into(self._connection, self._table)
        stored, fresh = self._table.c, insert.excluded
        parked = stored.state == JobState.PARKED
        stopped = or_(*(stored.lane == lane for lane in sorted(STOPPED)))
        postponed = and_(stored.state == JobState.PENDING, stored.attempts == 0, stored.due > fresh.due)
        # DO UPDATE, not DO NOTHING: it waits for a worker that is claiming the row, so no change is lost.
        statement = insert.on_conflict_do_update(
            index_elements=["subject"],
            index_where=NOT_RUNNING,
            set_={
                "state": case((parked, fresh.state), else_=stored.state),
                "target": fresh.target,
                "lane": case((or_(fresh.lane < stored.lane, stopped), fresh.lane), else_=stored.lane),
                "due": case((or_(parked, postponed), fresh.due), else_=stored.due),
                "attempts": case((parked, 0), else_=stored.attempts),
                "put_at": case((parked, fresh.put_at), else_=stored.put_at),
                "payload": case((parked, func.coalesce(fresh.payload, stored.payload)), else_=stored.payload),
            },
        )
        self._connection.execute(statement, [self._row(put) for put in puts])

    def claim(
        self,
        limit: int,
        *,
        owner: str,
        lease: timedelta,
        target: str = IRP,
        lanes: Collection[Lane] = tuple(Lane),
        since: datetime | None = None,
    ) -> list[Claim]:
        """Take up to `limit` jobs of a target: those whose owner's lease ran out, then due ones of `lanes`.

        The most urgent come first. With `since` only jobs that were due by then, and later ones that did not fail yet.
        """
        values = self._lease_clock.values(lease) | {
            "b_now": self._now,
            "b_since": since or self._now,
            "b_horizon": self._now + self._horizon,
            "b_owner": owner,
            "b_target": target,
        }
        claims: list[Claim] = []
        for kind in Claimable:
            if len(claims) < limit:
                # Abandoned jobs are taken from every lane: others on the same lane may wait for them.
                wanted = tuple(Lane) if kind is Claimable.ABANDONED else tuple(sorted(set(lanes)))
                statement = claim_statement(self._table, kind, wanted)
                rows = self._connection.execute(statement, values | {"b_limit": limit - len(claims)})
                # RETURNING promises no order.
                claims += [as_claim(row) for row in sorted(rows, key=lambda row: (row.lane, row.due, row.id))]
        return claims

    def renew(self, claims: Collection[Claim], *, lease: timedelta) -> set[int]:
        """Prolong leases; return the ids that are still ours."""
        kept: set[int] = set()
        subjects = {claim.id: claim.subject for claim in claims}
        for some in batches(list(subjects)):
            owner = next(iter(claims)).owner
            values = {"b_ids": some, "b_owner": owner} | self._lease_clock.values(lease)
            rows = self._connection.execute(renew_statement(self._table), values)
            kept |= {row.id for row in rows if subjects[row.id] == row.subject}  # as in done_statement
        return kept

    def done(self, claim: Claim) -> None:
        """Remove a finished job; raise ClaimLost when it is no longer ours."""
        removed = self._connection.execute(
            done_statement(self._table), {"b_id": claim.id, "b_subject": claim.subject, "b_owner": claim.owner}
        )
        if removed.rowcount != 1:
            raise ClaimLost(f"job {claim.id} went to another worker")

    def all_done(self, claims: Collection[Claim]) -> None:
        """Remove finished jobs; this transaction must have renewed them, which proves that they are ours."""
        for some in batches([claim.id for claim in claims]):
            self._connection.execute(all_done_statement(self._table), {"b_ids": some})

    def again(
        self, claim: Claim, *, at: datetime, reason: str = "", counts: bool = True, lane: Lane | None = None
    ) -> None:
        """Put a job back for later, perhaps on another lane.

        If a successor waits already, the two become one: it keeps the attempts and, after a failure, the later due.
        """
        attempts = claim.attempts + (1 if counts else 0)
        kept = claim.lane if lane is None else lane
        successor = self._to_waiting(
            claim, state=JobState.PENDING, due=at, attempts=attempts, reason=reason, lane=int(kept)
        )
        if successor is None:
            return
        self.done(claim)
        values: dict[str, Any] = {
            "attempts": max(attempts, successor.attempts),
            "lane": min(kept, successor.lane),
            "put_at": min(claim.put_at, successor.put_at),
            "reason": reason,
        }
        if successor.state == JobState.PENDING and counts:
            values["due"] = max(at, successor.due)
        if claim.payload is not None:
            values["payload"] = claim.payload
        self._connection.execute(update(self._table).where(self._table.c.id == successor.id).values(**values))

    def park(self, claim: Claim, reason: str) -> None:
        """Park a job for a human; if its subject has changed meanwhile, that change is tried once more instead."""
        if self._to_waiting(claim, state=JobState.PARKED, attempts=claim.attempts + 1, reason=reason) is not None:
            self.done(claim)

    def wake(self, subjects: Collection[str], *, states: Sequence[JobState] = (JobState.PARKED,)) -> list[str]:
        """Make parked (or held) jobs due at once; return the subjects that had one."""
        woken: list[str] = []
        for some in batches(list(subjects)):
            rows = self._connection.execute(
                update(self._table)
                .where(self._table.c.subject.in_(some), self._table.c.state.in_(states))
                .values(state=JobState.PENDING, due=self._now, attempts=0, reason="", put_at=self._now)
                .returning(self._table.c.subject)
            )
            woken += [row.subject for row in rows]
        return woken

    def remove(self, subject: str) -> int:
        """Remove the waiting job of a subject."""
        return self._remove(self._table.c.subject == subject, self._table.c.state != JobState.RUNNING)

    def unhold(self, subject: str) -> int:
        """Remove the held job of a subject, unless somebody asked for it."""
        return self._remove(
            self._table.c.subject == subject, self._table.c.state == JobState.HELD, self._table.c.reason == ""
        )

    def want(self, subject: str, reason: str) -> None:
        """Note on a subject's held job that somebody asked for it: it stays held, and is not removed."""
        held = and_(self._table.c.subject == subject, self._table.c.state == JobState.HELD)
        self._connection.execute(update(self._table).where(held).values(reason=reason))

    def stop(self, subject: str) -> int:
        """Take the claim of a subject's running job away, so that its worker can write nothing more."""
        return self._remove(self._table.c.subject == subject, self._table.c.state == JobState.RUNNING)

    def clear(self, subject: str) -> int:
        """Remove all jobs of a subject, running or not, in one statement: one may change its state just now."""
        return self._remove(self._table.c.subject == subject)

    def _remove(self, *which: ColumnElement[bool]) -> int:
        removed = self._connection.execute(delete(self._table).where(*which))
        return removed.rowcount

    def recover(self, owner: str) -> int:
        """Make due the jobs that other owners left running; only for a store that no other process can hold."""
        return self._end_leases(self._table.c.owner != owner)

    def disown(self, owner: str, *, keep: Collection[int]) -> int:
        """Make due the owner's jobs except `keep`: an answer to a claim was lost, so it does not know of them."""
        return self._end_leases(self._table.c.owner == owner, self._table.c.id.not_in(keep))

    def _end_leases(self, *whose: ColumnElement[bool]) -> int:
        ended = self._connection.execute(
            update(self._table)
            .where(self._table.c.state == JobState.RUNNING, *whose)
            .values(lease_until=self._lease_clock.now() - timedelta(seconds=1))
        )
        return ended.rowcount

    def _row(self, put: Put) -> dict[str, Any]:
        return {
            "subject": put.subject,
            "target": put.target,
            "state": JobState.HELD if put.held else JobState.PENDING,
            "lane": int(put.lane),
            "due": self._now,
            "attempts": 0,
            "reason": "",
            "payload": put.payload,
            "put_at": self._now,
        }

    def _mine(self, claim: Claim) -> tuple[Any, ...]:
        table = self._table
        same = and_(table.c.id == claim.id, table.c.subject == claim.subject)  # as in done_statement
        return (same, table.c.owner == claim.owner, table.c.state == JobState.RUNNING)

    def _to_waiting(self, claim: Claim, **values: Any) -> Row[Any] | None:
        """Make our running row a waiting one; if a successor waits already, change nothing and return that."""
        # Everybody locks the running row before the waiting one.
        self._connection.execute(select(self._table.c.id).where(*self._mine(claim)).with_for_update())
        if (successor := self._successor(claim)) is not None:
            return successor
        try:
            with self._connection.begin_nested():
                changed = self._connection.execute(
                    update(self._table).where(*self._mine(claim)).values(owner=None, lease_until=None, **values)
                )
        except IntegrityError:
            # On PostgreSQL a put came between our read and our write; without a successor the row itself was refused.
            if (successor := self._successor(claim)) is None:
                raise
            return successor
        if changed.rowcount != 1:
            raise ClaimLost(f"job {claim.id} went to another worker")
        return None

    def _successor(self, claim: Claim) -> Row[Any] | None:
        found = self._connection.execute(
            select(self._table)
            .where(self._table.c.subject == claim.subject, self._table.c.state != JobState.RUNNING)
            .with_for_update()
        )
        return found.one_or_none()
