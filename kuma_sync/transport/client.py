"""One remote, asked over HTTP: whole answers, and answers read as a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from functools import lru_cache

import httpx

from kuma_sync import __version__
from kuma_sync.transport.carrier import Connections, Unsendable
from kuma_sync.transport.endpoint import Endpoint
from kuma_sync.transport.errors import Call, translated
from kuma_sync.transport.login import DEADLINE
from kuma_sync.transport.response import ACCEPTED, Answer, Body, Outgoing, parse_date, parse_retry_after

LARGEST_REFUSAL = 64 * 1024


class Stream:
    """An answer whose body is taken piece by piece.

    `date` is the server's own clock, if it told, `skew` that clock less ours as the answer began.
    """

    def __init__(self, response: httpx.Response, call: Call, now: datetime, seconds_left: float) -> None:
        self._response = response
        self._call = call
        self._now = now
        self._left = seconds_left
        self._body = Body(response)
        self.chunks: AsyncIterator[bytes] = self._chunks()
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.date = parse_date(response.headers.get("Date"))
        self.skew = self.date - now if self.date is not None else None

    @property
    def bytes_received(self) -> int:
        """Return how many bytes of the body came over the network so far (compressed, if it is)."""
        return self._body.received

    def raw(self, names: Collection[str]) -> list[tuple[bytes, bytes]]:
        """Return these headers, named in small letters, as they came: no encoding is agreed on for their bytes."""
        raw = [(name.lower(), value) for name, value in self._response.headers.raw]
        return [(name, value) for name, value in raw if name.decode("latin-1") in names]

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


_REDIRECTS = 3

_HEADERS = {"User-Agent": f"kuma-sync/{__version__}", "Accept": "application/json", "Accept-Encoding": ACCEPTED}


class _NoCookies(httpx.Cookies):
    """A cookie jar that stores nothing. httpx's own takes a sixth of a request's time to find that there are none."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Ignore the cookies."""


class _Client(httpx.AsyncClient):
    cookies = _NoCookies()  # type: ignore[override]  # nobody sets them

    def _build_redirect_request(self, request: httpx.Request, response: httpx.Response) -> httpx.Request:  # noqa: ARG002
        # RemoteClient follows redirects. httpx would make the next request all the same, and raise where the address
        # is odd: an answer to a write would look as if it had never been sent.
        return request


class RemoteClient:
    """One remote's HTTP client; `transport` stands in for the real connections."""

    def __init__(
        self, endpoint: Endpoint, *, clock: Callable[[], datetime], transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.endpoint = endpoint
        self._clock = clock
        connections = transport or Connections(endpoint)
        self._http = _Client(transport=connections, headers=_HEADERS, timeout=None, trust_env=False)
        del self._http.headers["Connection"]  # kept alive is what HTTP/1.1 does unasked
        self._slots = asyncio.Semaphore(endpoint.connections)

    @property
    def remote(self) -> str:
        """Return the remote's name, as errors and metrics carry it."""
        return self.endpoint.remote

    async def send(self, request: Outgoing, *, operation: str, changes: bool, auth: httpx.Auth | None = None) -> Answer:
        """Send and return the whole answer, whatever its status; raise RemoteError where none came.

        `changes` marks a write: it follows no redirect, and a failure after sending is ambiguous.
        """
        call = Call(endpoint=self.endpoint, operation=operation, changes=changes)
        async with self._slots:
            return await self._whole(request, call, auth, follow=not changes)

    async def aside(self, request: Outgoing, *, operation: str) -> Answer:
        """Send what another request waits for, which has its place already: a login. It follows no redirect.

        As `send` returns and raises; nothing is ambiguous, for it changes nothing.
        """
        call = Call(endpoint=self.endpoint, operation=operation, changes=False)
        return await self._whole(request, call, None, follow=False)

    async def _whole(self, request: Outgoing, call: Call, auth: httpx.Auth | None, *, follow: bool) -> Answer:
        with translated(call):
            async with asyncio.timeout(self.endpoint.deadline) as limit:
                response = await self._exchange(request, auth, follow=follow, limit=limit)
                try:
                    body = await _whole_body(response, call)
                finally:
                    await response.aclose()
        return make_answer(response, body, call, self._clock())

    @asynccontextmanager
    async def stream(
        self, request: Outgoing, *, operation: str, auth: httpx.Auth | None = None, follow: bool = True
    ) -> AsyncIterator[Stream]:
        """Send a read and hand out its answer piece by piece, whatever its status.

        The deadline counts the time spent waiting for the other side, not what is done with the pieces. Without
        `follow` a redirect is an answer as others are.
        """
        call = Call(endpoint=self.endpoint, operation=operation, changes=False)
        clock = asyncio.get_running_loop().time
        async with self._slots:
            started = clock()
            with translated(call):
                async with asyncio.timeout(self.endpoint.deadline):
                    response = await self._exchange(request, auth, follow=follow)
            try:
                yield Stream(response, call, self._clock(), self.endpoint.deadline - (clock() - started))
            finally:
                with translated(call):
                    await response.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def _exchange(
        self, request: Outgoing, auth: httpx.Auth | None, *, follow: bool, limit: asyncio.Timeout | None = None
    ) -> httpx.Response:
        extensions = {DEADLINE: limit}
        address = self.endpoint.url + request.path + (f"?{request.query}" if request.query else "")
        if self._http.is_closed:
            raise httpx.ConnectError("closed")
        try:
            sent = self._http.build_request(
                request.method,
                _parsed(address),
                headers=request.headers,
                content=request.body,
                extensions=extensions,
            )
        except (httpx.InvalidURL, ValueError):
            raise Unsendable from None
        response = await self._http.send(sent, auth=auth, stream=True)
        for _ in range(_REDIRECTS if follow and request.method == "GET" else 0):
            target = _same_host_target(sent.url, response)
            if target is None:
                break
            await response.aclose()
            sent = self._http.build_request("GET", target, headers=request.headers, extensions=extensions)
            response = await self._http.send(sent, auth=auth, stream=True)
        return response


# Creates all go to one address, and to parse one takes a tenth of all that a request does.
_parsed = lru_cache(maxsize=64)(httpx.URL)


async def _whole_body(response: httpx.Response, call: Call) -> bytes:
    body = bytearray()
    async for piece in Body(response):
        body += piece
        if len(body) > call.endpoint.largest:
            raise call.failed(f"answer larger than {call.endpoint.largest >> 20} MB")
    return bytes(body)


def _same_host_target(here: httpx.URL, response: httpx.Response) -> httpx.URL | None:
    if not response.has_redirect_location:
        return None
    try:
        target = here.join(response.headers["Location"])
    except (httpx.InvalidURL, ValueError):
        return None
    same = (target.scheme, target.host, target.port) == (here.scheme, here.host, here.port)
    return target if same else None
