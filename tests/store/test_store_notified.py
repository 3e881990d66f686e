"""The memory of what was told, on both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from stores import opened

from kuma_sync.core.notices import Event, Notice, Severity, Told
from kuma_sync.store.schema import notified

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def told(target: str, *, over_at: datetime | None = None, times: int = 1) -> Told:
    text = 'Филиал «Север»: "quoted"'
    notice = Notice(event=Event.PAUSED, severity=Severity.CRITICAL, text=text, target=target, since=NOON)
    return Told(notice=notice, over_at=over_at, times=times)


async def test_nothing_was_told_at_first(database_url: str) -> None:
    async with opened(database_url) as store:
        assert await store.read(lambda tx: tx.notified.told()) == {}


async def test_what_was_told_is_remembered_as_it_was(database_url: str) -> None:
    known = {one.notice.key: one for one in (told("irp"), told("north", over_at=NOON + timedelta(hours=1), times=3))}
    async with opened(database_url) as store:
        await store.write(lambda tx: tx.notified.remember({}))
        await store.write(lambda tx: tx.notified.remember(known))

        assert await store.read(lambda tx: tx.notified.told()) == known


async def test_what_is_remembered_takes_the_place_of_what_was(database_url: str) -> None:
    first, second = told("irp"), told("north")
    over = replace(first, over_at=NOON + timedelta(hours=1), times=2)
    async with opened(database_url) as store:
        await store.write(lambda tx: tx.notified.remember({one.notice.key: one for one in (first, second)}))
        await store.write(lambda tx: tx.notified.remember({over.notice.key: over}))

        assert await store.read(lambda tx: tx.notified.told()) == {over.notice.key: over}


async def test_an_event_of_a_newer_version_is_left_alone(database_url: str) -> None:
    newer = {"event": "asleep", "target": "", "severity": "warning", "text": "?", "since": NOON, "times": 1}
    async with opened(database_url) as store:
        await store.write(lambda tx: tx.notified._connection.execute(notified.insert().values(newer)))

        known = await store.write(lambda tx: (tx.notified.remember({}), tx.notified.told())[1])
        rows = await store.read(lambda tx: tx.notified._connection.execute(select(notified.c.event)).scalars().all())

    assert (known, rows) == ({}, ["asleep"])


async def test_ends_that_were_told_long_ago_are_pruned(sqlite_url: str) -> None:
    over, lasts = told("irp", over_at=NOON), told("north")
    async with opened(sqlite_url) as store:
        await store.write(lambda tx: tx.notified.remember({one.notice.key: one for one in (over, lasts)}))
        await store.write(lambda tx: tx.pruning.records(NOON, now=NOON + timedelta(days=8)))

        assert await store.read(lambda tx: tx.notified.told()) == {lasts.notice.key: lasts}
