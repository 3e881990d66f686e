"""Troubles that last: each is told when it begins, when its reason changes, and, with its count, when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from kuma_sync.core.errors import StoreUnavailable

log = structlog.get_logger(__name__)


class Lasting:
    """The trouble that was told last, and how often it was met; none at first."""

    def __init__(self) -> None:
        self._reason = ""
        self._failures = 0

    def begins(self, reason: str) -> bool:
        """Note a failure; tell whether it, or its reason, is news."""
        self._failures += 1
        before, self._reason = self._reason, reason
        return reason != before

    def ends(self) -> int:
        """Note a success; return how many failures came before it."""
        failures, self._failures = self._failures, 0
        self._reason = ""
        return failures


class Spell:
    """The failures of many attempts, some of which may succeed in between: a spell, until all was well for a while.

    Each reason is told once a spell. `monotonic` counts seconds.
    """

    def __init__(
        self, *, quiet: timedelta = timedelta(minutes=1), monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._quiet = quiet.total_seconds()
        self._now = monotonic
        self._told = set[str]()
        self._failures = 0
        self._last = 0.0

    def begins(self, reason: str) -> bool:
        """Note a failure; tell whether its reason is news."""
        self._failures += 1
        self._last = self._now()
        known = reason in self._told
        self._told.add(reason)
        return not known

    def ends(self) -> int:
        """Note a success; where it ends the spell, return how many failures there were."""
        if not self._failures or self._now() - self._last < self._quiet:
            return 0
        failures, self._failures = self._failures, 0
        self._told.clear()
        return failures


class Outage:
    """The store's outage as one part meets it, which `who` names in the log."""

    def __init__(self, **who: str) -> None:
        self._who = who
        self._trouble = Lasting()

    def lasts(self, error: StoreUnavailable) -> None:
        """Note that the store did not answer."""
        reason = str(error)
        if self._trouble.begins(reason):
            log.warning("store_unavailable", **self._who, reason=reason)

    def over(self) -> None:
        """Note that the store answered."""
        if failures := self._trouble.ends():
            log.info("store_recovered", **self._who, failures=failures)
