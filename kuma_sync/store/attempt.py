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
    """Every wait for the database. The standard values are those of the program as it is delivered."""

    lock: timedelta = timedelta(seconds=30)
    """How long another's lock is waited for (on SQLite another writer), a free connection too, and how long a
    transaction of ours on PostgreSQL may stand still before the server ends it. Longer than any of ours stands
    still; shorter than `transaction`, so that the database itself says what it waits for."""

    transaction: timedelta = timedelta(minutes=4)
    """How long a transaction may take, with all it waits for: a database that neither answers nor fails is away, too.
    Less than a loop may stand still before `/livez` fails."""

    unreachable: timedelta = timedelta(seconds=10)
    """After how long a PostgreSQL that neither connects nor acknowledges what was sent is out of reach. Whole seconds:
    libpq takes no parts of them."""

    asleep: timedelta = timedelta(seconds=5)
    """After how long an unused connection to PostgreSQL is asked whether it still answers, before it is used again: a
    firewall may have forgotten it. To ask costs one round trip."""


def takes(driver: Any, *_more: object) -> None:
    """Note the driver's connection that this thread's attempt is about to take: it may have to wait for an answer."""
    attempt = _connecting.get()
    if attempt is not None:
        attempt.waits_on(driver)


class Attempt:
    """One transaction under way in some thread, which another thread may abort."""

    def __init__(self, interrupt: Callable[[Any], None]) -> None:
        self._interrupt = interrupt
        self._lock = threading.Lock()
        self._driver: Any = None
        self._aborted = False

    def abort(self) -> None:
        """Let it commit no more, and have a statement that runs fail."""
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
        with self._lock:  # from here on the connection may be lent to somebody else
            self._driver = None
