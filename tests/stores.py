"""Opening stores in tests: real files and real databases, migrated, closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection

from kuma_sync.store import Store, StoreLimits, store_url
from kuma_sync.store.migrate import migrations_path, upgrade


class Clock:
    """A clock that stands still until it is moved. It begins in the present: what is beside it goes by the real one."""

    def __init__(self, now: datetime | None = None) -> None:
        self.now = now or datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> datetime:
        self.now += timedelta(**by)
        return self.now


@asynccontextmanager
async def opened(
    url: str, *, clock: Callable[[], datetime] | None = None, limits: StoreLimits | None = None
) -> AsyncIterator[Store]:
    """Open a store at the newest schema. With `limits` of its own, for its migrations may take longer than those."""
    store = Store(store_url(url), clock=clock or (lambda: datetime.now(UTC)))
    try:
        await upgrade(store)
        if limits is not None:
            await store.close()
            store = Store(store_url(url), clock=clock or (lambda: datetime.now(UTC)), limits=limits)
        yield store
    finally:
        await store.close()


def to_the_first(connection: Connection) -> None:
    """Make the tables as the first version had them."""
    config = Config()
    config.set_main_option("script_location", str(migrations_path()))
    config.attributes["connection"] = connection
    command.upgrade(config, "0001")


async def make_the_first(url: str) -> None:
    """Make a store as the first version left it."""
    store = Store(store_url(url), clock=lambda: datetime.now(UTC))
    try:
        async with store.engine.begin() as connection:
            await connection.run_sync(to_the_first)
    finally:
        await store.close()
