"""/livez, /healthz, /readyz, /metrics, and the server under them, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from plain_http import plain_client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kuma_sync.core.closing import CloseRequest, KumaAnswer
from kuma_sync.core.errors import ConfigError
from kuma_sync.settings import Secret
from kuma_sync.telemetry.health import PARTS, Health
from kuma_sync.telemetry.metrics import Metrics
from kuma_sync.web.certificate import door_tls
from kuma_sync.web.responses import AccessRules
from kuma_sync.web.routes import build_app
from kuma_sync.web.server import PortTaken, bind, serve


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Intake:
    async def take(self, request: CloseRequest, wait: float | None) -> KumaAnswer | None:
        return KumaAnswer(status=204)


class Doors:
    """The doors with what stands behind them, changeable while they are open."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.health = Health(monotonic=self.clock)
        self.rules = AccessRules(
            to_kuma=True, tokens={"sv": Secret("canary-sv")}, metrics_token=Secret("canary-metrics")
        )

    def app(self) -> Starlette:
        return build_app(
            rules=lambda: self.rules,
            intake=Intake(),
            health=self.health,
            render_metrics=partial(asyncio.to_thread, Metrics().render),
        )


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[httpx.AsyncClient]:
    stop, listener = asyncio.Event(), bind("127.0.0.1:0")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(app, listener, stop=stop))
        try:
            async with plain_client(url, timeout=20) as client:
                yield client
        finally:
            stop.set()


@pytest.mark.parametrize("path", ["/livez", "/healthz"])
async def test_liveness_follows_the_loops_and_nothing_else(path: str) -> None:
    doors = Doors()
    doors.health.expects("poller", timedelta(seconds=30))

    async with served(doors.app()) as client:
        doors.health.failed("kuma", "KUMA is down")
        alive = await client.get(path)
        doors.clock.now += 31
        stuck = await client.get(path)

    assert (alive.status_code, alive.json()) == (200, {"state": "ok", "stuck": []})
    assert (stuck.status_code, stuck.json()) == (503, {"state": "stuck", "stuck": ["poller"]})


async def test_readiness_tells_every_part() -> None:
    doors = Doors()

    async with served(doors.app()) as client:
        starting = await client.get("/readyz")
        for part in PARTS:
            doors.health.succeeded(part)
        doors.health.off("close")
        doors.health.backlog(parked={"irp": 2}, held={"irp": 5})
        doors.clock.now += 7
        ready = await client.get("/readyz")
        doors.health.failed("irp", "the IRP answers 502")
        failing = await client.get("/readyz")

    assert (starting.status_code, starting.json()["state"]) == (503, "starting")
    assert starting.json()["parts"]["poll"] == {"state": "starting", "age_seconds": None, "reason": ""}
    assert (ready.status_code, ready.json()["state"]) == (200, "ready")
    assert set(ready.json()["parts"]) == {"store", "kuma", "irp", "poll", "delivery", "close"}
    assert (ready.json()["parked"], ready.json()["held"]) == (2, 5)
    assert ready.json()["parts"]["close"]["state"] == "off"
    assert (failing.status_code, failing.json()["state"]) == (503, "not ready")
    assert failing.json()["parts"]["irp"] == {"state": "failing", "age_seconds": 7.0, "reason": "the IRP answers 502"}


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        (None, 401),
        ("Basic Y2FuYXJ5", 401),
        ("Bearer canary-x", 403),
        ("Bearer canary-metrics", 200),
        ("Bearer canary-sv", 200),
    ],
)
async def test_metrics_ask_for_a_token(authorization: str | None, status: int) -> None:
    async with served(Doors().app()) as client:
        answer = await client.get("/metrics", headers={"Authorization": authorization} if authorization else {})

    assert answer.status_code == status
    assert ("www-authenticate" in answer.headers) == (status == 401)
    assert ("kuma_sync_build_info" in answer.text) == (status == 200)
    assert "canary" not in answer.text


async def test_an_unset_metrics_token_opens_nothing_and_public_metrics_ask_for_none() -> None:
    doors = Doors()

    async with served(doors.app()) as client:
        doors.rules = AccessRules(to_kuma=True)
        closed = await client.get("/metrics", headers={"Authorization": "Bearer x"})
        doors.rules = AccessRules(to_kuma=True, metrics_public=True)
        public = await client.get("/metrics")

    assert closed.status_code == 403
    assert public.status_code == 200
    assert public.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_every_other_path_is_not_found() -> None:
    async with served(Doors().app()) as client:
        answers = [await client.get(path) for path in ("/", "/livez/", "/metrics/x", "/docs", "/../etc/passwd")]

    assert {(answer.status_code, answer.json()["message"]) for answer in answers} == {(404, "not found")}


async def test_every_other_method_is_not_allowed() -> None:
    async with served(Doors().app()) as client:
        answers = [
            await client.request(method, path)
            for path in ("/livez", "/healthz", "/readyz", "/metrics")
            for method in ("POST", "DELETE", "PROPFIND")
        ]

    assert {(answer.status_code, answer.json()["message"]) for answer in answers} == {(405, "method not allowed")}


