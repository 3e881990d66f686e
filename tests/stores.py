"""Opening stores in tests: real files and real databases, migrated, closed at the end."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection, Engine

from kuma_sync.store import Store, StoreLimits, schema, store_url
from kuma_sync.store.migrate import upgrade
from kuma_sync.store.revisions import migrations_path
from kuma_sync.store.transactions import OnServer


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
        upgrade(store)
        if limits is not None:
            await store.aclose()
            store = Store(store_url(url), clock=clock or (lambda: datetime.now(UTC)), limits=limits)
        yield store
    finally:
        await store.aclose()


@cache
def migrated() -> bytes:
    """Return a SQLite file with the schema and nothing else."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "store.db"
        store = Store(store_url(f"sqlite:///{file}"), clock=lambda: datetime.now(UTC))
        try:
            upgrade(store)
        finally:
            store.close()
        return file.read_bytes()


def engines_of(store: Store) -> list[Engine]:
    """Return every engine that a store's transactions go through."""
    on_loop = store._on_loop
    return [store.engine, *([on_loop.engine.sync_engine] if isinstance(on_loop, OnServer) else [])]


def to_the_first(connection: Connection) -> None:
    """Make the tables as the first version had them."""
    to_revision(connection, "0001")


def to_revision(connection: Connection, revision: str) -> None:
    """Make the tables as they were at a revision of the schema."""
    config = Config()
    config.set_main_option("script_location", str(migrations_path()))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def make_the_first(url: str) -> None:
    """Make a store as the first version left it."""
    store = Store(store_url(url), clock=lambda: datetime.now(UTC))
    try:
        with store.engine.begin() as connection:
            to_the_first(connection)
    finally:
        store.close()


def dump(store: Store) -> str:
    """Return every value of every row, unpacked."""
    told = []
    with store.connected() as connection:
        for table in schema.metadata.sorted_tables:
            for row in connection.execute(table.select()):
                told += [_unpacked(value) for value in row]
    return "\n".join(told)


def _unpacked(value: Any) -> str:
    if not isinstance(value, bytes | memoryview):
        return str(value)
    try:
        return zlib.decompress(bytes(value)).decode()
    except zlib.error:
        return repr(bytes(value))
