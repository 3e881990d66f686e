"""An answer's body, piece by piece, unpacked where it is gzip.

httpx's own decoder takes a body that breaks off, or goes on in a second gzip member, for a whole one, and unpacks a
piece at once, however large it becomes. Must not: know what the body means.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterator

import httpx

LARGEST_PIECE = 256 * 1024
"""Bytes that are unpacked at once: what 256 KB hold may be a quarter of a gigabyte."""

ACCEPTED = "gzip"
"""What we say we understand."""

_GZIP = 16 + zlib.MAX_WBITS


class Body:
    """The bytes of one answer; raises httpx.DecodingError where they are not what the header says."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.received = 0
        """Bytes that came over the network so far (compressed, if they are)."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        encoding = self._response.headers.get("Content-Encoding", "").strip().lower()
        unpacked = _Gunzip() if encoding.endswith("gzip") else None
        async for piece in self._response.stream:  # type: ignore[union-attr]  # every stream of ours, and of a mock
            self.received += len(piece)
            if encoding not in ("", "identity", "gzip", "x-gzip"):
                raise httpx.DecodingError("an encoding that was not asked for")
            if unpacked is None:
                yield piece
                continue
            for some in unpacked.pieces(piece):
                yield some
                # A few bytes may hold a great many: others have things to do in between.
                await asyncio.sleep(0)
        if unpacked is not None:
            unpacked.end()


class _Gunzip:
    """Undoes gzip: any number of members, each whole."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._begun = False

    def pieces(self, packed: bytes) -> Iterator[bytes]:
        full = False
        while packed or full:
            if not self._begun:
                # Zeros may follow a member, to fill a block.
                packed = packed.lstrip(b"\0")
                if not packed:
                    return
            self._begun = True
            piece = self._unpacked(packed)
            full = len(piece) == LARGEST_PIECE
            if piece:
                yield piece
            if self._member.eof:
                packed, full = self._member.unused_data, False
                self._member, self._begun = zlib.decompressobj(_GZIP), False
            else:
                packed = self._member.unconsumed_tail

    def _unpacked(self, packed: bytes) -> bytes:
        try:
            return self._member.decompress(packed, LARGEST_PIECE)
        except zlib.error as error:
            raise httpx.DecodingError("no gzip") from error

    def end(self) -> None:
        """Raise unless the last member was whole."""
        if self._begun:
            raise httpx.DecodingError("gzip broke off")
