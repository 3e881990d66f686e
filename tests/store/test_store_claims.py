"""Claims as leases: who may settle a job, and what a settlement leaves behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from queue_steps import EXPIRED, LEASE, again, claim, claim_one, done, job, jobs, park, put
from stores import Clock, opened

from kuma_sync.core.errors import ClaimLost
from kuma_sync.store import Claim, Lane, Store
from kuma_sync.store.jobs import JobState

Settle = Callable[[Store, Claim], Awaitable[None]]


async def put_back(store: Store, claimed: Claim) -> None:
    await again(store, claimed, after=60, reason="busy")


settlements = pytest.mark.parametrize("settle", [done, put_back, park])

# Leases


async def test_a_job_whose_lease_ran_out_goes_to_whoever_asks_next(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store)
        first = await claim_one(store, owner="w1", lease=EXPIRED)

        second = await claim_one(store, owner="w2")

        assert (second.id, second.owner) == (first.id, "w2")
        assert await claim(store, owner="w3") == []


async def test_a_job_whose_lease_ran_out_is_taken_whatever_lane_it_was_on(database_url: str) -> None:
    """It may be what the others on its lane are waiting for."""
    async with opened(database_url) as store:
        await put(store, "a", Lane.CREATE)
        first = await claim_one(store, owner="w1", lease=EXPIRED)
        await put(store, "b", Lane.CREATE)

        taken = await claim(store, owner="w2", lanes=[Lane.UPDATE])

        assert [(one.id, one.owner) for one in taken] == [(first.id, "w2")]


@settlements
async def test_a_stale_owner_settles_nothing(database_url: str, settle: Settle) -> None:
    async with opened(database_url) as store:
        await put(store)
        stale = await claim_one(store, owner="w1", lease=EXPIRED)
        await claim_one(store, owner="w2")
        before = await jobs(store)

        with pytest.raises(ClaimLost):
            await settle(store, stale)

        assert await jobs(store) == before


@settlements
async def test_a_stale_owner_does_not_touch_the_successor_either(database_url: str, settle: Settle) -> None:
    async with opened(database_url) as store:
        await put(store)
        stale = await claim_one(store, owner="w1", lease=EXPIRED)
        await claim_one(store, owner="w2")
        await put(store)
        before = await jobs(store)

        with pytest.raises(ClaimLost):
            await settle(store, stale)

        assert await jobs(store) == before


async def test_a_job_cannot_be_settled_twice(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store)
        claimed = await claim_one(store)
        await done(store, claimed)

        with pytest.raises(ClaimLost):
            await put_back(store, claimed)

        assert await jobs(store) == []


@settlements
async def test_a_stale_claim_settles_no_other_job_that_got_its_number(database_url: str, settle: Settle) -> None:
    """SQLite numbers a new row like the last one that was deleted, and a process owns all its claims by one name."""
    async with opened(database_url) as store:
        await put(store, "a")
        stale = await claim_one(store, lease=EXPIRED)
        await done(store, await claim_one(store))
        await put(store, "b")
        running = await claim_one(store)

        with pytest.raises(ClaimLost):
            await settle(store, stale)

        await done(store, running)


async def test_a_lost_claim_takes_the_whole_transaction_back(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store)
        stale = await claim_one(store, owner="w1", lease=EXPIRED)
        await claim_one(store, owner="w2")

        async def deliver() -> None:
            with store.writing() as tx:
                tx.audit.note("w1", "delivered", "a")
                tx.delivery.done(stale)

        with pytest.raises(ClaimLost):
            await deliver()

        with store.reading() as tx:
            assert tx.audit.history("a") == []


async def test_leases_on_a_shared_server_are_measured_by_its_clock(postgres_url: str) -> None:
    """A copy of the daemon whose clock is ahead must not take what another one is working on."""
    clock = Clock()
    async with opened(postgres_url, clock=clock) as store:
        await put(store)
        held = await claim_one(store, owner="w1")
        clock.advance(hours=10)

        taken = await claim(store, owner="w2")

        assert taken == []
        await done(store, held)


async def test_leases_on_a_file_are_measured_by_our_clock(sqlite_url: str) -> None:
    clock = Clock()
    async with opened(sqlite_url, clock=clock) as store:
        await put(store)
        await claim_one(store, owner="w1")
        clock.advance(seconds=59)
        early = await claim(store, owner="w2")

        clock.advance(seconds=2)
        late = await claim(store, owner="w2")

        assert [len(early), len(late)] == [0, 1]


async def test_renewing_prolongs_what_is_still_ours_and_names_it(database_url: str) -> None:
    async with opened(database_url) as store:
        for subject in ("kept", "lost"):
            await put(store, subject)
        kept, lost = sorted(await claim(store, owner="w1", lease=EXPIRED), key=lambda each: each.subject)
        taken = await claim(store, 10, owner="w1", lease=EXPIRED)
        with store.writing() as tx:
            tx.delivery.done(next(each for each in taken if each.subject == "lost"))

        with store.writing() as tx:
            ours = tx.delivery.renew([kept, lost], lease=LEASE)
            nothing = tx.delivery.renew([], lease=LEASE)

        assert (ours, nothing) == ({kept.id}, set())
        assert await claim(store, owner="w2") == []


async def test_a_claim_that_went_elsewhere_is_not_renewed(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store)
        stale = await claim_one(store, owner="w1", lease=EXPIRED)
        await claim_one(store, owner="w2", lease=EXPIRED)

        with store.writing() as tx:
            ours = tx.delivery.renew([stale], lease=LEASE)

        assert ours == set()
        assert len(await claim(store, owner="w3")) == 1


# Settling


async def test_a_failed_job_comes_again_when_its_back_off_is_over(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        await put(store, payload={"reason": "responded"})
        await again(store, await claim_one(store), after=30, reason="503")
        waiting, early = await job(store), await claim(store)

        clock.advance(seconds=30)
        second = await claim_one(store)

        assert (waiting.state, waiting.attempts, waiting.reason, early) == (JobState.PENDING, 1, "503", [])
        assert (second.attempts, second.payload) == (1, {"reason": "responded"})


async def test_a_wait_that_was_nobodys_fault_is_not_counted(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store)
        await again(store, await claim_one(store), after=30, counts=False)

        assert (await job(store)).attempts == 0


async def test_a_failed_job_and_its_successor_become_one(database_url: str) -> None:
    clock = Clock()
    start = clock.now
    async with opened(database_url, clock=clock) as store:
        await put(store, lane=Lane.UPDATE, payload={"first": True})
        failed = await claim_one(store)
        clock.advance(seconds=5)
        await put(store, lane=Lane.CREATE, payload={"second": True})

        await again(store, failed, after=600, reason="503")

        merged = await job(store)
        assert (merged.state, merged.attempts, merged.reason, merged.lane) == (JobState.PENDING, 1, "503", Lane.CREATE)
        assert (merged.put_at, merged.payload) == (start, {"first": True})
        assert (merged.due - clock.now).total_seconds() == 600


async def test_the_later_due_of_the_two_stays(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        await put(store)
        failed = await claim_one(store)
        clock.advance(minutes=5)
        await put(store)
        clock.advance(minutes=-5)

        await again(store, failed, after=10)

        assert ((await job(store)).due - clock.now).total_seconds() == 300


async def test_a_failed_job_meets_a_held_successor_and_both_wait_for_the_release(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store)
        failed = await claim_one(store)
        await put(store, held=True)

        await again(store, failed, after=0, reason="503")

        merged = await job(store)
        assert (merged.state, merged.attempts, merged.reason) == (JobState.HELD, 1, "503")


async def test_a_refused_job_is_parked_with_its_reason_and_not_claimed(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store)

        await park(store, await claim_one(store), "422: поле detectedAt")

        parked = await job(store)
        assert (parked.state, parked.attempts, parked.reason) == (JobState.PARKED, 1, "422: поле detectedAt")
        assert await claim(store) == []


async def test_a_refused_job_whose_subject_changed_meanwhile_is_tried_once_more(database_url: str) -> None:
    async with opened(database_url) as store:
        await put(store)
        refused = await claim_one(store)
        await put(store, payload={"second": True})

        await park(store, refused)

        second = await claim_one(store)
        assert (second.attempts, second.payload) == (0, {"second": True})
        assert len(await jobs(store)) == 1
