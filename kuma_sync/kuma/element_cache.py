"""One element of KUMA's array as raw bytes, and what elements were like when they came last.

Where an element ends depends on nothing but its bytes. So if as many bytes as it had last time have the digest they had
last time, it ends where it ended.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

HEAD = 4096
LARGE = 1024 * 1024
"""Bytes; room for an element beyond it is given back."""

_FIRST_ID = re.compile(
    rb'\{\s*+(?:"(?!id")[^"\\]*+"\s*+:\s*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\w.+-]++)\s*+,\s*+)*+'
    rb'"id"\s*+:\s*+(?:"([^"\\]++)"|(\d++))\s*+[,}]',
    re.S,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One element of the array. `raw` is None where it was larger than allowed: then only `head` was kept.

    `digest` is the SHA-256 of the whole element, also of one that was not kept. `crowded`: it was not too large, but
    holds too many values.
    """

    raw: bytes | None = field(repr=False)
    size: int
    head: bytes = field(repr=False)
    digest: bytes = field(repr=False)
    crowded: bool = False

    def alert_id_hint(self) -> str | None:
        """Return the alert's id without parsing, where only plain values stand before it; None where in doubt."""
        found = _FIRST_ID.match(self.head)
        if found is None:
            return None
        try:
            return (found.group(1) or found.group(2)).decode("utf-8").strip() or None
        except UnicodeDecodeError:
            return None


class Growing:
    """An element on its way: hashed and counted piece by piece, and kept up to the limit.

    The room for what is kept serves one element after the other: memory asked for anew costs more than the copy.
    """

    __slots__ = ("_hash", "_max_size", "_room", "size")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._room = bytearray()
        self._hash = hashlib.sha256()
        self.size = 0

    def keep(self, piece: bytes | memoryview) -> None:
        self._hash.update(piece)
        room = max(self._max_size, HEAD) - self.size
        if room > 0:
            self._room[self.size : self.size + len(piece)] = piece[:room]
        self.size += len(piece)

    def digest(self) -> bytes:
        return self._hash.digest()

    def taken(self) -> Element:
        """Return the element, and be ready for another."""
        with memoryview(self._room) as kept:
            head = bytes(kept[: min(self.size, HEAD)])
            raw = bytes(kept[: self.size]) if self.size <= self._max_size else None
        element = Element(raw=raw, size=self.size, head=head, digest=self._hash.digest())
        self._hash, self.size = hashlib.sha256(), 0
        if len(self._room) > LARGE:
            self._room = bytearray()
        return element


KEY = 64
"""Bytes at the start of an element under which it is remembered: KUMA puts the id there."""
_SMALLEST = 1024
_MOST = 5_000
"""Elements of one generation; there are two, 350 bytes an element."""


class ElementCache:
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
