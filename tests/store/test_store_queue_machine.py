"""The queue against a model of it in memory: whatever is done in whatever order, the rows are what the rules say."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from stores import Clock

from kuma_sync.core.errors import ClaimLost
from kuma_sync.core.lanes import STOPPED
from kuma_sync.store import Claim, DurableQueue, Job, Lane, Put, Store, store_url
from kuma_sync.store.jobs import JobState

T = TypeVar("T")

LEASE = timedelta(seconds=60)
HORIZON = timedelta(hours=1)

subjects = st.sampled_from(["a", "b", "c"])
lanes = st.sampled_from(list(Lane))
payloads = st.none() | st.fixed_dictionaries({"n": st.integers(0, 9)})


@dataclass
class ModelRow:
    """A row as the rules see it."""

    job: Job
    number: int
    claim_id: int = 0
    owner: str = ""
    lease_until: datetime = datetime(1970, 1, 1, tzinfo=UTC)


class Model:
    """The queue's rules over plain lists."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._numbers = 0
        self.rows: list[ModelRow] = []

    def waiting(self, subject: str) -> ModelRow | None:
        return next(
            (row for row in self.rows if row.job.subject == subject and row.job.state is not JobState.RUNNING), None
        )

    def running(self, subject: str) -> ModelRow | None:
        return next(
            (row for row in self.rows if row.job.subject == subject and row.job.state is JobState.RUNNING), None
        )

    def put(self, put: Put) -> None:
        now, row = self._clock.now, self.waiting(put.subject)
        state = JobState.HELD if put.held else JobState.PENDING
        if row is None:
            self._numbers += 1
            job = Job(
                subject=put.subject,
                target=put.target,
                state=state,
                lane=put.lane,
                due=now,
                attempts=0,
                reason="",
                payload=put.payload,
                put_at=now,
            )
            self.rows.append(ModelRow(job, self._numbers))
            return
        stopped = row.job.lane in STOPPED
        row.job = replace(row.job, lane=put.lane if stopped else min(row.job.lane, put.lane))
        if row.job.state is JobState.PENDING and row.job.attempts == 0 and row.job.due > now:
            row.job = replace(row.job, due=now)
        if row.job.state is JobState.PARKED:
            payload = row.job.payload if put.payload is None else put.payload
            row.job = replace(row.job, state=state, due=now, attempts=0, payload=payload, put_at=now)

    def claim(self, limit: int, owner: str, wanted: Collection[Lane]) -> list[str]:
        ready = sorted(
            (
                row
                for row in self.rows
                if (row.job.lane in wanted or row.job.state is JobState.RUNNING) and self._ready(row)
            ),
            key=lambda row: (self._kind(row), row.job.lane, row.job.due, row.number),
        )[:limit]
        for row in ready:
            row.owner, row.lease_until = owner, self._clock.now + LEASE
            row.job = replace(row.job, state=JobState.RUNNING)
        return [row.job.subject for row in ready]

    def _kind(self, row: ModelRow) -> int:
        """Abandoned jobs come first, misdated ones last."""
        if row.job.state is JobState.RUNNING:
            return 0
        return 1 if row.job.due <= self._clock.now else 2

    def _ready(self, row: ModelRow) -> bool:
        now, due = self._clock.now, row.job.due
        if row.job.state is JobState.RUNNING:
            return row.lease_until < now
        in_time = due <= now or due > now + HORIZON
        return row.job.state is JobState.PENDING and in_time and self.running(row.job.subject) is None

    def owns(self, claim: Claim) -> bool:
        row = self.running(claim.subject)
        return row is not None and row.claim_id == claim.id and row.owner == claim.owner

    def settle(self, claim: Claim, how: str, at: datetime) -> None:
        row, successor = self.running(claim.subject), self.waiting(claim.subject)
        assert row is not None
        attempts = claim.attempts + (how != "postpone")
        if how == "done" or successor is not None:
            self.rows.remove(row)
        if how == "park" and successor is None:
            row.job = replace(row.job, state=JobState.PARKED, attempts=claim.attempts + 1, reason=how)
        if how in ("again", "postpone") and successor is None:
            row.job = replace(row.job, state=JobState.PENDING, attempts=attempts, reason=how, due=at, lane=claim.lane)
        if how in ("again", "postpone") and successor is not None:
            new = successor.job
            successor.job = replace(
                new,
                attempts=max(attempts, new.attempts),
                lane=min(claim.lane, new.lane),
                put_at=min(claim.put_at, new.put_at),
                due=max(at, new.due) if new.state is JobState.PENDING and how == "again" else new.due,
                payload=new.payload if claim.payload is None else claim.payload,
                reason=how,
            )

    def wake(self, subject: str, state: str) -> bool:
        row = self.waiting(subject)
        if row is None or row.job.state != state:
            return False
        now = self._clock.now
        row.job = replace(row.job, state=JobState.PENDING, due=now, attempts=0, reason="", put_at=now)
        return True

    def remove(self, subject: str) -> int:
        row = self.waiting(subject)
        if row is not None:
            self.rows.remove(row)
        return 0 if row is None else 1


