"""An answer taken piece by piece, and a whole one made of httpx's response.

Must not: send, or hold more than one piece of a streamed body.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta

import httpx

from kuma_sync.transport.answer import Answer, parse_date, parse_retry_after
from kuma_sync.transport.body import Body
from kuma_sync.transport.failures import Call, translated

LARGEST_REFUSAL = 64 * 1024


class Stream:
    """An answer whose body is taken piece by piece; `date` is the server's own clock."""

    def __init__(self, response: httpx.Response, call: Call, now: datetime, seconds_left: float) -> None:
        self._response = response
        self._call = call
        self._now = now
        self._left = seconds_left
        self._body = Body(response)
        self.chunks: AsyncIterator[bytes] = self._chunks()

    @property
    def status(self) -> int:
        """Return the HTTP status."""
        return self._response.status_code

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers; names compare without case."""
        return self._response.headers

    @property
    def date(self) -> datetime | None:
        """Return the server's own clock, if it told."""
        return parse_date(self._response.headers.get("Date"))

    @property
    def skew(self) -> timedelta | None:
        """Return the server's clock less ours as the answer began, if it told."""
        date = self.date
        return date - self._now if date is not None else None

    @property
    def bytes_received(self) -> int:
        """Return how many bytes of the body came over the network so far (compressed, if it is)."""
        return self._body.received

    async def answer(self, limit: int = LARGEST_REFUSAL) -> Answer:
        """Read the rest and return it as a whole answer; what goes beyond `limit` bytes is not read."""
        body = bytearray()
        async for chunk in self.chunks:
            body += chunk
            if len(body) > limit:
                break
        return make_answer(self._response, bytes(body[:limit]), self._call, self._now)

    async def _chunks(self) -> AsyncIterator[bytes]:
        # Only time spent on the other side counts. A time-out held open across a yield would also strike while the
        # reader is busy elsewhere, and look like a cancellation there.
        clock = asyncio.get_running_loop().time
        pieces = aiter(self._body)
        while True:
            started = clock()
            with translated(self._call):
                async with asyncio.timeout(self._left):
                    piece = await anext(pieces, None)
            self._left -= clock() - started
            if piece is None:
                return
            yield piece


def make_answer(response: httpx.Response, body: bytes, call: Call, now: datetime) -> Answer:
    """Make the whole answer; a Retry-After date is seen from the server's own clock, `now` where it told none."""
    date = parse_date(response.headers.get("Date"))
    return Answer(
        status=response.status_code,
        headers=response.headers,
        body=body,
        date=date,
        retry_after=parse_retry_after(response.headers.get("Retry-After"), date or now),
        remote=call.endpoint.remote,
        operation=call.operation,
        changes=call.changes,
    )
