"""What elements were like when they came last, so that one that comes again needs no look inside.

Where an element ends depends on nothing but its bytes. So if as many bytes as it had last time have the digest they
had last time, it ends where it ended. Must not: prove anything; that is the digest's part, in stream.
"""

from __future__ import annotations

from kuma_sync.kuma.element import Element

KEY = 64
"""Bytes at the start of an element under which it is remembered: KUMA puts the id there."""
_SMALLEST = 1024
_MOST = 5_000
"""Elements of one generation; there are two, 350 bytes an element."""


class Known:
    """Size and digest of the elements that came lately, by how they begin."""

    def __init__(self, *, most: int = _MOST, smallest: int = _SMALLEST) -> None:
        self._most = most
        self._smallest = smallest
        self._new: dict[bytes, tuple[int, bytes]] = {}
        self._old: dict[bytes, tuple[int, bytes]] = {}

    def recall(self, start: bytes) -> tuple[int, bytes] | None:
        """Return size and digest of the last element that began with these `KEY` bytes."""
        return self._new.get(start) or self._old.get(start)

    def note(self, element: Element) -> None:
        """Remember an element that is worth it: one that was kept, and is not so small that a look inside is quick."""
        if element.raw is None or element.size < max(self._smallest, KEY):
            return
        if len(self._new) >= self._most:
            self._old, self._new = self._new, {}
        self._new[element.raw[:KEY]] = (element.size, element.digest)
