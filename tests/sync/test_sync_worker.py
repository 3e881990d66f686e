"""The worker: claims, handles, settles, and loses nothing when handlers, claims or the store fail."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from sqlalchemy.exc import OperationalError
from stores import opened
from structlog.testing import capture_logs

from kuma_sync.core.errors import ClaimLost, StoreReplaced, StoreUnavailable
from kuma_sync.core.retry import Park, RetryAt, RetryPolicy
from kuma_sync.store import Lane, Put, Store, Tx
from kuma_sync.store.jobs import Depth, Job, JobState
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.queue.leased_job import LeasedJob, persist
from kuma_sync.sync.queue.worker import Worker, WorkerConfig
from kuma_sync.sync.remote.gate import RemoteGate
from kuma_sync.sync.remote.rate import RetryContext
from kuma_sync.telemetry.health import Health

T = TypeVar("T")

Outcome = RetryAt | Park | None
STANDARD = Limits()


def now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Handler:
    """Remember the jobs; do with each what a test says, else acknowledge it."""

    store: Store
    act: Callable[[LeasedJob], Awaitable[Outcome]] | None = None
    seen: list[str] = field(default_factory=list)
    flying: int = 0
    most: int = 0

    async def handle(self, job: LeasedJob) -> Outcome:
        self.seen.append(job.claim.subject)
        self.flying += 1
        self.most = max(self.most, self.flying)
        try:
            outcome = await self.act(job) if self.act else None
            if outcome is None:
                await self.store.write(lambda tx: tx.delivery.done(job.claim))
            return outcome
        finally:
            self.flying -= 1


@dataclass(kw_only=True)
class Bench:
    """A store, a handler, a side and the worker between them."""

    store: Store
    handler: Handler
    gate: RemoteGate
    worker: Worker
    health: Health

    async def put(self, *subjects: str, lane: Lane = Lane.CREATE) -> None:
        with self.store.writing() as tx:
            tx.delivery.put([Put(subject=subject, lane=lane) for subject in subjects])

    async def jobs(self) -> list[Job]:
        with self.store.reading() as tx:
            return tx.delivery.jobs()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Event]:
        """Run the worker's loop; it is told to stop after the block."""
        stop = asyncio.Event()
        task = asyncio.ensure_future(self.worker.run(stop))
        try:
            yield stop
        finally:
            stop.set()
            await task


@asynccontextmanager
async def bench(
    url: str, *, concurrency: int = 4, owner: str = "me", limits: Limits = STANDARD
) -> AsyncIterator[Bench]:
    async with opened(url) as store:
        health = Health(monotonic=time.monotonic)
        policy = RetryPolicy(base=timedelta(milliseconds=50), max=timedelta(seconds=1))
        pace = RetryContext(clock=now, policy=policy, jitter=lambda: 0.0, limits=limits)
        gate = RemoteGate("irp", pace=pace, health=health)
        handler = Handler(store)
        config = WorkerConfig(
            name="delivery", queue=lambda tx: tx.delivery, gate=gate, concurrency=concurrency, limits=limits
        )
        worker = Worker(config=config, store=store, handler=handler, owner=owner, health=health)
        yield Bench(store=store, handler=handler, gate=gate, worker=worker, health=health)


async def until(condition: Callable[[], object], *, within: float = 10) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


async def test_drain_attempts_every_due_job_once_and_tells_how_many(database_url: str) -> None:
    async with bench(database_url) as at:
        await at.put(*(f"a{number}" for number in range(11)))

        async def failing(job: LeasedJob) -> Outcome:
            later = RetryAt(at=now() + timedelta(minutes=1), reason="not now")
            return later if job.claim.subject == "a3" else None

        at.handler.act = failing

        taken = [await at.worker.drain(), await at.worker.drain()]
        left = await at.jobs()

    assert taken == [11, 0]
    assert [(job.subject, job.state, job.attempts, job.reason) for job in left] == [("a3", "pending", 1, "not now")]
    assert sorted(at.handler.seen) == sorted(f"a{number}" for number in range(11))


