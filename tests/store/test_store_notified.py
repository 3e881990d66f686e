"""The memory of what was told, on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from stores import opened

from kuma_sync.core.notices import Event, Notice, Severity, Told

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


async def test_the_memory_is_no_lease_that_somebody_has(database_url: str) -> None:
    async with opened(database_url) as store:
        await store.write(lambda tx: tx.notified.remember({told("irp").notice.key: told("irp")}))

        taken = await store.write(lambda tx: tx.lease.take("reader", "one", ttl=timedelta(seconds=60)))

        assert taken is not None
