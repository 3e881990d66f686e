"""`demo` and `sim`: things to try before the first real connection."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import signal
import socket
import ssl
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import httpx
import pytest
from prompt import ended, started, typed


def call(address: str, token: str, body: Any = None, context: ssl.SSLContext | None = None) -> tuple[int, Any]:
    """Send what a line of the leaflet says."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(address, data=data, headers={"Authorization": f"Bearer {token}"})
    handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)]
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, json.loads(refused.read() or b"null")


async def address(process: asyncio.subprocess.Process) -> str:
    """Read where a simulator listens from its first line."""
    assert process.stdout is not None
    async with asyncio.timeout(90):
        line = (await process.stdout.readline()).decode()
    found = re.search(r"https?://[\d.]+:\d+", line)
    assert found, line
    return found[0]


async def test_a_short_day_ends_with_both_sides_agreeing() -> None:
    answer = await ended(await started("demo", "--seconds", "8"))

    assert answer.code == 0, answer.out + answer.err
    assert answer.err == ""
    assert "  both sides agree" in answer.out.splitlines()
    assert "The daemon exited 0 after SIGTERM." in answer.out
    each_way = re.search(
        r"Closed each way: (\d+) through the door, (\d+) found by asking the IRP, (\d+) in KUMA", answer.out
    )
    assert each_way is not None
    assert int(each_way[1]) >= 1
    folder = re.search(r"(/\S*kuma-sync-demo-\w+)/daemon\.log", answer.out)
    assert folder is not None
    assert not await asyncio.to_thread(Path(folder[1]).exists)


@pytest.mark.timeout(200)
async def test_ctrl_c_ends_the_demo_with_the_comparison() -> None:
    process = await started("demo")
    assert process.stdout is not None
    async with asyncio.timeout(90):
        while b"SYNC" not in await process.stdout.readline():
            continue

    process.send_signal(signal.SIGINT)
    answer = await ended(process)

    assert answer.code == 0, answer.out + answer.err
    assert "  both sides agree" in answer.out.splitlines()


@pytest.mark.timeout(200)
async def test_the_demo_prints_a_sign_in_that_opens_its_console() -> None:
    process = await started("demo")
    assert process.stdout is not None
    async with asyncio.timeout(90):
        while not (line := (await process.stdout.readline()).decode()).startswith("  its console"):
            continue
        found = re.search(r"(http://[\d.:]+)/ : sign in as (\w+) with the password (\S+)", line)
        assert found, line
        while not (seen := await signed_in(*found.groups())):
            await asyncio.sleep(0.1)

    process.send_signal(signal.SIGINT)
    answer = await ended(process)

    assert answer.code == 0, answer.out + answer.err
    assert "Sign out" in seen
    assert f"({found[2]}, {found[3]})" not in answer.err


async def signed_in(base: str, name: str, password: str) -> str:
    """Sign in at a console and return the first page; "" while it is not there yet."""
    async with httpx.AsyncClient(base_url=base, trust_env=False, follow_redirects=True) as client:
        try:
            page = await client.get("/sign-in")
        except httpx.TransportError:
            return ""
        token = re.search(r'name="token" value="([^"]+)"', page.text)
        if token is None:
            return ""
        answer = await client.post("/sign-in", data={"token": token[1], "name": name, "password": password})
        return answer.text


async def test_a_simulated_kuma_serves_what_it_was_given_and_fails_when_told_to(tmp_path: Path) -> None:
    file = tmp_path / "alerts.json.gz"
    file.write_bytes(gzip.compress(json.dumps([{"id": "from-file", "name": "a", "status": "new"}]).encode()))
    process = await started(
        *("sim", "kuma", "--listen", "127.0.0.1:0", "--token", "t", "--alerts", "2", "--events", "1"),
        *("--load", str(file), "--seed", "5", "--fault", "status:code=503,times=1,match=whoami"),
    )
    base = await address(process)

    async def ask_sim(path: str, body: Any = None) -> tuple[int, Any]:
        return await asyncio.to_thread(call, base + path, "t", body)

    (status, alerts), denied = (
        await ask_sim("/api/v1/alerts/?withEvents&status=new"),
        await ask_sim("/api/v1/users/whoami"),
    )
    raised = await ask_sim("/_sim/act", {"do": "raise_alert", "events": 1})
    fault = await ask_sim("/_sim/faults", {"kind": "status", "code": 500})
    broken, state = await ask_sim("/api/v1/alerts/"), await ask_sim("/_sim/state")
    process.terminate()
    answer = await ended(process)

    assert status == 200
    assert sorted(len(alert["events"]) for alert in alerts) == [0, 1, 1]
    assert "from-file" in {alert["id"] for alert in alerts}
    assert denied[0] == 503
    assert raised[0] == fault[0] == 200
    assert broken[0] == 500
    assert state[1]["alerts"] == {"new": 4}
    assert answer.code == 0
    assert f"curl -s -H 'Authorization: Bearer t' {base}/_sim/state" in answer.out


