"""Callers that say nothing, or too slowly, or are too many: on real sockets, with low limits."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
import trustme
from plain_http import plain_client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.testing import capture_logs
from test_plain_doors import Doors

from kuma_sync.web.certificate import door_tls
from kuma_sync.web.listener import DoorLimits, most_connections
from kuma_sync.web.server import bind, serve

BRIEF = 0.3
SHORT = DoorLimits(most=20, silence=BRIEF, body=BRIEF, answer=10.0)
ROOMY = DoorLimits(most=20)

Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def door(app: Starlette, limits: DoorLimits, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    stop, listener = asyncio.Event(), bind("127.0.0.1:0")
    port = listener.getsockname()[1]
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(app, listener, stop=stop, limits=limits, tls=tls))
        try:
            yield port
        finally:
            stop.set()


@asynccontextmanager
async def connected(port: int, number: int) -> AsyncIterator[list[Peer]]:
    async with AsyncExitStack() as stack:
        peers = []
        for _ in range(number):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            peers.append((reader, writer))
        yield peers


async def ended(peer: Peer, *, saying: bytes = b"") -> bytes:
    """Say something over and over until the other side ends the connection; return what it said."""
    reader, writer = peer
    heard = b""
    with suppress(ConnectionError):
        while not reader.at_eof():
            with suppress(TimeoutError):
                heard += await asyncio.wait_for(reader.read(65536), 0.05)
            writer.write(saying)
    return heard


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.02)


async def test_health_is_told_while_more_say_nothing_than_may_be_connected() -> None:
    doors = Doors()
    with capture_logs() as logs:
        async with asyncio.timeout(20), door(doors.app(), DoorLimits(most=20, silence=2.0)) as port:
            async with connected(port, 60) as silent, plain_client() as client:
                answers = [await client.get(f"http://127.0.0.1:{port}{path}") for path in ("/livez", "/readyz")]
                await asyncio.gather(*(peer[0].read() for peer in silent[:40]))
            await until(lambda: any(line["event"] == "door_has_room" for line in logs))

    assert [answer.status_code for answer in answers] == [200, 503]
    assert [line["event"] for line in logs] == ["door_crowded", "door_has_room"]
    assert logs[0]["reason"] == "20 connections"


HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /api/v1/alerts/close HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n"


@pytest.mark.parametrize(
    ("first", "then", "heard"),
    [
        (b"", b"", b""),
        (HEAD, b"X: y\r\n", b""),
        (POST + b"\r\n{", b" ", b""),
        (HEAD + b"\r\n", b"", b"HTTP/1.1 200"),
        (HEAD + b"Content-Length: 60000\r\n\r\n", b" ", b"HTTP/1.1 200"),
    ],
    ids=["nothing", "a slow head", "a slow body", "nothing more", "a body that nobody asked for"],
)
async def test_a_caller_that_keeps_the_door_waiting_is_shown_out(first: bytes, then: bytes, heard: bytes) -> None:
    async with asyncio.timeout(20), door(Doors().app(), SHORT) as port, connected(port, 1) as (peer,):
        peer[1].write(first)
        said = await ended(peer, saying=then)

    assert said.startswith(heard)
    assert bool(said) == bool(heard)


async def test_a_caller_that_takes_no_answers_is_shown_out() -> None:
    big = Starlette(routes=[Route("/", lambda _request: Response(b"x" * 1_000_000))])
    async with asyncio.timeout(20), door(big, SHORT) as port, connected(port, 1) as ((reader, writer),):
        writer.transport.pause_reading()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        await until(lambda: _gone(writer))
        taken = reader._buffer  # what came before reading was paused

    assert len(taken) < 50_000_000


def _gone(writer: asyncio.StreamWriter) -> bool:
    """Tell whether the other side broke the connection off; reading is paused, so only writing can tell."""
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    return writer.transport.is_closing()


async def test_an_answer_that_takes_its_time_is_waited_for() -> None:
    async def slow(request: Request) -> Response:
        await request.body()
        await asyncio.sleep(BRIEF * 5)
        return Response("done")

    app = Starlette(routes=[Route("/", slow, methods=["POST"])])
    async with asyncio.timeout(20), door(app, SHORT) as port, plain_client() as client:
        answer = await client.post(f"http://127.0.0.1:{port}/", content=b"x" * 1000)

    assert answer.text == "done"


async def test_a_handshake_that_never_comes_takes_no_place_for_long(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate, trusting = authority.issue_cert("127.0.0.1"), ssl.create_default_context()
    authority.configure_trust(trusting)
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    tls = door_tls(tmp_path / "both.pem", None)

    async with asyncio.timeout(20), door(Doors().app(), ROOMY, tls) as port, connected(port, 60) as silent:
        async with httpx.AsyncClient(verify=trusting, trust_env=False) as client:
            answer = await client.get(f"https://127.0.0.1:{port}/livez")
        await asyncio.gather(*(peer[0].read() for peer in silent[:40]))
    async with asyncio.timeout(20), door(Doors().app(), SHORT, tls) as port, connected(port, 3) as silent:
        for peer in silent:
            await ended(peer)

    assert answer.status_code == 200


CHILD = """
import asyncio, json, resource, sys, time
from kuma_sync.telemetry import logs
from kuma_sync.web.certificate import door_tls
from kuma_sync.web.listener import DoorLimits
from kuma_sync.web.server import bind, serve
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

resource.setrlimit(resource.RLIMIT_NOFILE, (40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
logs.configure(format="json")

async def main():
    app = Starlette(routes=[Route("/", lambda request: Response("here"))])
    stop, door = asyncio.Event(), bind("127.0.0.1:0")
    print(door.getsockname()[1], flush=True)
    asyncio.get_running_loop().add_reader(0, stop.set)
    await serve(app, door, stop=stop, limits=DoorLimits(most=1000))
    print(time.process_time())

asyncio.run(main())
"""


async def test_a_process_without_free_files_says_so_once_and_goes_on_answering() -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CHILD), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None
    port = int(await child.stdout.readline())
    async with asyncio.timeout(30), connected(port, 100), plain_client(timeout=20) as client:
        answers = [await client.get(f"http://127.0.0.1:{port}/") for _ in range(3)]
    out, err = await child.communicate(b"stop")

    assert [answer.text for answer in answers] == ["here"] * 3
    lines = [json.loads(line) for line in err.splitlines()]
    assert {line["event"] for line in lines} <= {"door_crowded", "door_has_room"}
    assert len(lines) <= 4, err.decode()
    assert float(out) < 5, "seconds of a processor"


def test_half_of_the_files_a_process_may_open_are_kept_for_itself() -> None:
    assert 16 <= most_connections() <= 1000