async def test_a_back_off_that_ends_while_a_drain_goes_on_is_not_attempted_again(database_url: str) -> None:
    async with bench(database_url, concurrency=1) as at:
        await at.put("a0", "a1", "a2", "a3")

        async def failing(job: LeasedJob) -> Outcome:
            if job.claim.subject == "a1":
                await at.put("came meanwhile")
            return RetryAt(at=now(), reason="not now")

        at.handler.act = failing
        taken = await at.worker.drain()

    assert sorted(at.handler.seen) == ["a0", "a1", "a2", "a3", "came meanwhile"]
    assert taken == 5


async def test_no_more_jobs_are_in_flight_than_agreed(sqlite_url: str) -> None:
    async with bench(sqlite_url, concurrency=3) as at:
        await at.put(*(f"a{number}" for number in range(10)))

        async def slow(_job: LeasedJob) -> Outcome:
            await asyncio.sleep(0.02)
            return None

        at.handler.act = slow
        await at.worker.drain()

    assert at.handler.most == 3


async def test_closes_go_before_creates_and_creates_before_updates(sqlite_url: str) -> None:
    async with bench(sqlite_url, concurrency=1) as at:
        await at.put("update", lane=Lane.UPDATE)
        await at.put("create", lane=Lane.CREATE)
        await at.put("close", lane=Lane.CLOSE)
        await at.worker.drain()

    assert at.handler.seen == ["close", "create", "update"]


async def test_a_bug_in_the_handler_parks_that_job_and_the_line_goes_on(database_url: str) -> None:
    async with bench(database_url) as at:
        await at.put("good", "bad", "better")

        async def buggy(job: LeasedJob) -> Outcome:
            if job.claim.subject == "bad":
                raise ZeroDivisionError("secret content")
            return None

        at.handler.act = buggy
        await at.worker.drain()
        left = await at.jobs()
        with at.store.reading() as tx:
            history = tx.audit.history("bad")

    assert [(job.subject, job.state) for job in left] == [("bad", "parked")]
    assert left[0].reason == "a bug in kuma-sync: ZeroDivisionError"
    assert [entry.action for entry in history] == ["parked"]


async def test_a_store_that_is_away_in_the_middle_of_a_job_parks_nothing(database_url: str) -> None:
    async with bench(database_url) as at:
        await at.put("a")

        async def away_once(_job: LeasedJob) -> Outcome:
            if len(at.handler.seen) == 1:
                raise StoreUnavailable("the store is out of reach")
            return None

        at.handler.act = away_once
        async with at.running():
            await until(lambda: at.handler.seen == ["a", "a"])
        left = await at.jobs()

    assert left == []


async def test_what_is_put_while_its_job_runs_runs_afterwards(database_url: str) -> None:
    async with bench(database_url) as at:
        await at.put("a")
        started, go_on = asyncio.Event(), asyncio.Event()

        async def slow(_job: LeasedJob) -> Outcome:
            started.set()
            await go_on.wait()
            return None

        at.handler.act = slow
        async with at.running():
            await started.wait()
            await at.put("a")
            at.worker.bell.ring()
            await until(lambda: at.health.ready().parts["delivery"].age_seconds is not None)
            assert at.handler.seen == ["a"], "never two at a time for one alert"
            go_on.set()
            await until(lambda: at.handler.seen == ["a", "a"])

        assert await at.jobs() == []


async def test_told_to_stop_it_takes_nothing_new_and_ends_what_is_in_flight(sqlite_url: str) -> None:
    async with bench(sqlite_url, concurrency=1) as at:
        await at.put("a", "b")
        started, go_on = asyncio.Event(), asyncio.Event()

        async def slow(_job: LeasedJob) -> Outcome:
            started.set()
            await go_on.wait()
            return None

        at.handler.act = slow
        async with at.running() as stop:
            await started.wait()
            stop.set()
            go_on.set()
        left = await at.jobs()

    assert at.handler.seen == ["a"]
    assert [(job.subject, job.state) for job in left] == [("b", "pending")]


