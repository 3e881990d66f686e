"""The store's outage as one part meets it: said when it begins, when its reason changes, and when it is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from kuma_sync.core.errors import StoreUnavailable

log = structlog.get_logger(__name__)


class Outage:
    """Whether the store is away, as far as the part knows that `who` names in the log."""

    def __init__(self, **who: str) -> None:
        self._who = who
        self._reason: str | None = None

    def lasts(self, error: StoreUnavailable) -> None:
        """Note that the store did not answer."""
        reason = str(error)
        if reason != self._reason:
            log.warning("store_unavailable", **self._who, reason=reason)
        self._reason = reason

    def over(self) -> None:
        """Note that the store answered."""
        if self._reason is not None:
            log.info("store_recovered", **self._who)
        self._reason = None


def outlasting(loop: str, act: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """Return what a loop does, such that a store that is away is told of and left for the next time."""
    outage = Outage(loop=loop)

    async def acted() -> None:
        try:
            await act()
        except StoreUnavailable as error:
            outage.lasts(error)
        else:
            outage.over()

    return acted