async def test_a_simulated_robot_asks_a_kuma_and_closes_what_its_analysts_close() -> None:
    asked = await started("sim", "kuma", "--listen", "127.0.0.1:0", "--token", "t", "--alerts", "2")
    kuma = await address(asked)
    asking = await started(
        "sim", "robot", kuma, "--listen", "127.0.0.1:0", "--kuma-token", "t", "--every", "0.1", "--close-after", "0.2"
    )
    base = await address(asking)

    async def both_closed() -> bool:
        _, state = await asyncio.to_thread(call, f"{kuma}/_sim/state", "t")
        return bool(state["alerts"] == {"closed": 2})

    async with asyncio.timeout(30):
        while not await both_closed():
            await asyncio.sleep(0.05)
    status, cards = await asyncio.to_thread(call, f"{base}/cards", "sim-robot-token")
    asking.terminate()
    answer = await ended(asking)
    asked.terminate()
    await ended(asked)

    assert (status, [card["status"] for card in cards]) == (200, ["closed", "closed"])
    assert (answer.code, answer.err) == (0, "")
    assert "asked: create 2" in answer.out
    assert f"curl -s -H 'Authorization: Bearer sim-robot-token' {base}/cards" in answer.out


async def test_a_robot_whose_kuma_is_away_says_so_and_goes_on() -> None:
    asking = await started("sim", "robot", "127.0.0.1:1", "--listen", "127.0.0.1:0", "--every", "0.1")
    base = await address(asking)

    async with asyncio.timeout(30):
        while (await asyncio.to_thread(call, f"{base}/_sim/state", "sim-robot-token"))[1]["rounds"] < 3:
            await asyncio.sleep(0.05)
    asking.terminate()
    answer = await ended(asking)

    assert (answer.code, answer.err) == (0, "")
    assert "asking failed: ConnectError" in answer.out


def test_a_robot_told_to_trust_what_is_no_certificate_is_exit_1(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")

    answer = typed("sim", "robot", "127.0.0.1:1", "--ca-file", str(file))

    assert answer.code == 1
    assert "holds no certificate" in answer.err


async def test_a_simulated_irp_serves_tls_with_a_ca_of_its_own(tmp_path: Path) -> None:
    process = await started("sim", "irp", "--listen", "127.0.0.1:0", "--tls", str(tmp_path / "tls"))
    base = await address(process)
    trusting = ssl.create_default_context(cafile=tmp_path / "tls" / "ca.pem")

    status, incidents = await asyncio.to_thread(call, f"{base}/api/v1/incidents", "sim-irp-token", None, trusting)
    process.send_signal(signal.SIGINT)
    answer = await ended(process)

    assert base.startswith("https://")
    assert (status, incidents["items"]) == (200, [])
    assert answer.code == 0
    assert f"--cacert {tmp_path}/tls/ca.pem" in answer.out


async def test_a_simulated_irp_speaks_another_products_api(tmp_path: Path) -> None:
    process = await started("sim", "irp", "--listen", "127.0.0.1:0", "--token", "t", "--dialect", "rvision")
    base = await address(process)

    state = await asyncio.to_thread(call, f"{base}/_sim/state", "t")
    knobs = await asyncio.to_thread(call, f"{base}/_sim/knobs", "t", {"login": "cookie", "session_requests": 5})
    process.terminate()
    answer = await ended(process)

    assert (state[0], state[1]["dialect"], knobs[0]) == (200, "rvision", 200)
    assert f"curl -s -H 'X-Token: t' '{base}/api/v2/incidents'" in answer.out
    assert 'profile = "rvision-v2"' in answer.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--load", "gone.json"], "gone.json: No such file"),
        (["--fault", "earthquake"], "unknown fault 'earthquake'"),
        (["--fault", "status:503"], "KIND:key=value"),
        (["--fault", "status:colour=red"], "no argument 'colour'"),
        (["--fault", "status:every=0"], "cannot have every=0: expected a whole number, 1 or more"),
        (["--fault", "status:code=teapot"], "cannot have code='teapot': expected a status from 200 to 599"),
        (["--fault", "delay:seconds=NaN"], "expected a number of seconds"),
        (["--fault", "drip:piece=0"], "expected a whole number, 1 or more"),
        (["--listen", "everywhere"], "HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "port up to 65535"),
        (["--listen", "127.0.0.1:²"], "HOST:PORT"),
    ],
)
def test_a_simulators_option_that_makes_no_sense_is_wrong_usage(words: list[str], said: str) -> None:
    answer = typed("sim", "kuma", *words)

    assert answer.code == 2
    assert said in answer.sentence


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--listen", "no..host:0"], "cannot listen on no..host:0: that is no host's name"),
        (["--listen", "127.0.0.1:0", "--tls", "/proc/no-such-folder"], "cannot be written into /proc/no-such-folder: "),
    ],
)
def test_a_simulator_that_cannot_have_what_it_needs_is_exit_1(words: list[str], said: str) -> None:
    answer = typed("sim", "irp", *words)

    assert answer.code == 1
    assert said in answer.sentence


@pytest.mark.parametrize("listen", ["203.0.113.9:0", "no..host:0"])
def test_a_demo_without_an_address_is_one_sentence_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listen: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    answer = typed("demo", "--seconds", "5", "--listen", listen)

    assert answer.code == 1
    assert answer.sentence.startswith(f"kuma-sync: cannot listen on {listen}: ")
    assert list(tmp_path.iterdir()) == []


def test_a_simulator_whose_port_is_taken_is_exit_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = typed("sim", "irp", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")

    assert answer.code == 1
    assert "address already in use" in answer.sentence
