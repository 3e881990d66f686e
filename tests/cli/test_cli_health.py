"""`health`: what a container asks every half minute."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prompt import ask, typed

from kuma_sync.sim.server import SimTls

READY = {"state": "ready", "parts": {"kuma": {"state": "ok", "reason": ""}}, "parked": 2, "held": 0}
NOT_READY = {
    "state": "not ready",
    "parts": {
        "kuma": {"state": "paused", "reason": "token refused"},
        "irp": {"state": "ok"},
        "close": {"state": "off"},
    },
}


@asynccontextmanager
async def door(status: int, body: Any, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[str]]]:
    """Something that answers every request the same; yields its port and what was asked."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b" ")[1].decode())
        raw = json.dumps(body).encode()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(raw), raw))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


@asynccontextmanager
async def speaking(said: str) -> AsyncIterator[int]:
    """Something that says the same to everybody, whatever it is asked; yields its port."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(said.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_ready_and_alive_are_exit_0() -> None:
    async with door(200, READY) as (port, asked):
        ready, alive = [await ask("health", *words, "--url", f"http://127.0.0.1:{port}") for words in ([], ["--live"])]

    assert (ready.code, ready.out) == (0, "ready, 2 parked\n")
    assert alive.code == 0
    assert asked == ["/readyz", "/livez"]


async def test_what_is_not_ready_is_named() -> None:
    async with door(503, NOT_READY) as (port, _asked):
        answer = await ask("health", "--url", f"127.0.0.1:{port}")

    assert answer.code == 1
    assert answer.sentence == "kuma-sync: not ready: kuma paused (token refused)"


async def test_a_stuck_loop_is_named() -> None:
    async with door(503, {"state": "stuck", "stuck": ["poll"]}) as (port, _asked):
        answer = await ask("health", "--live", "--url", f"http://127.0.0.1:{port}/livez")

    assert answer.code == 1
    assert answer.sentence == "kuma-sync: not alive: poll is stuck"


@pytest.mark.parametrize(
    ("status", "kind", "body", "said"),
    [
        (200, "text/html; charset=utf-8", "<!DOCTYPE html><html>", "a web page (HTTP 200, text/html)"),
        (200, "application/octet-stream", "\n <html>", "a web page (HTTP 200, application/octet-stream)"),
        (200, "application/json", '{"state": "up"}', "another program (HTTP 200, application/json)"),
        (200, "application/json", '{"state": "ok"}', "another program (HTTP 200, application/json)"),
        (200, "application/json", "[]", "another program (HTTP 200, application/json)"),
        (200, "text/plain", "ok", "another program (HTTP 200, text/plain)"),
        (404, "text/html", "<h1>nginx</h1>", "a web page (HTTP 404, text/html)"),
        (302, "text/html\r\nLocation: /login", "<h1>moved</h1>", "a web page (HTTP 302, text/html)"),
        (503, "application/json", '{"error": "no"}', "another program (HTTP 503, application/json)"),
    ],
)
@pytest.mark.parametrize("words", [(), ("--live",)])
async def test_what_is_no_kuma_sync_is_told_and_never_ready(
    status: int, kind: str, body: str, said: str, words: tuple[str, ...]
) -> None:
    async with speaking(f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n{body}") as port:
        answer = await ask("health", *words, "--url", f"http://127.0.0.1:{port}")

    path = "livez" if words else "readyz"
    assert answer.code == 1
    assert answer.sentence == f"kuma-sync: something else answers at http://127.0.0.1:{port}/{path}: {said}"


async def test_a_door_with_tls_that_is_asked_without_is_told_and_the_other_way_round(tmp_path: Path) -> None:
    tls = SimTls.make(tmp_path / "tls")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.cert_file)

    async with door(200, READY, context) as (port, _asked):
        without = await ask("health", "--url", f"http://127.0.0.1:{port}")
    async with speaking("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n") as plain:
        within = await ask("health", "--url", f"https://127.0.0.1:{plain}")

    assert without.code == within.code == 1
    assert without.sentence == (
        f"kuma-sync: no answer from http://127.0.0.1:{port}/readyz: TLS is spoken there; "
        f"ask https://127.0.0.1:{port}/readyz"
    )
    assert within.sentence == (
        f"kuma-sync: no answer from https://127.0.0.1:{plain}/readyz: no TLS is spoken there; "
        f"ask http://127.0.0.1:{plain}/readyz"
    )


async def test_a_configuration_with_a_byte_order_mark_tells_where_to_ask(tmp_path: Path) -> None:
    async with door(200, READY) as (port, _asked):
        (tmp_path / "config.toml").write_text(f'[web]\nlisten = "127.0.0.1:{port}"\n', encoding="utf-8-sig")

        answer = await ask("health", "-c", str(tmp_path / "config.toml"))

    assert answer.code == 0


def test_no_answer_is_exit_1() -> None:
    answer = typed("health", "--url", "http://127.0.0.1:1")

    assert answer.code == 1
    assert answer.sentence == "kuma-sync: no answer from http://127.0.0.1:1/readyz: connection refused"


@pytest.mark.parametrize(
    "said", [b"220 mail.example.com ESMTP\r\n", b"", b"HTTP/1.1 503 X\r\nContent-Length: 9\r\n\r\n{"]
)
async def test_what_speaks_no_http_is_exit_1(said: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        found = await ask("health", "--url", url)

    assert found.code == 1
    assert found.sentence == f"kuma-sync: no answer from {url}/readyz: what listens there gives no HTTP answer"


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:abc", "127.0.0.1:99999", "http://a b", "http://"])
def test_an_address_that_is_none_is_wrong_usage(url: str) -> None:
    answer = typed("health", "--url", url)

    assert answer.code == 2
    assert "--url: expected an address such as" in answer.sentence


@pytest.mark.parametrize("listen", ["8484", "127.0.0.1:x", "127.0.0.1:99999", "[::1:80", "a/b:80", "127.0.0.1:0", 8484])
def test_a_door_that_cannot_be_asked_is_named_by_its_key(tmp_path: Path, listen: str | int) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f"[web]\nlisten = {json.dumps(listen)}\n", encoding="utf-8")

    answer = typed("health", "-c", str(path))

    assert answer.code == 2
    assert answer.sentence.startswith('kuma-sync: web.listen: expected "host:port"')


@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0", "localhost"])
async def test_the_address_comes_from_the_configuration_even_from_a_broken_one(tmp_path: Path, listen: str) -> None:
    async with door(200, READY) as (port, asked):
        path = tmp_path / "config.toml"
        path.write_text(f'[kuma]\ntoken_file = "/gone"\n[web]\nlisten = "{listen}:{port}"\n', encoding="utf-8")

        answer = await ask("health", "-c", str(path))

    assert answer.code == 0
    assert asked == ["/readyz"]


async def test_the_environment_wins_as_it_does_for_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with door(200, READY) as (port, asked):
        monkeypatch.setenv("KUMA_SYNC_WEB__LISTEN", f"0.0.0.0:{port}")
        monkeypatch.chdir(tmp_path)

        answer = await ask("health", "--live")

    assert answer.code == 0
    assert asked == ["/livez"]


async def test_a_door_with_tls_is_asked_on_loopback_whatever_its_name(tmp_path: Path) -> None:
    tls = SimTls.make(tmp_path / "tls", wrong_name=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.cert_file)
    async with door(200, READY, context) as (port, _asked):
        path = tmp_path / "config.toml"
        path.write_text(f'[web]\nlisten = "0.0.0.0:{port}"\ncert_file = "x"\n', encoding="utf-8")

        answer = await ask("health", "-c", str(path))

    assert answer.code == 0


def test_without_a_door_there_is_nothing_to_ask(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[web]\nlisten = ""\n', encoding="utf-8")

    answer = typed("health", "-c", str(path))

    assert answer.code == 2
    assert answer.sentence == "kuma-sync: web.listen: is empty, so there is no HTTP door to ask"


async def test_a_refused_configuration_is_told_and_does_not_make_it_unready() -> None:
    async with door(200, {**READY, "configuration_refused": "poll.intervall: is not a known key"}) as (port, _asked):
        answer = await ask("health", "--url", f"http://127.0.0.1:{port}")

    assert answer.code == 0
    assert answer.out == "ready, 2 parked, configuration on disk refused: poll.intervall: is not a known key\n"