class QueueMachine(RuleBasedStateMachine):
    """Does the same to a queue in a SQLite file and to the model."""

    template: ClassVar[Path]

    @initialize()
    def open(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "store.db"
        shutil.copy(self.template, path)
        self.clock = Clock()
        self.model = Model(self.clock)
        self.claims: list[Claim] = []
        self._store = Store(store_url(f"sqlite:///{path}"), clock=self.clock, horizon=HORIZON)

    def teardown(self) -> None:
        if hasattr(self, "_store"):
            self._store.close()
            self._folder.cleanup()

    def act(self, do: Callable[[DurableQueue], T]) -> T:
        with self._store.writing() as tx:
            return do(tx.delivery)

    @rule(subject=subjects, lane=lanes, payload=payloads, held=st.booleans())
    def put(self, **fields: Any) -> None:
        put = Put(**fields)
        self.act(lambda queue: queue.put([put]))
        self.model.put(put)

    @rule(limit=st.integers(1, 3), owner=st.sampled_from(["w1", "w2"]), wanted=st.sets(lanes, min_size=1))
    def claim(self, limit: int, owner: str, wanted: set[Lane]) -> None:
        taken = self.act(lambda queue: queue.claim(limit, owner=owner, lease=LEASE, lanes=wanted))
        expected = self.model.claim(limit, owner, wanted)
        assert [claim.subject for claim in taken] == expected
        for claim in taken:
            row = self.model.running(claim.subject)
            assert row is not None
            assert (claim.attempts, claim.payload) == (row.job.attempts, row.job.payload)
            row.claim_id = claim.id
            self.claims.append(claim)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), how=st.sampled_from(["done", "again", "postpone", "park"]), after=st.integers(0, 120))
    def settle(self, data: st.DataObject, how: str, after: int) -> None:
        claim = data.draw(st.sampled_from(self.claims))
        at = self.clock.now + timedelta(seconds=after)

        def settle(queue: DurableQueue) -> None:
            match how:
                case "done":
                    queue.done(claim)
                case "again":
                    queue.again(claim, at=at, reason=how)
                case "postpone":
                    queue.again(claim, at=at, reason=how, counts=False)
                case _:
                    queue.park(claim, how)

        if self.model.owns(claim):
            self.act(settle)
            self.model.settle(claim, how, at)
        else:
            with pytest.raises(ClaimLost):
                self.act(settle)

    @rule(subject=subjects, state=st.sampled_from([JobState.PARKED, JobState.HELD]))
    def wake(self, subject: str, state: str) -> None:
        woken = self.act(lambda queue: queue.wake([subject], states=(state,)))
        assert woken == ([subject] if self.model.wake(subject, state) else [])

    @rule(subject=subjects)
    def remove(self, subject: str) -> None:
        assert self.act(lambda queue: queue.remove(subject)) == self.model.remove(subject)

    @rule(seconds=st.sampled_from([-7200, -5, 1, 30, 61]))
    def let_time_pass(self, seconds: int) -> None:
        self.clock.advance(seconds=seconds)

    @invariant()
    def the_rows_are_what_the_rules_say(self) -> None:
        def by_subject(job: Job) -> tuple[str, str]:
            return job.subject, job.state

        found = self.act(lambda queue: queue.jobs())
        assert sorted(found, key=by_subject) == sorted((row.job for row in self.model.rows), key=by_subject)
        pairs = [(job.subject, job.state is JobState.RUNNING) for job in found]
        assert len(set(pairs)) == len(pairs)


def test_whatever_is_done_the_rows_are_what_the_rules_say(migrated_file: Path) -> None:
    QueueMachine.template = migrated_file

    run_state_machine_as_test(
        QueueMachine,
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
