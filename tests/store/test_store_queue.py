"""The durable queue: what a put, a claim, a wake and an operator's word make of its rows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from queue_steps import EXPIRED, again, claim, claim_one, done, job, jobs, park, put
from stores import Clock, opened

from kuma_sync.core.errors import ClaimLost
from kuma_sync.store import Job, Lane, Put
from kuma_sync.store.jobs import JobState

# Putting


async def test_what_is_put_waits_due_at_once_in_its_lane(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        await put(store, "a", Lane.CREATE, payload={"reason": "отработано", "n": 2**53 + 1})

        found = await job(store)

        assert found == Job(
            subject="a",
            target="irp",
            state="pending",
            lane=Lane.CREATE,
            due=clock.now,
            attempts=0,
            reason="",
            payload={"reason": "отработано", "n": 2**53 + 1},
            put_at=clock.now,
        )


async def test_a_put_onto_a_waiting_job_keeps_its_due_payload_and_attempts(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        await put(store, payload={"first": True})
        await again(store, await claim_one(store), after=120, reason="busy")
        before = await job(store)

        clock.advance(seconds=30)
        await put(store, payload={"second": True})

        assert await job(store) == before
        assert await claim(store) == []


async def test_the_most_urgent_lane_wins_whatever_the_order_of_puts(database_url: str) -> None:
    async with opened(database_url) as store:
        for lane in (Lane.UPDATE, Lane.CLOSE, Lane.CREATE):
            await put(store, "a", lane)

        found = await job(store)

        assert found.lane is Lane.CLOSE


async def test_a_put_onto_a_parked_job_wakes_it_once_with_no_attempts_behind_it(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        await put(store, payload={"first": True})
        await park(store, await claim_one(store))
        parked = await job(store)

        clock.advance(hours=1)
        await put(store, payload={"second": True})
        woken = await job(store)
        (claimed,) = await claim(store)

        assert (parked.state, parked.attempts, parked.reason) == (JobState.PARKED, 1, "refused")
        assert (woken.state, woken.due, woken.payload) == (JobState.PENDING, clock.now, {"second": True})
        assert claimed.attempts == 0


async def test_a_put_without_payload_wakes_a_parked_job_with_the_payload_it_had(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store, payload={"first": True})
        await park(store, await claim_one(store))

        await put(store)

        assert (await job(store)).payload == {"first": True}


async def test_a_held_job_stays_held_until_it_is_released(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store, held=True, payload={"first": True})
        await put(store, lane=Lane.CLOSE, payload={"second": True})
        held, taken = await job(store), await claim(store)

        with store.writing() as tx:
            woken = tx.delivery.wake(["a", "unknown"], states=(JobState.HELD,))

        assert (held.state, held.payload, taken) == (JobState.HELD, {"first": True}, [])
        assert woken == ["a"]
        assert (await claim_one(store)).payload == {"first": True}


async def test_a_put_while_the_job_runs_waits_until_the_first_is_settled(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store)
        first = await claim_one(store)
        await put(store)
        await put(store)
        meanwhile = await claim(store)

        await done(store, first)
        second = await claim_one(store)

        assert meanwhile == []
        assert second.id != first.id
        assert len(await jobs(store)) == 1


async def test_one_put_may_name_a_subject_twice(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            tx.delivery.put([Put(subject="a", lane=Lane.UPDATE), Put(subject="a", lane=Lane.CREATE)])
            tx.delivery.put([])

        assert [row.lane for row in await jobs(store)] == [Lane.CREATE]


async def test_the_thirtieth_put_on_one_connection_is_like_the_first(database_url: str) -> None:
    """PostgreSQL plans a prepared statement anew after five runs; then a bound index condition no longer matches."""
    async with opened(database_url) as store:
        with store.writing() as tx:
            for _ in range(30):
                tx.delivery.put([Put(subject="a", lane=Lane.UPDATE)])
                tx.closes.put([Put(subject="a", lane=Lane.CLOSE)])

            assert [len(queue.jobs()) for queue in (tx.delivery, tx.closes)] == [1, 1]


async def test_the_two_queues_know_nothing_of_each_other(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store)

        with store.writing() as tx:
            closings = tx.closes.claim(5, owner="w1", lease=timedelta(seconds=60))

        assert closings == []
        assert (await claim_one(store)).subject == "a"


# Claiming


async def test_jobs_are_claimed_by_lane_then_by_due(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        await put(store, "late update", Lane.UPDATE)
        await again(store, await claim_one(store), after=60)
        clock.advance(seconds=10)
        await put(store, "update", Lane.UPDATE)
        await put(store, "create", Lane.CREATE)
        await put(store, "close", Lane.CLOSE)
        clock.advance(seconds=120)

        two = await claim(store, 2)
        rest = await claim(store, 10)

        assert [claimed.subject for claimed in two] == ["close", "create"]
        assert [claimed.subject for claimed in rest] == ["update", "late update"]


async def test_a_claim_takes_no_more_than_it_was_asked_to(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            tx.delivery.put([Put(subject=f"a{number}", lane=Lane.UPDATE) for number in range(20)])

        sizes = [len(await claim(store, 8)) for _ in range(4)]

        assert sizes == [8, 8, 4, 0]


async def test_only_the_lanes_asked_for_are_claimed(database_url: str) -> None:
    async with opened(database_url) as store:
        for subject, lane in (("u", Lane.UPDATE), ("c", Lane.CREATE), ("x", Lane.CLOSE)):
            await put(store, subject, lane)

        taken = await claim(store, lanes=[Lane.CLOSE, Lane.UPDATE])

        assert [claimed.subject for claimed in taken] == ["x", "u"]


async def test_a_due_further_ahead_than_any_back_off_counts_as_due(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        await put(store, "a")
        clock.advance(minutes=-59)
        within = await claim(store)

        clock.advance(minutes=-2)
        beyond = await claim(store)

        assert within == []
        assert [claimed.subject for claimed in beyond] == ["a"]


# Waking, removing, recovering


async def test_waking_makes_parked_jobs_due_and_leaves_all_others(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store, "parked")
        await park(store, await claim_one(store))
        await put(store, "in back-off")
        await again(store, await claim_one(store), after=600, reason="busy")
        await put(store, "held", held=True)

        with store.writing() as tx:
            woken = tx.delivery.wake(["parked", "in back-off", "held"])

        claimed = await claim_one(store)
        assert (woken, claimed.subject, claimed.attempts) == (["parked"], "parked", 0)
        assert (await job(store, "in back-off")).attempts == 1
        assert (await job(store, "held")).state == "held"


async def test_a_subject_is_removed_and_the_job_that_runs_for_it_stopped(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store)
        running = await claim_one(store)
        await put(store)
        await put(store, "b")

        with store.writing() as tx:
            removed = tx.delivery.remove("a"), tx.delivery.remove("unknown"), tx.delivery.stop("a")
        with pytest.raises(ClaimLost):
            await done(store, running)

        assert removed == (1, 0, 1)
        assert [row.subject for row in await jobs(store)] == ["b"]


async def test_a_new_process_takes_up_at_once_what_a_dead_one_left_running(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store, "dead")
        await claim_one(store, owner="dead process")
        await put(store, "mine")
        await claim_one(store, owner="this process")

        with store.writing() as tx:
            recovered = tx.delivery.recover("this process")
        taken = await claim(store, owner="this process")

        assert recovered == 1
        assert [claimed.subject for claimed in taken] == ["dead"]


# Counting


async def test_depths_tell_waiting_from_back_off(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        await put(store, "parked")
        await park(store, await claim_one(store))
        await put(store, "failed")
        await again(store, await claim_one(store), after=60)
        await put(store, "running")
        await claim_one(store)
        await put(store, "held", held=True)
        await put(store, "waiting")

        with store.reading() as tx:
            depths = tx.delivery.depths()
        clock.advance(seconds=61)
        with store.reading() as tx:
            later = tx.delivery.depths()

        assert depths == {"parked": 1, "backoff": 1, "running": 1, "held": 1, "pending": 1}
        assert later == {"parked": 1, "running": 1, "held": 1, "pending": 2}


async def test_the_oldest_is_what_waits_or_runs(database_url: str) -> None:
    clock = Clock()
    start = clock.now
    async with opened(database_url, clock=clock) as store:
        with store.reading() as tx:
            empty = tx.delivery.oldest()
        await put(store, "parked")
        await park(store, await claim_one(store))
        clock.advance(seconds=10)
        await put(store, "running")
        await claim_one(store)
        clock.advance(seconds=10)
        await put(store, "waiting")
        await again(store, await claim_one(store), after=30)

        with store.reading() as tx:
            found = tx.delivery.oldest()

        assert empty is None
        assert found == start + timedelta(seconds=10)


async def test_rows_are_listed_by_subject_and_by_state(database_url: str) -> None:
    async with opened(database_url) as store:
        for subject in ("a", "b", "c"):
            await put(store, subject, held=subject == "c")
        await claim(store, 1, lease=EXPIRED)

        with store.reading() as tx:
            by_state = tx.delivery.jobs(states=(JobState.RUNNING, "held"))
            both = tx.delivery.jobs("a", states=(JobState.HELD,))

        assert [(row.subject, row.state) for row in by_state] == [("a", "running"), ("c", "held")]
        assert both == []


# What waits although nothing failed


async def test_news_make_due_what_waits_although_nothing_failed(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        for subject, counts in (("postponed", False), ("failed", True)):
            await put(store, subject)
            await again(store, await claim_one(store), after=600, counts=counts)
        clock.advance(seconds=5)
        with store.reading() as tx:
            before = tx.delivery.depths()

        for subject in ("postponed", "failed"):
            await put(store, subject, lane=Lane.CLOSE)

        assert before == {"postponed": 1, "backoff": 1}
        assert [(claimed.subject, claimed.lane) for claimed in await claim(store)] == [("postponed", Lane.CLOSE)]


async def test_news_that_came_while_a_job_was_being_put_off_do_not_wait_with_it(database_url: str) -> None:
    async with opened(database_url, clock=Clock()) as store:
        await put(store)
        running = await claim_one(store)
        await put(store, lane=Lane.CLOSE)
        await again(store, running, after=600, counts=False)

        (only,) = await claim(store)

        assert (only.subject, only.lane, only.attempts) == ("a", Lane.CLOSE, 0)


async def test_what_is_due_anyway_keeps_its_place_when_there_are_news(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        await put(store)
        due = (await job(store)).due
        clock.advance(seconds=5)
        await put(store)

        assert (await job(store)).due == due


async def test_what_is_postponed_is_not_late(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        start = clock.now
        await put(store)
        await again(store, await claim_one(store), after=600, counts=False)
        clock.advance(seconds=300)
        with store.reading() as tx:
            meanwhile = tx.delivery.oldest()
        clock.advance(seconds=300)
        with store.reading() as tx:
            then = tx.delivery.oldest()

        assert (meanwhile, then) == (None, start)
