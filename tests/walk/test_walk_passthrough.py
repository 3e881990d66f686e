"""Calls of KUMA's that `[web.passthrough] allow` lists: passed on with our token, answered as KUMA did."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from stage import Stage, eventually, staged
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from kuma_sync.sim.server import SimServer
from kuma_sync.store import Tx

ALLOW = ["GET /api/v1/assets/*", "POST /api/v1/assets/import", "GET /api/v1/users/*"]


@dataclass(kw_only=True)
class Others:
    """The calls beside alerts that this KUMA answers."""

    requests: list[tuple[str, str, str, bytes]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    waits: dict[str, str] = field(default_factory=dict)
    held: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, request: Request) -> Response:
        raw = request.scope["raw_path"].decode()
        self.requests.append((request.method, raw, request.url.query, await request.body()))
        self.tokens.add(request.headers["authorization"])
        if request.path_params["what"] == "slow":
            await self.held.wait()
        return self._answers().get(request.path_params["what"]) or _json(b'{"id":"\xd0\xb0"}')

    def _answers(self) -> dict[str, Response]:
        return {
            "missing": _json(b'{"message":"no such asset","details":null}', 404),
            "denied": _json(b'{"message":"access denied"}', 403),
            "busy": Response(b"later", 503, self.waits, media_type="text/plain"),
            "moved": RedirectResponse("http://elsewhere.example.com/api/v1/secrets"),
            "nothing": Response(status_code=204),
            "packed": _json(gzip.compress(b"[1,2]"), headers={"content-encoding": "gzip"}),
            "named": _named("отчёт.csv"),
            "large": StreamingResponse(_megabytes(70), media_type="application/octet-stream"),
        }


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json; charset=utf-8")


def _named(name: str) -> Response:
    """Give a file its name as Go does: in UTF-8, unlike what a header's signs are said to be."""
    answer = Response(b"1;2", media_type="text/csv")
    answer.raw_headers.append((b"content-disposition", f'attachment; filename="{name}"'.encode()))
    return answer


async def _megabytes(number: int) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield bytes(1024 * 1024)


@asynccontextmanager
async def passing(
    folder: Path, database: str, *, allow: list[str] = ALLOW, **sections: dict[str, Any]
) -> AsyncIterator[tuple[Stage, Others, httpx.AsyncClient]]:
    """Run the daemon between a KUMA that answers more calls and an IRP; yield a client with a web token."""
    others = Others()
    async with staged(folder, database, **sections) as stage:
        call = Route("/api/v1/assets/{what:path}", others.call, methods=["GET", "POST"])
        app = Starlette(routes=[call, Mount("/", stage.kuma.app)])
        async with SimServer(app) as server:
            stage.configure(kuma={"url": server.url}, web={"passthrough": {"allow": allow}})
            async with stage.door() as client:
                yield stage, others, client


async def test_listed_call_is_answered_as_kuma_did_with_our_token(tmp_path: Path, sqlite_url: str) -> None:
    async with passing(tmp_path, sqlite_url) as (_stage, others, client):
        found = await client.get("/api/v1/assets/a%D0%B0b?page=2&name=%D0%B0%2B1", headers={"X-Secret": "s"})
        packed = await client.get("/api/v1/assets/packed")
        nothing = await client.get("/api/v1/assets/nothing")
        missing = await client.get("/api/v1/assets/missing")
        named = await client.get("/api/v1/assets/named")

    assert (found.status_code, found.json()) == (200, {"id": "а"})
    assert (named.status_code, dict(named.headers.raw)[b"content-disposition"].decode()) == (
        200,
        'attachment; filename="отчёт.csv"',
    )
    assert found.headers["content-type"] == "application/json; charset=utf-8"
    assert (packed.json(), nothing.status_code, nothing.content) == ([1, 2], 204, b"")
    assert (missing.status_code, missing.json()["message"]) == (404, "no such asset")
    assert others.requests[0] == ("GET", "/api/v1/assets/a%D0%B0b", "page=2&name=%D0%B0%2B1", b"")
    assert others.tokens == {"Bearer kuma-token"}


async def test_body_is_passed_on_and_a_large_one_refused(tmp_path: Path, sqlite_url: str) -> None:
    async with passing(tmp_path, sqlite_url) as (_stage, others, client):
        taken = await client.post("/api/v1/assets/import", json={"assets": ["x" * 100_000]})
        refused = await client.post("/api/v1/assets/import", content=bytes(1024 * 1024 + 1))

    assert (taken.status_code, refused.status_code) == (200, 413)
    ((method, path, _query, body),) = others.requests
    assert (method, path, len(body)) == ("POST", "/api/v1/assets/import", 100_015)


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/assets/../alerts/close",
        "/api/v1/assets/%2e%2e/tenants",
        "/api/v1/assets/..%2ftenants",
        "/api/v1/assets/%2F%2Fother.example.com",
        "/api/v1/assets//tenants",
        "/api/v1/assets/a%5c..%5cb",
        "/api/v1/assets/%252e%252e/tenants",
        "/api/v1/assets/a%00b",
        "/api/v1/assets/a;b=c",
        "/api/v1/assets",
        "/api/v1/assets/",
        "/API/v1/assets/1",
        "/api/v2/assets/1",
        "//other.example.com/api/v1/assets/1",
        "http://other.example.com/api/v1/assets/1",
        "/api/v1/tenants",
    ],
)
async def test_all_else_is_not_found_and_kuma_never_hears_of_it(tmp_path: Path, sqlite_url: str, target: str) -> None:
    async with passing(tmp_path, sqlite_url) as (_stage, others, client):
        status = await asyncio.to_thread(raw_status, str(client.base_url), target)

    assert (status, others.requests) == (404, [])


