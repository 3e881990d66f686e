"""A transaction that waits where it runs, and that another thread may abort."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sqlalchemy import Connection

from kuma_sync.core.errors import StoreUnavailable

TOO_LATE = "the store is out of reach: it did not answer in time"


_connecting = ContextVar["Attempt | None"]("connecting", default=None)


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
