"""Troubles that last: each is told when it begins, when its reason changes, and when it is over."""

from __future__ import annotations

import structlog

from kuma_sync.core.errors import StoreUnavailable

log = structlog.get_logger(__name__)


class Lasting:
    """The trouble that was told last; none at first."""

    def __init__(self) -> None:
        self._reason = ""

    def begins(self, reason: str) -> bool:
        """Note a trouble; tell whether it is news."""
        before, self._reason = self._reason, reason
        return reason != before

    def ends(self) -> bool:
        """Note that there is none; tell whether there was one."""
        before, self._reason = self._reason, ""
        return bool(before)


class Counted:
    """A trouble of something that is tried over and over: told when it begins, and with its count when it is over."""

    def __init__(self) -> None:
        self._failures = 0
        self._trouble = Lasting()

    def begins(self, reason: str) -> bool:
        """Note a failure; tell whether it is news."""
        self._failures += 1
        return self._trouble.begins(reason)

    def ends(self) -> int:
        """Note a success; return how many failures there were before it."""
        self._trouble.ends()
        count, self._failures = self._failures, 0
        return count


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
        if self._trouble.ends():
            log.info("store_recovered", **self._who)
