"""What the console keeps in the store: one key for all, sessions until they end, forms that work once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from stores import Clock, opened

from kuma_sync.core.errors import UsedAlready
from kuma_sync.store.console import SessionRow


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


async def test_a_trial_pass_copies_no_session(tmp_path: Path, sqlite_url: str) -> None:
    async with opened(sqlite_url) as store, opened(f"sqlite:///{tmp_path}/copy.db") as copy:
        await store.write(lambda tx: tx.console.make_key())
        store.copy_to(copy)
        copied = await copy.read(lambda tx: tx.console.key())

    assert copied is None
