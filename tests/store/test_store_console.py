"""What the console keeps in the store: one key for all, sessions until they end, forms that work once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from stores import Clock, opened

from kuma_sync.core.errors import UsedAlready
from kuma_sync.store import Tx
from kuma_sync.store.console import SessionRow
from kuma_sync.store.schema import console_tries

MINUTE = timedelta(minutes=1)


async def test_all_copies_get_the_same_key(database_url: str) -> None:
    async with opened(database_url) as one, opened(database_url) as other:
        none = await one.read(lambda tx: tx.console.key())
        made = await asyncio.gather(*(store.write(lambda tx: tx.console.make_key()) for store in (one, other) * 3))
        known = await other.read(lambda tx: tx.console.key())

    assert none is None
    assert set(made) == {known}
    assert len(made[0]) == 32


async def test_a_session_is_there_until_it_ends(database_url: str) -> None:
    clock = Clock()
    row = SessionRow(
        digest=b"\x00\xff" * 16,
        name="Анна",
        source="local",
        role="",
        proof="abc",
        begun_at=clock(),
        expires_at=clock() + timedelta(hours=8),
    )
    async with opened(database_url, clock=clock) as store:
        await store.write(lambda tx: tx.console.begin(row))
        found = await store.read(lambda tx: tx.console.session(row.digest))
        other = await store.read(lambda tx: tx.console.session(b"other"))
        clock.advance(hours=8)
        late = await store.read(lambda tx: tx.console.session(row.digest))
        clock.advance(hours=-8)
        await store.write(lambda tx: tx.console.end(row.digest))
        ended = await store.read(lambda tx: tx.console.session(row.digest))

    assert found == row
    assert (other, late, ended) == (None, None, None)


async def test_a_form_is_spent_once_however_many_try_at_once(database_url: str) -> None:
    clock = Clock()
    until = clock() + timedelta(hours=1)
    async with opened(database_url, clock=clock) as one, opened(database_url, clock=clock) as other:
        spending = (store.write(lambda tx: tx.console.spend(b"form", until=until)) for store in (one, other) * 4)
        results = await asyncio.gather(*spending, return_exceptions=True)
        await one.write(lambda tx: tx.console.spend(b"another", until=until))

    assert results.count(None) == 1
    assert [type(result) for result in results if result is not None] == [UsedAlready] * 7


async def test_an_order_that_fails_does_not_spend_its_form(database_url: str) -> None:
    clock = Clock()
    until = clock() + timedelta(hours=1)

    async with opened(database_url, clock=clock) as store:
        with pytest.raises(LookupError):
            await store.write(lambda tx: (tx.console.spend(b"form", until=until), {}["nothing"]))
        await store.write(lambda tx: tx.console.spend(b"form", until=until))


async def test_a_try_counts_for_a_minute_and_beyond_five_comes_a_wait(sqlite_url: str) -> None:
    clock = Clock()

    def tried(tx: Tx) -> timedelta | None:
        return tx.console.tried(b"anna", most=5, within=MINUTE)

    async with opened(sqlite_url, clock=clock) as store:
        first = await store.write(tried)
        clock.advance(seconds=20)
        others = [await store.write(tried) for _ in range(4)]
        sixth = await store.write(tried)
        another = await store.write(lambda tx: tx.console.tried(b"victor", most=5, within=MINUTE))
        clock.advance(seconds=40)
        late = [await store.write(tried) for _ in range(2)]
        clock.advance(hours=-1)
        set_back = await store.write(tried)
        await store.write(lambda tx: tx.console.forget_tries(b"anna"))
        forgotten = [await store.write(tried) for _ in range(6)]

    assert [first, *others, another] == [None] * 6
    assert sixth == timedelta(seconds=40)
    assert late == [None, timedelta(seconds=20)], "one counts no more, the others do"
    assert set_back is None, "what is from the future counts for nothing"
    assert forgotten == [None] * 5 + [MINUTE]


async def test_tries_at_once_from_several_copies_are_counted_once_each(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as one, opened(database_url, clock=clock) as other:
        tries = (store.write(lambda tx: tx.console.tried(b"anna", most=5, within=MINUTE)) for store in (one, other) * 6)
        waits = await asyncio.gather(*tries)

    assert waits.count(None) == 5


async def test_no_more_tries_are_kept_than_count(sqlite_url: str) -> None:
    clock = Clock()

    async with opened(sqlite_url, clock=clock) as store:
        for number in range(50):
            clock.advance(seconds=10)
            await store.write(lambda tx, key=b"%d" % number: tx.console.tried(key, most=5, within=MINUTE))
        kept = await store.read(lambda tx: tx.console._connection.execute(select(console_tries)).all())

    assert len(kept) == 6


async def test_a_trial_pass_copies_no_session(tmp_path: Path, sqlite_url: str) -> None:
    async with opened(sqlite_url) as store, opened(f"sqlite:///{tmp_path}/copy.db") as copy:
        await store.write(lambda tx: tx.console.make_key())
        store.copy_to(copy)
        copied = await copy.read(lambda tx: tx.console.key())

    assert copied is None
