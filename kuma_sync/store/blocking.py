"""Transactions that block the calling thread: for commands, and for the thread that does long work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from sqlalchemy import Connection, Engine, QueuePool, RootTransaction, exc

from kuma_sync.store import postgres, sqlite
from kuma_sync.store.attempt import Attempt
from kuma_sync.store.file import StoreFile

LOOK_AGAIN = 0.02
"""Seconds between looks for another writer's end, and for a connection of ours that is free."""


@contextmanager
def transaction(
    engine: Engine, attempt: Attempt, *, writes: bool, patience: timedelta, file: StoreFile | None
) -> Iterator[Connection]:
    """Open a transaction and wait here for what it needs; another thread may abort the `attempt`.

    After a commit it is checked that the `file` (None on a server) is still the one at its path.
    """
    with connected(engine, attempt, patience=patience) as connection:
        connection.execution_options(**{sqlite.WRITES: writes, sqlite.AT_ONCE: True})
        deadline = time.monotonic() + patience.total_seconds()
        while (begun := begun_at_once(connection, deadline)) is None:
            time.sleep(LOOK_AGAIN)
            attempt.assure_wanted()
        with begun:
            attempt.assure_wanted()
            yield connection
            attempt.assure_wanted()
    if writes and file is not None:
        file.assure_in_place()


@contextmanager
def connected(engine: Engine, attempt: Attempt, *, patience: timedelta) -> Iterator[Connection]:
    """Take a connection. When the server gives us no more, wait until one of ours becomes free."""
    deadline = time.monotonic() + patience.total_seconds()
    while True:
        try:
            with attempt.connecting():
                attempt.assure_wanted()
                connection = engine.connect()
            break
        except exc.OperationalError as error:
            if time.monotonic() > deadline or not may_come_free(error, engine):
                raise
        time.sleep(LOOK_AGAIN)
    with connection, attempt.on(connection):
        yield connection


def begun_at_once(connection: Connection, deadline: float) -> RootTransaction | None:
    """Begin; return None while another process writes, and raise that error after the deadline.

    The caller asks again after a pause: SQLite's own wait can be neither aborted nor interrupted by Ctrl-C.
    """
    try:
        return connection.begin()
    except exc.OperationalError as error:
        if not sqlite.is_locked(error) or time.monotonic() > deadline:
            raise
        return None


def may_come_free(error: exc.OperationalError, engine: Engine) -> bool:
    """Tell whether the server has no more connections for us, but one of ours may become free."""
    pool = engine.pool
    ours = pool.checkedout() + pool.checkedin() if isinstance(pool, QueuePool) else 0
    return bool(ours) and postgres.is_full(error)