def raw_status(door: str, target: str) -> int:
    """Send a request line as it is written here, which no client would, and return the status."""
    at = urlsplit(door)
    with socket.create_connection((at.hostname or "", at.port or 0), timeout=10) as connection:
        head = f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer door-token\r\nConnection: close\r\n\r\n"
        connection.sendall(head.encode())
        return int(connection.makefile("rb").readline().split()[1])


async def test_own_doors_and_other_methods_stay_as_they_are(tmp_path: Path, sqlite_url: str) -> None:
    async with passing(tmp_path, sqlite_url) as (stage, others, client):
        login = (await client.get("/api/v1/users/whoami")).json()["login"]
        wrong = await client.post("/api/v1/alerts")
        unlisted = await client.delete("/api/v1/assets/1")
        nobody = await client.get("/api/v1/assets/1", headers={"Authorization": "Bearer wrong"})
        nameless = await client.get("/api/v1/assets/1", headers={"Authorization": ""})

    assert (login, wrong.status_code, unlisted.status_code) == ("security-vision", 405, 404)
    assert (nobody.status_code, nameless.status_code, others.requests) == (403, 400, [])
    assert not stage.kuma.closes


async def test_body_that_did_not_come_whole_is_not_passed_on(tmp_path: Path, sqlite_url: str) -> None:
    async with passing(tmp_path, sqlite_url) as (_stage, others, client):
        _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        head = (
            "POST /api/v1/assets/import HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer door-token\r\nContent-Length: 99"
        )
        writer.write(f"{head}\r\n\r\nfirst line\n".encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        whole = await client.post("/api/v1/assets/import", content=b"{}")

    assert whole.status_code == 200
    assert [body for *_, body in others.requests] == [b"{}"]


async def test_body_of_a_stranger_is_not_passed_on(tmp_path: Path, sqlite_url: str) -> None:
    async with passing(tmp_path, sqlite_url) as (_stage, others, client):
        wrong = {"Authorization": "Bearer wrong"}
        refused = await client.post("/api/v1/assets/import", content=bytes(1000 * 1000), headers=wrong)
        taken = await client.post("/api/v1/assets/import", content=b"{}")

    assert (refused.status_code, refused.json()["message"]) == (403, "access denied")
    assert (taken.status_code, len(others.requests)) == (200, 1)


async def test_token_of_a_target_that_polls_opens_them_too_and_each_is_audited(tmp_path: Path, sqlite_url: str) -> None:
    irp = {"profile": "security-vision-pull", "token": "pull-token", "url": ""}
    async with passing(tmp_path, sqlite_url, irp=irp) as (stage, _others, client):
        found = await client.get("/api/v1/assets/1?secret=x", headers={"Authorization": "Bearer pull-token"})
        async with stage.runtime() as runtime:
            audit = await runtime.store.read(passed_on)

    assert found.status_code == 200
    assert audit == [("irp", "GET /api/v1/assets/1")]


def passed_on(tx: Tx) -> list[tuple[str, str]]:
    return [(entry.actor, entry.detail) for entry in tx.audit.history("") if entry.action == "passed_on"]


async def test_redirect_and_endless_answer_are_no_success(tmp_path: Path, sqlite_url: str) -> None:
    async with passing(tmp_path, sqlite_url) as (_stage, _others, client):
        moved = await client.get("/api/v1/assets/moved")
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/api/v1/assets/large")

    assert (moved.status_code, "location" in moved.headers) == (502, False)


async def test_refusal_of_such_a_call_stops_none_of_our_reads(tmp_path: Path, sqlite_url: str) -> None:
    async with passing(tmp_path, sqlite_url) as (stage, _others, client):
        answers = [(await client.get("/api/v1/assets/denied")).status_code for _ in range(8)]
        answers += [(await client.get("/api/v1/assets/busy")).status_code for _ in range(8)]
        alert = stage.kuma.raise_alert()
        await eventually(lambda: stage.incidents(alert))

        assert (await client.get("/readyz")).status_code == 200
    assert answers == [403] * 8 + [503] * 8


async def test_wait_that_kuma_asks_for_holds_for_the_next_call(tmp_path: Path, sqlite_url: str) -> None:
    async with passing(tmp_path, sqlite_url) as (_stage, others, client):
        others.waits = {"Retry-After": "60"}
        first, second = [await client.get("/api/v1/assets/busy") for _ in range(2)]

    assert (first.status_code, first.text, first.headers["retry-after"]) == (503, "later", "60")
    assert (second.status_code, second.json()["message"]) == (503, "KUMA is not asked now")
    assert 0 < int(second.headers["retry-after"]) <= 60
    assert len(others.requests) == 1


async def test_so_many_slow_calls_at_once_and_no_more_and_our_reads_go_on(tmp_path: Path, sqlite_url: str) -> None:
    async with passing(tmp_path, sqlite_url) as (stage, others, client):
        slow = [asyncio.create_task(client.get("/api/v1/assets/slow")) for _ in range(4)]
        await eventually(lambda: len(others.requests) == 4)
        fifth = await client.get("/api/v1/assets/1")
        alert = stage.kuma.raise_alert()
        await eventually(lambda: stage.incidents(alert))
        others.held.set()

        assert [answer.status_code for answer in await asyncio.gather(*slow)] == [200] * 4
        assert (fifth.status_code, fifth.headers["retry-after"]) == (503, "1")
        assert (await client.get("/api/v1/assets/1")).status_code == 200


async def test_kuma_out_of_reach_is_said_in_its_own_shape(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.configure(web={"passthrough": {"allow": ALLOW}})
        async with stage.door() as client:
            await stage.kuma_server.stop()
            answer = await client.get("/api/v1/assets/1")

    assert answer.status_code in (502, 503)
    assert set(answer.json()) == {"message", "details"}
