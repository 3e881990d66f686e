"""One element of KUMA's array as raw bytes, and how it grows piece by piece without growing too large.

Must not: know where an element ends (that is stream).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

HEAD = 4096

_FIRST_ID = re.compile(
    rb'\{\s*+(?:"(?!id")[^"\\]*+"\s*+:\s*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\w.+-]++)\s*+,\s*+)*+'
    rb'"id"\s*+:\s*+(?:"([^"\\]++)"|(\d++))\s*+[,}]',
    re.S,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """One element of the array. `raw` is None where it was larger than allowed: then only `head` was kept."""

    raw: bytes | None = field(repr=False)
    size: int
    head: bytes = field(repr=False)
    streamed_digest: bytes = field(default=b"", repr=False)

    @property
    def digest(self) -> bytes:
        """Return the SHA-256 of the whole element, also of one that was not kept."""
        return hashlib.sha256(self.raw).digest() if self.raw is not None else self.streamed_digest

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
    """An element on its way: kept up to the limit, only hashed and counted beyond it."""

    __slots__ = ("_head", "_kept", "_max_size", "_over", "_size")

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._size = 0
        self._kept = bytearray()
        self._over: hashlib._Hash | None = None
        self._head = b""

    def keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._over is not None:
            self._over.update(piece)
        elif self._size > self._max_size:
            self._over = hashlib.sha256(self._kept)
            self._over.update(piece)
            self._head = bytes(self._kept[:HEAD] + piece[:HEAD])[:HEAD]
            self._kept = bytearray()
        else:
            self._kept += piece

    def taken(self) -> Element:
        if self._over is not None:
            return Element(raw=None, size=self._size, head=self._head, streamed_digest=self._over.digest())
        raw = bytes(self._kept)
        return Element(raw=raw, size=self._size, head=raw[:HEAD])
