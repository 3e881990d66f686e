"""The leader's lease: one owner at a time, and who lost it writes nothing more."""

from __future__ import annotations

from datetime import timedelta

import pytest
from stores import Clock, opened

from kuma_sync.core.errors import ClaimLost
from kuma_sync.store import Leadership, Store

TTL = timedelta(seconds=60)
OVER = timedelta(seconds=-1)


async def take(store: Store, owner: str, *, ttl: timedelta = TTL, force: bool = False) -> Leadership | None:
    with store.writing() as tx:
        return tx.lease.take("reader", owner, ttl=ttl, force=force)


async def given(store: Store, owner: str, *, ttl: timedelta = TTL, force: bool = False) -> Leadership:
    leadership = await take(store, owner, ttl=ttl, force=force)
    assert leadership is not None
    return leadership


async def ensure_valid(store: Store, leadership: Leadership) -> None:
    with store.writing() as tx:
        tx.lease.ensure_valid(leadership)


async def test_the_turn_is_one_owners_until_it_ends(database_url: str) -> None:
    async with opened(database_url) as store:
        first = await given(store, "one")

        assert await take(store, "other") is None
        assert await given(store, "one") == first
        await ensure_valid(store, first)


async def test_an_expired_turn_goes_to_the_next_with_a_higher_fence(database_url: str) -> None:
    async with opened(database_url) as store:
        stale = await given(store, "one", ttl=OVER)
        fresh = await given(store, "other")

        assert fresh.fence > stale.fence
        await ensure_valid(store, fresh)
        with pytest.raises(ClaimLost):
            await ensure_valid(store, stale)


async def test_an_owner_that_let_its_turn_expire_gets_a_new_fence(database_url: str) -> None:
    """Between the two somebody else may have read and written."""
    async with opened(database_url) as store:
        stale = await given(store, "one", ttl=OVER)
        with pytest.raises(ClaimLost):
            await ensure_valid(store, stale)

        fresh = await given(store, "one")

        assert fresh.fence > stale.fence
        with pytest.raises(ClaimLost):
            await ensure_valid(store, stale)


async def test_a_turn_given_back_is_free_at_once_and_only_its_owner_can_give_it(database_url: str) -> None:
    async with opened(database_url) as store:
        first = await given(store, "one")
        with store.writing() as tx:
            tx.lease.give_back(Leadership(name="reader", owner="other", fence=first.fence))
        still_taken = await take(store, "other")

        with store.writing() as tx:
            tx.lease.give_back(first)

        assert still_taken is None
        assert (await given(store, "other")).fence > first.fence


async def test_a_turn_is_taken_by_force_from_a_dead_owner(database_url: str) -> None:
    async with opened(database_url) as store:
        dead = await given(store, "dead")

        forced = await given(store, "new", force=True)

        assert forced.fence > dead.fence
        with pytest.raises(ClaimLost):
            await ensure_valid(store, dead)


async def test_turns_of_different_names_are_independent(database_url: str) -> None:
    async with opened(database_url) as store:
        await given(store, "one")

        with store.writing() as tx:
            other = tx.lease.take("something else", "other", ttl=TTL)

        assert other is not None


async def test_a_stale_turn_takes_the_whole_transaction_back(database_url: str) -> None:
    async with opened(database_url) as store:
        stale = await given(store, "one", ttl=OVER)

        async def read() -> None:
            with store.writing() as tx:
                tx.audit.note("one", "read", "a")
                tx.lease.ensure_valid(stale)

        with pytest.raises(ClaimLost):
            await read()

        with store.reading() as tx:
            assert tx.audit.history("a") == []


async def test_a_shared_server_measures_the_turn_by_its_own_clock(postgres_url: str) -> None:
    clock = Clock()
    async with opened(postgres_url, clock=clock) as store:
        await given(store, "one")
        clock.advance(days=1)

        assert await take(store, "other") is None


async def test_a_leadership_assured_in_a_transaction_is_nobody_elses_until_it_ends(postgres_url: str) -> None:
    """Else a reader that was slow to commit would write over the one who came after it."""
    async with opened(postgres_url) as one, opened(postgres_url) as other:
        leadership = await given(one, "one")

        with one.writing() as tx:
            tx.lease.ensure_valid(leadership)
            with other.engine.connect() as connection:
                row = connection.exec_driver_sql("SELECT 1 FROM lease FOR UPDATE SKIP LOCKED")
                free_meanwhile = row.one_or_none()

        assert free_meanwhile is None