async def test_a_bell_starts_a_job_at_once(sqlite_url: str) -> None:
    async with bench(sqlite_url, limits=Limits(idle=timedelta(seconds=30))) as at, at.running():
        await until(lambda: at.health.ready().parts["delivery"].age_seconds is not None)
        await at.put("a")
        at.worker.bell.ring()
        await until(lambda: at.handler.seen)  # for less than the time until its next look by itself


async def test_a_lost_claim_writes_nothing_over_its_new_owner(database_url: str) -> None:
    async with bench(database_url) as at:
        await at.put("a")

        async def robbed(job: LeasedJob) -> Outcome:
            with at.store.writing() as tx:
                tx.delivery.recover("nobody")
                (theirs,) = tx.delivery.claim(1, owner="other", lease=timedelta(seconds=60))
                assert theirs.id == job.claim.id
            return Park(reason="we would park it")

        at.handler.act = robbed
        await at.worker.drain()
        left = await at.jobs()

    assert [(job.subject, job.state, job.reason) for job in left] == [("a", "running", "")]


async def test_a_parked_job_is_logged_by_its_alert_and_reason_without_the_answer(sqlite_url: str) -> None:
    async with bench(sqlite_url) as at:
        await at.put("a")

        async def refused(_job: LeasedJob) -> Outcome:
            return Park(reason="answered 422", detail="title: canary is too long")

        at.handler.act = refused
        with capture_logs() as logs:
            await at.worker.drain()
        left = await at.jobs()

    assert [job.reason for job in left] == ["answered 422: title: canary is too long"]
    assert [{key: line[key] for key in ("event", "queue", "alert_id", "reason")} for line in logs] == [
        {"event": "job_parked", "queue": "delivery", "alert_id": "a", "reason": "answered 422"}
    ]
    assert "canary" not in str(logs)


async def test_a_handler_that_lost_its_claim_is_not_a_bug(sqlite_url: str) -> None:
    async with bench(sqlite_url) as at:
        await at.put("a")

        async def late(_job: LeasedJob) -> Outcome:
            raise ClaimLost("held too long")

        at.handler.act = late
        await at.worker.drain()
        left = await at.jobs()

    assert [job.state for job in left] == [JobState.RUNNING], "it is for whoever owns it, or for the end of its lease"


async def test_a_claim_is_renewed_while_its_job_runs(database_url: str) -> None:
    async with bench(database_url, limits=Limits(job_lease=timedelta(seconds=5))) as at:
        await at.put("a")
        stolen: list[str] = []

        async def long(job: LeasedJob) -> Outcome:
            for _ in range(6):
                await asyncio.sleep(1)
                with at.store.writing() as tx:
                    stolen.extend(
                        claim.subject for claim in tx.delivery.claim(1, owner="other", lease=timedelta(seconds=1))
                    )
            job.ensure_valid()
            return None

        at.handler.act = long
        await at.worker.drain()
        left = await at.jobs()

    assert stolen == []
    assert left == []


async def test_a_job_held_longer_than_its_lease_is_not_sent(sqlite_url: str) -> None:
    async with bench(sqlite_url) as at:
        await at.put("a")
        with at.store.writing() as tx:
            (claim,) = tx.delivery.claim(1, owner="me", lease=timedelta(seconds=60))

        LeasedJob(claim, time.monotonic() + 60, STANDARD).ensure_valid()
        with pytest.raises(ClaimLost):
            LeasedJob(claim, time.monotonic() - 0.001, STANDARD).ensure_valid()


async def test_what_became_of_a_job_is_written_however_often_the_store_says_no(sqlite_url: str) -> None:
    async with bench(sqlite_url) as at:
        await at.put("a")
        with at.store.writing() as tx:
            (claim,) = tx.delivery.claim(1, owner="me", lease=timedelta(seconds=60))
        refusals = [StoreUnavailable("away"), StoreUnavailable("still away")]

        async def write() -> str:
            if refusals:
                raise refusals.pop()
            return "written"

        assert await persist(LeasedJob(claim, time.monotonic() + 60, STANDARD), write) == "written"


