"""Tokens that are rotated or revoked under a daemon: few requests, and nothing is parked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from stage import Stage, ask, eventually, metric, parked, staged

from kuma_sync.app.build import build, open_store
from kuma_sync.app.remotes import kuma_endpoint
from kuma_sync.app.shared_state import SharedState
from kuma_sync.core.errors import Transient
from kuma_sync.sync.limits import Limits
from kuma_sync.telemetry.metrics import Metrics
from kuma_sync.telemetry.redact import masked

# Rotated


@asynccontextmanager
async def with_token_files(tmp_path: Path, database: str) -> AsyncIterator[Stage]:
    """Open a stage whose tokens come from files, and whose back-off is too long to be waited for."""
    async with staged(tmp_path, database, retry={"base": "5m", "max": "10m"}) as stage:
        for remote in ("kuma", "irp"):
            secret = tmp_path / f"{remote}.token"
            secret.write_text(f"{stage.tables[remote].pop('token')}\n")
            stage.configure(**{remote: {"token_file": str(secret)}})
        yield stage


def rotate(stage: Stage) -> None:
    for remote, sim in (("kuma", stage.kuma), ("irp", stage.irp)):
        sim.token = f"another-{remote}-token"
        (stage.folder / f"{remote}.token").write_text(sim.token)


def refused(stage: Stage) -> tuple[int, int]:
    return tuple(sum(one.status in (401, 403) for one in sim.requests) for sim in (stage.kuma, stage.irp))  # type: ignore[return-value]  # two sides


async def test_a_token_that_is_rotated_while_the_daemon_idles_costs_each_side_one_request(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with with_token_files(tmp_path, sqlite_url) as stage, stage.working() as runtime:
        stage.kuma.raise_alert()
        await eventually(stage.agrees)
        rotate(stage)
        await eventually(lambda: min(refused(stage)) > 0)
        late = stage.kuma.raise_alert()
        await eventually(lambda: stage.incidents(late))
        jobs, ready = await parked(runtime), runtime.health.ready().ready

    assert refused(stage) == (1, 1)
    assert (jobs, ready) == ([], True)
    assert stage.agrees(), stage.verdict()


async def test_tokens_that_are_rotated_under_load_fail_no_delivery(tmp_path: Path, sqlite_url: str) -> None:
    metrics = Metrics()
    async with with_token_files(tmp_path, sqlite_url) as stage, stage.working(metrics) as runtime:
        stage.irp.knobs.latency = 0.02
        for _ in range(40):
            stage.kuma.raise_alert(events=1)
        await eventually(lambda: len(stage.irp.incidents) > 12)
        rotate(stage)
        await eventually(stage.agrees)

        async def nothing_waits() -> bool:
            return await ask(runtime, lambda tx: tx.delivery.jobs()) == []

        await eventually(nothing_waits)

    in_flight = 8 + 1
    assert 1 <= refused(stage)[1] <= in_flight, "a request that is on its way cannot know"
    assert metric(metrics, "deliveries_total", operation="create", result="ok") == 40
    assert len(stage.wrote("create")) == 40


# Revoked


async def test_a_revoked_token_parks_nothing_and_is_tried_ever_more_seldom(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, retry={"base": "30s", "max": "10m"}) as stage, stage.working() as runtime:
        old = stage.kuma.raise_alert()
        await eventually(lambda: stage.incidents(old))
        good, stage.irp.token = stage.irp.token, "revoked"
        for _ in range(20):
            stage.kuma.raise_alert(events=1)
        gate = runtime.gates["irp"]
        await eventually(lambda: gate.paused)
        await eventually(lambda: all(request.status for request in stage.irp.requests))
        burst, began = refused(stage)[1], time.monotonic()
        gate.pace = replace(gate.pace, policy=replace(gate.pace.policy, base=timedelta(milliseconds=50)))
        gate.wake()  # the burst was counted before the first trial; they begin now, and need no minutes
        await eventually(lambda: refused(stage)[1] >= burst + 10)
        took, jobs = time.monotonic() - began, await parked(runtime)
        await eventually(lambda: len(stage.kuma.shown) == 21)
        stage.irp.token = good
        gate.wake()
        await eventually(stage.agrees)

    assert burst <= 2 * (8 + 1), "what was in flight, each with a question whether it is the token"
    assert took > 0.75 * (0.05 + 0.1 + 0.2 + 0.4), f"five trials, each with its probe, within {took:.2f} s"
    assert jobs == []
    assert len(stage.wrote("create")) == 21


# Asked to wait


async def test_a_wait_that_a_remote_asked_for_outlives_a_reload(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, AsyncExitStack() as stack:
        shared = SharedState(store=open_store(stage.settings()))
        stack.push_async_callback(shared.store.aclose)
        before, after = [await build(stage.settings(), shared, stack) for _ in range(2)]
        for remote, gate in before.gates.items():
            with pytest.raises(Transient):
                async with gate.admit():
                    raise Transient(remote=remote, operation="any", summary="busy", retry_after=timedelta(minutes=1))

        assert [remote for remote, gate in after.gates.items() if gate.open_at() is not None] == ["kuma", "irp"]


async def test_a_proxys_password_is_read_again_from_its_file_and_kept_out_of_logs(
    tmp_path: Path, sqlite_url: str
) -> None:
    secret = tmp_path / "proxy"
    secret.write_text("http://u:0ld-passw0rd@proxy:3128\n")
    async with staged(tmp_path, sqlite_url, kuma={"proxy_file": str(secret)}) as stage:
        endpoint = kuma_endpoint(stage.settings().kuma, Limits())
        secret.write_text("http://u:n3w-passw0rd@proxy:3128\n")

    assert endpoint.proxy() == "http://u:n3w-passw0rd@proxy:3128"
    assert "n3w-passw0rd" not in masked("by http://u:n3w-passw0rd@proxy:3128")
