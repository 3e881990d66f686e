"""Alerts of the late listing that are none of ours, by their bytes, so that none is parsed at every poll.

Must not: decide which these are (that is core/unseen).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime


class LeftAlone:
    """Digests of alerts left alone, each with its lastSeen. What the listing no longer shows is forgotten with it.

    They are kept in memory only: another process, or another copy that reads, parses each of them once.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, datetime | None] = {}
        self._shown: set[bytes] = set()

    def among(self, digests: Collection[bytes]) -> dict[bytes, datetime | None]:
        """Return which of these are left alone, with their lastSeen."""
        found = {digest: self._known[digest] for digest in digests if digest in self._known} if self._known else {}
        self._shown |= found.keys()
        return found

    def note(self, digest: bytes, last_seen: datetime | None) -> None:
        """Remember one more."""
        self._known[digest] = last_seen
        self._shown.add(digest)

    def listed(self) -> None:
        """Forget what the listing that has come to its end did not show."""
        if len(self._shown) < len(self._known):
            self._known = {digest: self._known[digest] for digest in self._shown}
        self._shown = set()
