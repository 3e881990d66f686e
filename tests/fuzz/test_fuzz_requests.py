"""The daemon's doors given bytes that are hardly HTTP, or HTTP that nobody would send; by chance, with a seed.

FUZZ_CALLS is their number, FUZZ_SEED what they are made from.
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from random import Random

import pytest
from test_fuzz_doors import assert_it_flows, daemon, faults

CALLS = int(os.environ.get("FUZZ_CALLS", "250"))
SEED = os.environ.get("FUZZ_SEED", "20261129")
AT_ONCE = 8

TOKENS = (b"door-token", b"pull-token", b"door-token", b"pull-token", b"wrong", b"", "токен".encode(), b"\xff")
PATHS = (b"/livez", b"/readyz", b"/metrics", b"/", b"/api/v1/alerts", b"/api/v3/alerts/", b"/api/v1/alerts/close")
PATHS += (
    b"/api/v2/users/whoami",
    b"/api/v1/assets/a",
    b"/api/v1/assets/%2e%2e/close",
    b"/api/v1/assets//",
    b"/api/v9/x",
)
PATHS += (b"*", b"http://elsewhere/livez", b"//livez", b"/login", b"/alerts/%00", b"/static/../../etc/passwd", b"/\xff")
METHODS = (
    b"GET",
    b"GET",
    b"GET",
    b"GET",
    b"POST",
    b"POST",
    b"POST",
    b"HEAD",
    b"PUT",
    b"OPTIONS",
    b"TRACE",
    b"CONNECT",
    b"get",
    b"PRI",
)
QUERIES = (
    b"",
    b"",
    b"",
    b"",
    b"",
    b"?",
    b"?page=0",
    b"?page=99999999999",
    b"?id=" + b"a&id=" * 300,
    b"?name=((a*)*)*$",
    b"?name=%ff",
)
QUERIES += (
    b"?status=new&withEvents",
    b"?from=9999-12-31T23:59:59-23:59",
    b"?to=0001-01-01",
    b"?from=%00",
    b"?wait=1e-9",
)
QUERIES += (b"?wait=nan", b"?wait=-1", b"?" + b"x" * 3000, b"?a=%", b"?%ff=%fe", b"?from=+", b"?page=\xd9\xa1")
BODIES = (
    b"",
    b"{}",
    b"[]",
    b'{"id":"a","reason":"responded"}',
    b'{"id":1e999,"reason":""}',
    b"[" * 5000,
    b"\xff",
    b"0",
)
BODIES += (b'{"id":' + b"9" * 5000 + b"}", b'{"id":"\\ud800","reason":"responded"}', b'{"id":"' + b"a" * 70_000 + b'"}')
BODIES += (
    b'{"id":"a","reason":"RESPONDED","comment":"\\u0000"}',
    b'{"id":"a","id":"b","reason":null}',
    b"x" * 1_200_000,
)
HEADERS = (b"Expect: 100-continue", b"Upgrade: websocket", b"Connection: close, upgrade", b"Content-Encoding: gzip")
HEADERS += (
    b"Cookie: session=" + b"x" * 500,
    b"X: " + b"y" * 9000,
    b"Range: bytes=0-1",
    b"Host: [",
    b"Host:",
    b"A\x00: b",
)
HEADERS += (
    b"Content-Length: 5",
    b"Content-Length: -1",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip",
    b" x: y",
)
EXPECTED = {200, 202, 204, 303, 304, 400, 401, 403, 404, 405, 406, 408, 413, 414, 429, 431}


def call(chance: Random) -> bytes:
    """Make a call; half of them are damaged."""
    line = b" ".join((chance.choice(METHODS), chance.choice(PATHS) + chance.choice(QUERIES), b"HTTP/1.1"))
    body = chance.choice(BODIES) if chance.random() < 0.6 else b""
    lines = [line, b"Host: a", b"Authorization: Bearer " + chance.choice(TOKENS)]
    lines += chance.sample(HEADERS, chance.choice((0, 0, 1, 2)))
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    raw = b"\r\n".join(lines) + b"\r\n\r\n" + body
    for _ in range(chance.choice((0, 0, 1, 2))):
        at = chance.randrange(min(len(raw), 400))
        junk = chance.choice((b"", b"\r\n", b"\n", b"\x00", b" ", b":", b"\xff", b"%", b"?", b"\r\n\r\n"))
        raw = raw[:at] + junk + raw[at + chance.choice((0, 1, 9)) :]
    return raw


async def answered(host: str, port: int, raw: bytes) -> bytes:
    """Send a call, end our side, and return all that came until the door ended its own."""
    reading, writing = await asyncio.open_connection(host, port)
    try:
        async with asyncio.timeout(60):
            writing.write(raw)
            writing.write_eof()
            return await reading.read()
    except TimeoutError:
        raise
    except OSError:  # the door has ended the connection already
        return b""
    finally:
        writing.close()


@pytest.mark.timeout(900)
async def test_what_is_hardly_http_is_refused_and_the_daemon_still_flows(tmp_path: Path, sqlite_url: str) -> None:
    chance, statuses = Random(SEED), set[int]()
    allow = {"allow": ["GET /api/v1/assets/*", "POST /api/v1/assets/*"]}
    async with daemon(tmp_path, sqlite_url, passthrough=allow) as (stage, child, client):
        for _ in range(0, CALLS, AT_ONCE):
            calls = [call(chance) for _ in range(AT_ONCE)]
            answers = await asyncio.gather(
                *(answered(client.base_url.host, client.base_url.port or 0, raw) for raw in calls)
            )
            for raw, answer in zip(calls, answers, strict=True):
                found = {int(status) for status in re.findall(rb"(?m)^HTTP/1\.1 (\d{3}) ", answer)} - {100}
                assert found <= EXPECTED, (raw[:600], answer[:600])
                statuses |= found

        await assert_it_flows(stage, client)
        assert faults(child) == []

    assert statuses >= {200, 400, 403, 404, 405}
