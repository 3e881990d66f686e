"""Sockets, TLS, the control paths, and files: what holds the simulators up."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import socket
import ssl
import sys
import time

import httpx
import pytest
from addresses import an_address
from plain_http import plain_client

from kuma_sync.sim.content import read_alerts
from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.server import SimServer, SimTls
from kuma_sync.sim.values import SimError


async def test_a_stop_is_quick_with_idle_hanging_and_streaming_connections(until):
    kuma = KumaSim()
    kuma.raise_alert(events=2000)
    kuma.faults.add("hang", match="whoami")
    kuma.faults.add("delay", match="close", seconds=600)
    kuma.faults.add("drip", match="alerts", seconds=600, piece=10)
    server = SimServer(kuma.app)
    await server.start()
    headers = {"authorization": f"Bearer {kuma.token}"}
    paths = ("/api/v1/users/whoami", "/api/v1/alerts/close", "/api/v1/alerts/?withEvents")

    async with plain_client(server.url, headers=headers) as client:
        await client.get("/_sim/state")
        asked = [client.post(path) if "close" in path else client.get(path) for path in paths]
        gathered = asyncio.gather(*asked, return_exceptions=True)
        await until(lambda: kuma.faults.fired.total() == 3)
        start = time.monotonic()
        await server.stop()
        took = time.monotonic() - start
        ends = await gathered

    assert took < 1
    assert all(isinstance(end, httpx.TransportError) for end in ends)


async def test_a_server_comes_back_on_its_port_and_leaves_signals_alone():
    handler = signal.getsignal(signal.SIGTERM)
    server = SimServer(KumaSim().app, listen=f"{an_address()[0]}:0")

    async with server, plain_client() as client:
        url = server.url
        first = await client.get(url)
        await server.stop()
        with pytest.raises(httpx.ConnectError):
            await client.get(url)
        await server.start()
        second = await client.get(url)

    assert (first.status_code, second.status_code, server.url) == (404, 404, url)
    assert signal.getsignal(signal.SIGTERM) is handler


async def test_a_taken_or_senseless_address_is_one_sentence():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SimError, match="cannot listen on 127"):
            await SimServer(KumaSim().app, listen=f"127.0.0.1:{taken.getsockname()[1]}").start()
    with pytest.raises(SimError, match="HOST:PORT"):
        SimServer(KumaSim().app, listen="7223")


async def test_nothing_is_logged_when_connections_break(reach, caplog):
    kuma = KumaSim()
    kuma.raise_alert(events=100)
    for kind in ("reset_before", "reset_after", "cut"):
        kuma.faults.add(kind, times=1)

    async with reach(kuma) as client:
        for _ in range(3):
            with pytest.raises(httpx.TransportError):
                await client.get("/api/v1/alerts/?withEvents")
        await client.get("/api/v1/alerts/")

    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


async def test_tls_is_verified_by_the_own_ca_and_fails_on_its_defects(tmp_path):
    good = SimTls.make(tmp_path / "good")
    wrong = SimTls.make(tmp_path / "wrong", wrong_name=True)
    expired = SimTls.make(tmp_path / "expired", expired=True)

    async def ask(served: SimTls, trusted: SimTls) -> int:
        context = ssl.create_default_context(cafile=str(trusted.ca_file))
        async with (
            SimServer(KumaSim().app, tls=served) as server,
            httpx.AsyncClient(verify=context, trust_env=False) as client,
        ):
            assert server.url.startswith("https://127.0.0.1:")
            return (await client.get(server.url)).status_code

    assert await ask(good, good) == 404
    for served, trusted, message in (
        (good, wrong, "self-signed|unable to get"),
        (wrong, wrong, "mismatch"),
        (expired, expired, "expired"),
    ):
        with pytest.raises(httpx.ConnectError, match=message):
            await ask(served, trusted)


async def test_a_reset_strikes_under_tls_too(tmp_path):
    irp, tls = IrpSim(), SimTls.make(tmp_path)
    irp.faults.add("reset_after")
    context = ssl.create_default_context(cafile=str(tls.ca_file))

    async with SimServer(irp.app, tls=tls) as server, httpx.AsyncClient(verify=context, trust_env=False) as client:
        with pytest.raises(httpx.ReadError):
            await client.post(
                f"{server.url}/api/v1/incidents", json={}, headers={"authorization": f"Bearer {irp.token}"}
            )

    assert len(irp.incidents) == 1


def test_tls_without_trustme_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trustme", None)

    with pytest.raises(SimError, match=r"pip install trustme"):
        SimTls.make(tmp_path)


async def test_a_person_with_curl_can_play_kuma(reach):
    kuma = KumaSim()

    async with reach(kuma) as client:

        async def act(**body) -> object:
            answer = await client.post("/_sim/act", json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()["result"]

        id_ = await act(do="raise_alert", name="С консоли", events=1)
        await act(do="grow", id=id_, events=2)
        await act(do="assign", id=id_, who="i.petrova")
        await act(do="load", alerts=[{"id": "loaded"}])
        await client.post("/_sim/knobs", json={"disabled_tenants": [""], "page_size": 1})
        listed = await client.get("/api/v1/alerts/")
        state = (await client.get("/_sim/state")).json()

    assert len(kuma.alerts[id_]["events"]) == 3
    assert (kuma.knobs.disabled_tenants, len(listed.json())) == ({""}, 1)
    assert (state["alerts"], state["requests"]) == ({"assigned": 1, "new": 1}, 1)


async def test_a_person_with_curl_can_play_the_irp(reach):
    irp = IrpSim()

    async with reach(irp) as client:
        for _ in range(2):
            made = (await client.post("/api/v1/incidents", json={"externalId": "k"})).json()
        close = {"do": "analyst_close", "id": made["id"], "resolution": "Resolved"}
        await client.post("/_sim/act", json=close)
        state = (await client.get("/_sim/state")).json()

    assert state["incidents"] == {"open": 1, "closed": 1}
    assert (state["doubled"], state["writes"]) == (["k"], {"create": 2})


async def test_faults_are_switched_by_http_and_never_stand_in_their_own_way(reach):
    kuma = KumaSim()

    async with reach(kuma) as client:
        added = await client.post("/_sim/faults", json={"kind": "status", "code": 500, "match": ""})
        struck = await client.get("/api/v1/alerts/")
        cleared = await client.delete("/_sim/faults")
        spared = await client.get("/api/v1/alerts/")

    assert added.json()["faults"] == [{"kind": "status", "match": "", "fired": 0}]
    assert (struck.status_code, spared.status_code) == (500, 200)
    assert (cleared.json()["faults"], cleared.json()["fired"]) == ([], {"status": 1})


async def test_the_control_paths_want_the_token_and_name_mistakes(reach):
    kuma = KumaSim()

    async with reach(kuma) as client:
        mistakes = [
            await client.post("/_sim/faults", json={"kind": "explode"}),
            await client.post("/_sim/faults", json={"match": "x"}),
            await client.post("/_sim/act", json={"do": "dance"}),
            await client.post("/_sim/act", json={"do": "grow"}),
            await client.post("/_sim/act", json={"do": "grow", "id": "unknown"}),
            await client.post("/_sim/act", json={"do": "raise_alert", "events": "three"}),
            await client.post("/_sim/knobs", json={"colour": "red"}),
            await client.post("/_sim/act", content="{"),
            await client.post("/_sim/act", json=[]),
        ]
        client.headers["authorization"] = "Bearer wrong"
        refused = [await client.get("/_sim/state"), await client.delete("/_sim/faults")]

    assert [answer.status_code for answer in mistakes] == [400] * len(mistakes)
    assert all(answer.json()["message"] for answer in mistakes)
    assert [answer.status_code for answer in refused] == [403, 403]


async def test_a_large_page_leaves_others_a_turn_after_every_alert(reach):
    kuma = KumaSim()
    kuma.knobs.page_size = 2000
    kuma.load([{"id": str(number)} for number in range(2000)])
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with reach(kuma) as client, asyncio.TaskGroup() as group:
        watcher = group.create_task(others())
        answer = await client.get("/api/v1/alerts/?withEvents")
        watcher.cancel()

    assert len(answer.json()) == 2000
    assert turns >= 2000


def test_alerts_are_read_from_plain_and_gzipped_json(tmp_path):
    alerts = [{"id": "1", "name": "Имя"}]
    plain, packed = tmp_path / "a.json", tmp_path / "a.json.gz"
    plain.write_text(json.dumps(alerts), "utf-8")
    packed.write_bytes(gzip.compress(json.dumps(alerts).encode()))

    assert read_alerts(plain) == read_alerts(str(packed)) == alerts


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"{", "not JSON"),
        ("a.json", b"\xff[]", "not JSON"),
        ("a.json", b'{"alerts": []}', "JSON array"),
        ("a.json", b'[{"id": "1"}, {"name": "x"}]', "element 1"),
        ("a.json.gz", b"[]", "gzip"),
        ("a.json.gz", gzip.compress(b"[]", mtime=0)[:-4], "gzip"),
        ("a.json.gz", gzip.compress(b"[]" * 99, mtime=0)[:10] + b"\xff" * 30, "gzip"),
    ],
)
def test_a_file_that_holds_no_alerts_is_refused_by_name(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_bytes(content)

    with pytest.raises(SimError, match=message) as caught:
        read_alerts(file)
    assert name in str(caught.value)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(SimError, match=r"none\.json: No such file"):
        read_alerts(tmp_path / "none.json")


@pytest.mark.parametrize(("side", "path"), [(IrpSim, "/api/v1/incidents"), (KumaSim, "/api/v3/alerts/close")])
async def test_a_client_that_leaves_inside_its_request_is_no_error_and_has_no_effect(side, path, until, caplog):
    sim = side()

    async with SimServer(sim.app) as server:
        host, port = server.url.removeprefix("http://").split(":")
        _reader, writer = await asyncio.open_connection(host, int(port))
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {sim.token}\r\nContent-Length: 99\r\n\r\n"
        writer.write(head.encode() + b'{"externalId"')
        await writer.drain()
        await until(lambda: sim.requests)
        writer.transport.abort()
        async with plain_client() as client:
            alive = await client.get(f"{server.url}/_sim/state", headers={"authorization": f"Bearer {sim.token}"})

    assert alive.status_code == 200
    assert not caplog.records
    assert not getattr(sim, "incidents", {})
    assert not getattr(sim, "close_calls", [])
