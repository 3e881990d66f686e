"""How long a transaction may wait for the database, and how another thread aborts one that waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from kuma_sync.core.errors import StoreUnavailable

TOO_LATE = "the store is out of reach: it did not answer in time"
_connecting = ContextVar["Attempt | None"]("connecting", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreLimits:
    """Every wait for the database, with the program's normal values."""

    lock: timedelta = timedelta(seconds=30)
    """How long we wait for a lock of somebody else (on SQLite: another writer) and for a free connection; also how long
    a transaction of ours may be idle before PostgreSQL ends it. It must be longer than any transaction of ours is idle,
    and shorter than `transaction`, so that the database itself names the reason."""

    transaction: timedelta = timedelta(minutes=4)
    """How long a transaction may take, waiting included: a database that neither answers nor fails counts as away.
    Less than a loop may stand still before `/livez` fails."""

    unreachable: timedelta = timedelta(seconds=10)
    """After this time without a connection, or without an acknowledgement, PostgreSQL counts as out of reach. Whole
    seconds: libpq takes no fractions."""

    asleep: timedelta = timedelta(seconds=5)
    """A connection to PostgreSQL that was unused for so long is tested before its next use, because a firewall may have
    dropped it. The test costs one round trip."""


def takes(driver: Any, *_more: object) -> None:
    """Note the driver's connection that this thread is about to test: an abort must be able to interrupt it."""
    attempt = _connecting.get()
    if attempt is not None:
        attempt.waits_on(driver)


class Attempt:
    """One running transaction that another thread may abort."""

    def __init__(self, interrupt: Callable[[Any], None]) -> None:
        self._interrupt = interrupt
        self._lock = threading.Lock()
        self._driver: Any = None
        self._aborted = False

    def abort(self) -> None:
        """Let its running statement fail, and do not let it commit."""
        with self._lock:
            self._aborted = True
            if self._driver is not None:
                self._interrupt(self._driver)

    def assure_wanted(self) -> None:
        """Raise StoreUnavailable once it was aborted: nobody waits for it any more."""
        if self._aborted:
            raise StoreUnavailable(TOO_LATE)

    def waits_on(self, driver: Any) -> None:
        """Note the connection on which to be interrupted."""
        with self._lock:
            self.assure_wanted()
            self._driver = driver

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """Take a connection while the block runs."""
        token = _connecting.set(self)
        try:
            yield
        finally:
            _connecting.reset(token)
            self._waits_no_more()

    @contextmanager
    def on(self, connection: Connection) -> Iterator[None]:
        """Work on this connection while the block runs."""
        self.waits_on(connection.connection.driver_connection)
        try:
            yield
        finally:
            self._waits_no_more()

    def _waits_no_more(self) -> None:
        with self._lock:  # from here on the pool may lend the connection to somebody else
            self._driver = None