async def test_being_cancelled_does_not_keep_it_from_writing_what_was_done(sqlite_url: str) -> None:
    async with bench(sqlite_url) as at:
        await at.put("a")
        with at.store.writing() as tx:
            (claim,) = tx.delivery.claim(1, owner="me", lease=timedelta(seconds=60))
        begun, written = asyncio.Event(), list[str]()

        async def write() -> None:
            begun.set()
            await asyncio.sleep(0.05)
            written.append("done")

        task = asyncio.ensure_future(persist(LeasedJob(claim, time.monotonic() + 60, STANDARD), write))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])

    assert written == ["done"]
    assert task.cancelled()


async def test_a_write_that_fails_after_its_job_was_cancelled_complains_to_nobody(sqlite_url: str) -> None:
    complaints = list[str]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, told: complaints.append(told["message"]))
    async with bench(sqlite_url) as at:
        await at.put("a")
        with at.store.writing() as tx:
            (claim,) = tx.delivery.claim(1, owner="me", lease=timedelta(seconds=60))
        begun, failed = asyncio.Event(), list[str]()

        async def write() -> None:
            begun.set()
            await asyncio.sleep(0.05)
            failed.append("replaced")
            raise StoreReplaced("another file is there")

        task = asyncio.ensure_future(persist(LeasedJob(claim, time.monotonic() + 60, STANDARD), write))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
    del task
    gc.collect()

    assert failed == ["replaced"]
    assert complaints == []


async def test_a_store_that_is_away_is_told_and_waited_for(sqlite_url: str) -> None:
    async with bench(sqlite_url) as at:
        await at.put("a")
        away, tries = [True], list[int]()
        write = at.store.write

        async def sometimes(work: Callable[[Tx], T]) -> T:
            if away[0]:
                tries.append(1)
                at.worker.bell.ring()
                raise StoreUnavailable("the store is out of reach")
            return await write(work)

        at.store.write = sometimes  # type: ignore[method-assign, assignment]  # a store that goes away and comes back
        with capture_logs() as logs:
            async with at.running():
                await until(lambda: at.health.ready().parts["delivery"].reason)
                await until(lambda: len(tries) > 3)
                away[0] = False
                await until(lambda: at.handler.seen == ["a"])
                await until(lambda: at.health.ready().parts["delivery"].reason == "")

        assert await at.jobs() == []
        assert [(line["event"], line["queue"]) for line in logs] == [
            ("store_unavailable", "delivery"),
            ("store_recovered", "delivery"),
        ]


async def test_a_claim_whose_answer_was_lost_is_taken_up_again_and_no_other(
    database_url: str,
) -> None:
    async with bench(database_url, concurrency=2) as at:
        write, ended, lost = at.store.write, asyncio.Event(), list[int]()

        async def losing_one_answer(work: Callable[[Tx], T]) -> T:
            done, running = await write(lambda tx: (work(tx), tx.delivery.depths().get(Depth.RUNNING, 0)))
            if running == 2 and not lost:
                lost.append(running)
                raise StoreUnavailable("the answer to the commit was lost")
            return done

        async def slow(job: LeasedJob) -> Outcome:
            if job.claim.subject == "in flight":
                await ended.wait()
            return None

        at.handler.act = slow
        at.store.write = losing_one_answer  # type: ignore[method-assign, assignment]  # a connection that breaks at its commit
        await at.put("in flight")
        async with at.running():
            await until(lambda: at.handler.flying)
            await at.put("claimed unknowingly")
            try:
                await until(lambda: "claimed unknowingly" in at.handler.seen)
            finally:
                ended.set()
        left = await at.jobs()

    assert (lost, left) == ([2], [])
    assert at.handler.seen == ["in flight", "claimed unknowingly"]


async def test_a_mistake_in_our_own_sql_is_not_taken_for_an_absent_store(sqlite_url: str) -> None:
    async with bench(sqlite_url) as at:
        with pytest.raises(StoreUnavailable), at.store.writing():
            raise OperationalError("select", {}, Exception("database is locked"))
        with pytest.raises(KeyError), at.store.writing():
            raise KeyError("mistake")
