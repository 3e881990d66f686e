"""The daemon's doors on a real socket, asked by schemathesis what docs/openapi.yaml allows, and what it does not.

`make fuzz` runs it: schemathesis has an environment of its own. FUZZ_SECONDS is how long it asks.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from addresses import somewhere
from plain_http import plain_client
from stage import Child, Stage, eventually, staged

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("SCHEMATHESIS", "")
SEED = os.environ.get("FUZZ_SEED", "20261129")
SECONDS = os.environ.get("FUZZ_SECONDS", "100")

PULL = {"profile": "security-vision-pull", "token": "pull-token", "url": ""}
CONFIGURATION = """\
headers = { Authorization = "Bearer door-token" }

[[operations]]
include-path-regex = "/alerts/?$"
headers = { Authorization = "Bearer pull-token" }
"""

KUMAS_OWN = {
    "negative_data_rejection": "unknown parameters, and a body's other keys, are ignored as KUMA ignores them",
    "positive_data_acceptance": "a schema cannot say that `from` is not after `to`, nor what RE2 takes",
    "ignored_auth": "without a token KUMA answers 400, which is no answer the check knows",
    "missing_required_header": "the same: of Authorization it takes 401 alone",
}
"""Checks that do not fit, and why; tests of the doors say the same by example."""


@asynccontextmanager
async def daemon(folder: Path, database: str, **web: object) -> AsyncIterator[tuple[Stage, Child, httpx.AsyncClient]]:
    """Run a daemon of its own process, with a target that polls; yield a client without a token."""
    listen = somewhere()
    web |= {"listen": listen, "tokens": {"sv": "door-token"}}
    async with (
        staged(folder, database, irp=PULL, web=web) as stage,
        stage.daemon() as child,
        plain_client(f"http://{listen}", timeout=40) as client,
    ):
        stage.kuma.raise_alert(events=3)
        await eventually(lambda: ready(client))
        yield stage, child, client


async def ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/readyz")).status_code == 200


def faults(child: Child) -> list[str]:
    """Return the log lines that tell of a fault of the program."""
    return [line for line in child.log.read_text().splitlines() if '"exception"' in line or "Traceback" in line]


async def assert_it_flows(stage: Stage, client: httpx.AsyncClient) -> None:
    """A new alert is handed out, and its closing reaches KUMA."""
    alert, token = stage.kuma.raise_alert(events=2), {"Authorization": "Bearer pull-token"}

    async def shown() -> bool:
        answer = await client.get(f"/api/v1/alerts?id={alert}", headers=token)
        return [item["id"] for item in answer.json()] == [alert]

    await eventually(shown)
    closed = await client.post("/api/v1/alerts/close", json={"id": alert, "reason": "responded"}, headers=token)
    assert closed.status_code == 204
    await eventually(lambda: stage.kuma.alerts[alert]["status"] == "closed", within=60)


async def asked(folder: Path, url: httpx.URL) -> tuple[str, int | None]:
    """Let schemathesis ask for its time; return what it said, and its exit code."""
    configuration = folder / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    words = ["--config-file", str(configuration), "run", str(ROOT / "docs/openapi.yaml"), "--url", str(url)]
    words += ["--exclude-checks", ",".join(KUMAS_OWN), "--continue-on-failure", "--no-color", "--seed", SEED]
    words += ["--max-time", SECONDS, "--generation-database", "none", "--phases", "examples,coverage,fuzzing"]
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *words, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    return said.decode(), process.returncode


@pytest.mark.timeout(900)
@pytest.mark.skipif(not PROGRAM, reason="`make fuzz` brings schemathesis")
async def test_no_answer_is_a_fault_or_outside_the_description(tmp_path: Path, sqlite_url: str) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    async with daemon(tmp_path, sqlite_url) as (stage, child, client):
        said, code = await asked(tmp_path, client.base_url)

        assert code == 0, said
        await assert_it_flows(stage, client)
        assert faults(child) == []
