"""One remote's HTTP client: its connections and deadline, and the translation of every failure.

Must not: retry, or judge a status (callers do, with `refusal`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import lru_cache

import httpx

from kuma_sync import __version__
from kuma_sync.transport.answer import Answer, Outgoing
from kuma_sync.transport.body import ACCEPTED, Body
from kuma_sync.transport.endpoint import Endpoint, make_connections
from kuma_sync.transport.failures import Call, translated
from kuma_sync.transport.stream import Stream, make_answer

LARGEST_ANSWER = 64 * 1024 * 1024
_REDIRECTS = 3

_HEADERS = {"User-Agent": f"kuma-sync/{__version__}", "Accept": "application/json", "Accept-Encoding": ACCEPTED}


class Wire:
    """One remote's HTTP client; `transport` stands in for the real connections."""

    def __init__(
        self, endpoint: Endpoint, *, clock: Callable[[], datetime], transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.endpoint = endpoint
        self._clock = clock
        self._transport = transport or make_connections(endpoint)
        self._slots = asyncio.Semaphore(endpoint.connections)

    @property
    def remote(self) -> str:
        """Return the remote's name, as errors and metrics carry it."""
        return self.endpoint.remote

    async def send(self, request: Outgoing, *, operation: str, changes: bool) -> Answer:
        """Send and return the whole answer, whatever its status; raise RemoteError where none came.

        `changes` marks a write: it follows no redirect, and a failure after sending is ambiguous.
        """
        call = Call(endpoint=self.endpoint, operation=operation, changes=changes)
        async with self._slots:
            with translated(call):
                async with asyncio.timeout(self.endpoint.deadline):
                    response = await self._exchange(request, follow=not changes)
                    try:
                        body = await _whole_body(response, call)
                    finally:
                        await response.aclose()
        return make_answer(response, body, call, self._clock())

    @asynccontextmanager
    async def stream(self, request: Outgoing, *, operation: str) -> AsyncIterator[Stream]:
        """Send a read and hand out its answer piece by piece, whatever its status.

        The deadline counts the time spent waiting for the other side, not what is done with the pieces.
        """
        call = Call(endpoint=self.endpoint, operation=operation, changes=False)
        clock = asyncio.get_running_loop().time
        async with self._slots:
            started = clock()
            with translated(call):
                async with asyncio.timeout(self.endpoint.deadline):
                    response = await self._exchange(request, follow=True)
            try:
                yield Stream(response, call, self._clock(), self.endpoint.deadline - (clock() - started))
            finally:
                with translated(call):
                    await response.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def _exchange(self, request: Outgoing, *, follow: bool) -> httpx.Response:
        address = self.endpoint.url + request.path + (f"?{request.query}" if request.query else "")
        headers = httpx.Headers(_HEADERS)
        headers.update(request.headers)
        sent = httpx.Request(request.method, _parsed(address), headers=headers, content=request.body)
        response = await self._transport.handle_async_request(sent)
        for _ in range(_REDIRECTS if follow and request.method == "GET" else 0):
            target = _same_host_target(sent.url, response)
            if target is None:
                break
            await response.aclose()
            sent = httpx.Request("GET", target, headers=headers)
            response = await self._transport.handle_async_request(sent)
        return response


# Creates all go to one address, and to parse one takes a tenth of all that a request does.
_parsed = lru_cache(maxsize=64)(httpx.URL)


async def _whole_body(response: httpx.Response, call: Call) -> bytes:
    body = bytearray()
    async for piece in Body(response):
        body += piece
        if len(body) > LARGEST_ANSWER:
            raise call.failed(f"answer larger than {LARGEST_ANSWER >> 20} MB")
    return bytes(body)


def _same_host_target(here: httpx.URL, response: httpx.Response) -> httpx.URL | None:
    if not response.has_redirect_location:
        return None
    try:
        target = here.join(response.headers["Location"])
    except httpx.InvalidURL:
        return None
    same = (target.scheme, target.host, target.port) == (here.scheme, here.host, here.port)
    return target if same else None
