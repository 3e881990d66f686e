"""Elements that are no alerts and are parked by now, so that none is written or told again at every poll.

Must not: park them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kuma_sync.core.diff import Rejected
from kuma_sync.kuma.client import Element

REMEMBERED = 10_000


def too_large(element: Element) -> Rejected:
    """Return what an element of a listing is that is too large even so: nothing that could be delivered."""
    reason = f"too {'many values' if element.crowded else 'large'} even without events: {element.size} bytes"
    return Rejected(digest=f"sha256:{element.digest.hex()}", reason=reason, raw=element.head)


class KnownRejects:
    """Digests of what was rejected; forgotten when they are too many, which costs a write and a line once more."""

    def __init__(self) -> None:
        self._digests: set[str] = set()

    def fresh(self, rejected: Iterable[Rejected]) -> list[Rejected]:
        """Return those that are not parked yet as far as is known here."""
        return [item for item in rejected if item.digest not in self._digests]

    def note(self, rejected: Sequence[Rejected]) -> None:
        """Remember what is parked by now."""
        if len(self._digests) > REMEMBERED:
            self._digests.clear()
        self._digests |= {item.digest for item in rejected}
