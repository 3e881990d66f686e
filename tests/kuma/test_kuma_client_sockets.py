"""Damage that HTTP does not notice, on real sockets: only the closing bracket proves a page whole."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime

import pytest
import stamina

from kuma_sync.core.errors import Transient
from kuma_sync.core.window import Query, ReadKind
from kuma_sync.kuma.client import KumaClient
from kuma_sync.kuma.element_cache import Element
from kuma_sync.settings import Secret
from kuma_sync.transport import Endpoint, RemoteClient

ALERTS = [{"id": f"alert-{n}", "name": '"}],[{"\\ ' * 50, "events": [{"ID": str(n)}]} for n in range(200)]
BODY = json.dumps(ALERTS).encode()
PACKED = gzip.compress(BODY)
GZIP = b"Content-Encoding: gzip\r\n"


@pytest.fixture(autouse=True)
def _no_retries():
    stamina.set_testing(True, attempts=1)
    yield
    stamina.set_testing(False)


@asynccontextmanager
async def a_client(
    headers: bytes, body: bytes, *, piece: int = 1 << 20, limit: int = 1 << 20
) -> AsyncIterator[KumaClient]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        more, page = (headers, body) if b"page=1 " in request else (b"", b"[]")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n" + more + b"\r\n")
        for at in range(0, len(page), piece):
            writer.write(page[at : at + piece])
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    endpoint = Endpoint(remote="kuma", url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    remote = RemoteClient(endpoint, clock=lambda: datetime.now(UTC))
    async with server:
        yield KumaClient(
            client=remote,
            token=Secret("t0ken"),
            api_version="v1",
            statuses=["new"],
            tenants=[],
            with_affected=True,
            max_alert_size=limit,
            page_cap=9,
        )
        await remote.aclose()


async def received(client: KumaClient) -> list[object]:
    found = []
    async with aclosing(client.read(Query(kind=ReadKind.FULL))) as items:
        async for item in items:
            if not isinstance(item, Element):
                break  # the server has one page, and shows it again and again
            found.append(json.loads(item.raw or b""))
    return found


@pytest.mark.parametrize(
    ("headers", "body", "piece"),
    [
        (b"", BODY, 1000),
        (b"Content-Length: %d\r\n" % len(BODY), BODY, 1 << 20),
        (GZIP, PACKED, 100),
        (GZIP, gzip.compress(BODY[:9000]) + gzip.compress(BODY[9000:]), 100),
        (GZIP + b"Content-Length: %d\r\n" % len(PACKED), PACKED, 1 << 20),
    ],
)
async def test_a_whole_page_arrives_whole_plain_or_compressed(headers, body, piece):
    async with a_client(headers, body, piece=piece) as client:
        assert await received(client) == ALERTS


@pytest.mark.parametrize(
    ("headers", "body", "words"),
    [
        (b"", BODY[:-1], "answer ended early"),
        (b"", BODY[: len(BODY) // 2], "answer ended early"),
        (GZIP, PACKED[: len(PACKED) // 2], "compression is broken"),
        (b"Content-Length: %d\r\n" % len(BODY), BODY[:-9], "connection ended before the answer did"),
        (b"Transfer-Encoding: chunked\r\n", b"5\r\n[1,2,\r\n", "connection ended before the answer did"),
        (GZIP, b"no gzip at all", "compression is broken"),
    ],
)
async def test_a_damaged_page_never_passes_for_a_whole_one(headers, body, words):
    async with a_client(headers, body) as client:
        with pytest.raises(Transient, match=words):
            await received(client)
