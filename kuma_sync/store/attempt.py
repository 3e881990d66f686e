"""A transaction that waits where it runs, and that another thread may abort."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from kuma_sync.core.errors import StoreUnavailable

TOO_LATE = "the store is out of reach: it did not answer in time"


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

    @contextmanager
    def on(self, connection: Connection) -> Iterator[None]:
        """Work on this connection while the block runs."""
        with self._lock:
            self.assure_wanted()
            self._driver = connection.connection.driver_connection
        try:
            yield
        finally:
            with self._lock:  # from here on the connection may be lent to somebody else
                self._driver = None
