"""One remote's HTTP client: its connections, deadline and pace, and the translation of every failure.

Must not: retry, or judge a status (callers do, with `refusal`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import httpx

from kuma_sync.transport.answer import Answer, Outgoing
from kuma_sync.transport.endpoint import Endpoint, make_clients
from kuma_sync.transport.failures import Call, translated
from kuma_sync.transport.stream import Stream, make_answer

LARGEST_ANSWER = 64 * 1024 * 1024
_REDIRECTS = 3

# httpx logs a line with the whole address at every request, httpcore logs headers.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(slots=True)
class _Shard:
    client: httpx.AsyncClient
    busy: int = 0


class Wire:
    """One remote's HTTP client. Its pool is several small httpx clients, the least busy takes the next request."""

    def __init__(
        self, endpoint: Endpoint, *, clock: Callable[[], datetime], transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.endpoint = endpoint
        self._clock = clock
        self._shards = [_Shard(client) for client in make_clients(endpoint, transport)]
        self._slots = asyncio.Semaphore(endpoint.connections)
        self._next_start = 0.0

    @property
    def remote(self) -> str:
        """Return the remote's name, as errors and metrics carry it."""
        return self.endpoint.remote

    async def send(self, request: Outgoing, *, operation: str, changes: bool) -> Answer:
        """Send and return the whole answer, whatever its status; raise RemoteError where none came.

        `changes` marks a write: it follows no redirect, and a failure after sending is ambiguous.
        """
        call = Call(endpoint=self.endpoint, operation=operation, changes=changes)
        async with self._slot() as client:
            with translated(call):
                async with asyncio.timeout(self.endpoint.deadline):
                    response = await self._exchange(client, request, follow=not changes)
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
        async with self._slot() as client:
            started = clock()
            with translated(call):
                async with asyncio.timeout(self.endpoint.deadline):
                    response = await self._exchange(client, request, follow=True)
            try:
                yield Stream(response, call, self._clock(), self.endpoint.deadline - (clock() - started))
            finally:
                with translated(call):
                    await response.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        for shard in self._shards:
            await shard.client.aclose()

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[httpx.AsyncClient]:
        async with self._slots:
            await self._pace()
            shard = min(self._shards, key=lambda shard: shard.busy)
            shard.busy += 1
            try:
                yield shard.client
            finally:
                shard.busy -= 1

    async def _pace(self) -> None:
        if not self.endpoint.rate_limit:
            return
        now = asyncio.get_running_loop().time()
        start = max(now, self._next_start)
        self._next_start = start + 1 / self.endpoint.rate_limit
        await asyncio.sleep(start - now)

    async def _exchange(self, client: httpx.AsyncClient, request: Outgoing, *, follow: bool) -> httpx.Response:
        address = self.endpoint.url + request.path + (f"?{request.query}" if request.query else "")
        sent = client.build_request(request.method, address, headers=dict(request.headers), content=request.body)
        response = await client.send(sent, stream=True)
        for _ in range(_REDIRECTS if follow and request.method == "GET" else 0):
            target = _same_host_target(response)
            if target is None:
                break
            await response.aclose()
            sent = client.build_request("GET", target, headers=dict(request.headers))
            response = await client.send(sent, stream=True)
        return response


async def _whole_body(response: httpx.Response, call: Call) -> bytes:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > LARGEST_ANSWER:
            raise call.failed(f"answer larger than {LARGEST_ANSWER >> 20} MB")
    return bytes(body)


def _same_host_target(response: httpx.Response) -> httpx.URL | None:
    if not response.has_redirect_location:
        return None
    here, target = response.url, response.url.join(response.headers["Location"])
    same = (target.scheme, target.host, target.port) == (here.scheme, here.host, here.port)
    return target if same else None
