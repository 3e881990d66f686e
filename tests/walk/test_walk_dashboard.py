"""The dashboard and the alarms against a real Prometheus that scraped a real daemon between both simulators."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from addresses import somewhere
from prometheus_server import Prometheus, needs_prometheus, prometheus
from stage import Stage, eventually, staged
from two_targets import two

from kuma_sync.irp.load import profile_text
from kuma_sync.sim.server import SimTls

pytestmark = [needs_prometheus, pytest.mark.timeout(300)]
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"

OF_PULL = ("kuma_sync_handed_out_total", "kuma_sync_last_asked_timestamp_seconds")
"""Metrics that are there only with an IRP that polls us."""


def panels() -> list[dict[str, Any]]:
    board = json.loads((DEPLOY / "grafana" / "kuma-sync.json").read_text())
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def as_grafana_sends_it(query: str, target: str = ".*") -> str:
    return query.replace("$job", ".*").replace("$target", target).replace("$__rate_interval", "1m")


async def without_series(server: Prometheus, wanted: list[str], target: str = ".*") -> list[str]:
    """Return the queries that find nothing, with the target chosen at the top of the dashboard."""
    return [query for query in wanted if not await server.series(as_grafana_sends_it(query, target))]


async def a_day(stage: Stage) -> None:
    """Let alerts become incidents, and closings go both ways."""
    for _ in range(3):
        stage.kuma.raise_alert(events=2)
    await eventually(lambda: len(stage.irp.incidents) >= 3)
    stage.irp.analyst_close(next(iter(stage.irp.incidents)), "False positive")
    await eventually(lambda: stage.kuma.closes)


def with_tls(stage: Stage, folder: Path) -> str:
    """Give the daemon a door with a certificate; return its address."""
    listen = somewhere()
    tls = SimTls.make(folder / "door", (listen.rpartition(":")[0],))
    stage.configure(web={"listen": listen, "metrics_public": True, "cert_file": str(tls.cert_file)})
    return listen


async def test_every_query_of_the_dashboard_finds_something_with_one_irp(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        listen = with_tls(stage, tmp_path)
        async with stage.daemon(), prometheus(tmp_path, scrapes=listen, tls=True, rules=RULES) as server:
            await a_day(stage)
            wanted = [query for query in queries() if not any(metric in query for metric in OF_PULL)]

            assert len(wanted) > 20
            await eventually(partial(_all_found, server, wanted), within=60)
            alarms = await server.alarms()

    assert len(alarms) > 10
    assert set(alarms.values()) == {"ok"}


async def test_every_query_of_the_dashboard_finds_something_with_several_irps(tmp_path: Path, sqlite_url: str) -> None:
    async with two(tmp_path, sqlite_url) as stages:
        stage = stages.stage
        listen = with_tls(stage, tmp_path)
        pull = tmp_path / "pull.toml"
        pull.write_text(profile_text("security-vision-pull"))
        south = {"profile": str(pull), "token": "south-token-of-the-test"}
        stage.configure(targets={"south": south})
        stage.tables["route"].append({"tenants": ["South"], "target": "south"})
        stage.configure()
        async with stage.daemon(), prometheus(tmp_path, scrapes=listen, tls=True, rules=RULES) as server:
            await a_day(stage)
            stages.alert("n-1")
            stages.alert("s-1", tenant="South")
            await eventually(lambda: stages.north.incidents)
            await eventually(partial(_handed_out, server, listen), within=30)

            await eventually(partial(_all_found, server, queries()), within=60)
            of_target = [query for query in queries() if "$target" in query and "queue" in query]
            assert await without_series(server, of_target, target="north") == []


async def _all_found(server: Prometheus, wanted: list[str]) -> bool:
    try:
        return not await without_series(server, wanted)
    except OSError:
        return False


async def _handed_out(server: Prometheus, listen: str) -> bool:
    """Ask as an IRP that polls us."""
    import httpx

    headers = {"Authorization": "Bearer south-token-of-the-test"}
    async with httpx.AsyncClient(base_url=f"https://{listen}", verify=False, trust_env=False, headers=headers) as irp:
        answer = await irp.get("/api/v1/alerts/?withEvents&status=new")
    return bool(answer.status_code == 200 and answer.json())