async def test_the_server_does_not_introduce_itself() -> None:
    async with served(Doors().app()) as client:
        answer = await client.get("/livez")

    assert "server" not in answer.headers


async def test_a_taken_port_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"

        with pytest.raises(PortTaken) as caught:
            bind(address)

    assert str(caught.value) == f"web.listen: cannot listen on {address}: another program has it"


@pytest.mark.parametrize("address", ["192.0.2.1:0", "no-such-host.invalid:0", "a..b:0"])
async def test_an_address_that_is_not_ours_is_one_sentence(address: str) -> None:
    with pytest.raises(PortTaken, match=f"cannot listen on {address}: "):
        bind(address)


async def test_an_ipv6_address_in_brackets_works() -> None:
    with bind("[::1]:0") as listener:
        assert listener.family == socket.AF_INET6


async def test_the_signals_stay_with_the_daemon() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    async with served(Doors().app()) as client:
        await client.get("/livez")
        during = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    assert during == before


async def test_a_stop_lets_a_request_in_work_finish() -> None:
    entered, stop = asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> Response:
        entered.set()
        await stop.wait()
        await asyncio.sleep(0.2)
        return Response("done")

    listener = bind("127.0.0.1:0")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    async with asyncio.TaskGroup() as tasks, plain_client() as client:
        serving = tasks.create_task(serve(Starlette(routes=[Route("/", slow)]), listener, stop=stop))
        asking = tasks.create_task(client.get(url))
        await entered.wait()
        stop.set()
        answer = await asking
        await serving
        with pytest.raises(httpx.ConnectError):
            await client.get(url)

    assert answer.text == "done"


async def test_a_cancelled_server_leaves_no_socket_behind() -> None:
    listener = bind("127.0.0.1:0")
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    serving = asyncio.ensure_future(serve(Doors().app(), listener, stop=asyncio.Event()))
    async with plain_client(f"http://{address}") as client:
        await client.get("/livez")

        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving

    bind(address).close()


async def test_it_serves_tls_with_the_configured_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.cert_chain_pems[0].write_to_path(cert_file)
    certificate.private_key_pem.write_to_path(key_file)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    stop, listener = asyncio.Event(), bind("127.0.0.1:0")

    async with asyncio.TaskGroup() as tasks, httpx.AsyncClient(verify=trusting, trust_env=False) as client:
        tasks.create_task(serve(Doors().app(), listener, stop=stop, tls=door_tls(cert_file, key_file)))
        answer = await client.get(f"https://127.0.0.1:{listener.getsockname()[1]}/livez")
        stop.set()

    assert answer.status_code == 200


def test_a_certificate_that_is_none_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("canary")

    with pytest.raises(ConfigError) as caught:
        door_tls(tmp_path / "cert.pem", None)

    assert str(caught.value).startswith("web.cert_file: the certificate or its key cannot be used; expected PEM")


def test_an_encrypted_key_is_an_error_and_asks_nobody(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"canary"),
    )
    (tmp_path / "key.pem").write_bytes(encrypted)
    trustme.CA().issue_cert("127.0.0.1").cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")

    with pytest.raises(ConfigError, match=r"^web\.cert_file"):
        door_tls(tmp_path / "cert.pem", tmp_path / "key.pem")


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
NO_SIZE = b"no size of a piece\r\n"


@pytest.mark.parametrize("line", [b"GET /livez", b"HEAD /livez"])
async def test_a_call_whose_body_is_broken_is_refused_once(line: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with served(Doors().app()) as client:
        reading, writing = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writing.write(CHUNKED.replace(b"POST /", line) + NO_SIZE)
        answer = await sent(reading)
        writing.close()

    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_body_that_breaks_behind_its_answer_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with served(Doors().app()) as client:
        reading, writing = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writing.write(CHUNKED.replace(b"POST /", b"GET /livez"))
        answer = await reading.readuntil(b'"stuck":[]}')
        writing.write(NO_SIZE)
        rest = await sent(reading)
        writing.close()

    assert (answer[:13], rest) == (b"HTTP/1.1 200 ", b"")
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_an_answer_in_work_breaks_off_where_the_body_turns_out_broken(caplog: pytest.LogCaptureFixture) -> None:
    entered, ended = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        entered.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.body", "body": b"done"})
        ended.set()

    async with served(slow) as client:
        reading, writing = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writing.write(CHUNKED)
        await entered.wait()
        writing.write(NO_SIZE)
        answer = await sent(reading)
        await asyncio.wait_for(ended.wait(), 10)
        writing.close()

    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"done" not in answer
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def sent(reading: asyncio.StreamReader) -> bytes:
    """Return what came up to the end of the connection, or up to its breaking off."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := await reading.read(1000):
            found += piece
    return found
