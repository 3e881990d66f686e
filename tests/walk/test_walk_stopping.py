"""The daemon as a process: stopped, killed, started again, told to read its configuration anew."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import tempfile
import time
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from stage import Child, Stage, change_profile, eventually, leases_run_out, staged
from structlog.testing import capture_logs

from kuma_sync.app import lifecycle
from kuma_sync.app.build import SharedState
from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.settings import Settings
from kuma_sync.sim.values import Json
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.runtime.monitor import Heart
from kuma_sync.sync.runtime.runner import Runtime


def raise_alerts(stage: Stage, number: int) -> None:
    for _ in range(number):
        stage.kuma.raise_alert(events=2)


def bodies_seen(stage: Stage) -> list[Json]:
    return [body for _, body in stage.wrote("create")]


async def drained(stage: Stage) -> None:
    """Start anew and work until both sides agree, then stop."""
    async with stage.working():
        await eventually(stage.agrees, within=40)


async def test_a_daemon_told_to_stop_under_load_ends_what_is_in_flight_and_loses_nothing(
    tmp_path: Path, database_url: str
) -> None:
    async with staged(tmp_path, database_url) as stage:
        raise_alerts(stage, 60)
        stage.irp.knobs.latency = 0.15
        daemon = stage.start()
        await eventually(lambda: len(stage.irp.incidents) >= 20, within=60)

        daemon.process.terminate()
        asked = time.monotonic()
        code = await daemon.ended()
        took = time.monotonic() - asked

        made = len(stage.irp.incidents)
        assert (code, took < 10) == (0, True)
        assert daemon.says("stopped")
        assert made < 60, "the test wants to stop it in the middle"
        assert all(request.complete for request in stage.irp.requests), "nothing in flight was cut off"
        stage.irp.knobs.latency = 0
        await drained(stage)

    assert len(stage.irp.incidents) == len(bodies_seen(stage)) == 60


async def test_a_killed_daemon_loses_and_doubles_nothing(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url) as stage:
        raise_alerts(stage, 50)
        stage.irp.knobs.latency = 0.05

        for share in (8, 22):
            child = stage.start()
            await eventually(lambda share=share: len(stage.irp.incidents) >= share)
            child.process.kill()
            assert await child.ended() == -signal.SIGKILL
            for alert_id in list(stage.kuma.alerts)[:5]:
                stage.kuma.grow(alert_id)
            await leases_run_out(stage)
        assert len(stage.irp.incidents) < 50, "the test wants to kill it in the middle"
        await drained(stage)

    assert not stage.irp.knobs.unique_key, "this IRP would take a double"
    assert len(stage.irp.incidents) == len(bodies_seen(stage)) == 50


async def test_a_second_signal_ends_the_daemon_at_once(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, run={"grace": "2m"}, irp={"read_timeout": "2m"}) as stage:
        raise_alerts(stage, 3)
        stage.irp.faults.add("hang", method="POST")
        daemon = stage.start()
        await eventually(lambda: any(request.method == "POST" for request in stage.irp.requests))

        daemon.process.terminate()
        await eventually(lambda: daemon.says("stopping"))
        daemon.process.terminate()
        code = await daemon.ended(within=30)

    assert code == 0
    assert daemon.says("stopped_at_once")


async def test_the_grace_ends_a_daemon_whose_irp_hangs_and_the_exit_code_is_still_zero(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, run={"grace": "500ms"}, irp={"read_timeout": "2m"}) as stage:
        raise_alerts(stage, 3)
        stage.irp.faults.add("hang", method="POST")
        daemon = stage.start()
        await eventually(lambda: any(request.method == "POST" for request in stage.irp.requests))

        daemon.process.terminate()
        code = await daemon.ended(within=30)
        stage.irp.faults.clear()
        await drained(stage)

    assert code == 0
    assert daemon.says("grace_ran_out")
    assert len(stage.irp.incidents) == 3


async def hung_up(daemon: Child, event: str) -> None:
    """Send SIGHUP and wait until the daemon has said what came of it."""
    before = len(daemon.says(event))
    daemon.process.send_signal(signal.SIGHUP)
    await eventually(lambda: len(daemon.says(event)) > before)


async def test_a_changed_configuration_is_taken_over_without_a_restart(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll={"interval": "10m", "sweep_interval": "10m"}) as stage:
        first, second = stage.kuma.raise_alert(), stage.kuma.raise_alert()
        async with stage.daemon() as daemon:
            await eventually(lambda: len(stage.irp.incidents) == 2)
            stage.irp.analyst_close(stage.incident(first).id, "Solved")
            await eventually(lambda: stage.kuma.closes == [(first, "responded")])

            stage.configure(close={"reasons": {"Solved": "incorrect data"}}, poll={"interval": "200ms"})
            await hung_up(daemon, "configuration_reloaded")
            stage.irp.analyst_close(stage.incident(second).id, "Solved")
            third = stage.kuma.raise_alert()
            await eventually(lambda: len(stage.kuma.closes) == 2 and len(stage.irp.incidents) == 3)

    assert stage.kuma.closes[1] == (second, "incorrect data")
    assert stage.incident(third).status == "open"
    assert stage.irp.doubled() == []


async def test_a_job_in_flight_ends_on_the_old_configuration_while_the_new_one_waits(
    tmp_path: Path, sqlite_url: str
) -> None:
    def finds(stage: Stage) -> int:
        return sum(first in request.query for request in stage.irp.requests)

    async with staged(tmp_path, sqlite_url, run={"grace": "2m"}) as stage:
        first = stage.kuma.raise_alert()
        hang = stage.irp.faults.add("hang", method="POST")
        async with stage.daemon() as daemon:
            await eventually(lambda: hang.waiting)
            before = finds(stage)

            warned = len(daemon.says("configuration"))
            stage.configure(irp={"options": {"organization": "North"}})
            daemon.process.send_signal(signal.SIGHUP)
            await eventually(lambda: len(daemon.says("configuration")) > warned)
            late = stage.kuma.raise_alert()
            await asyncio.sleep(0.3)  # nothing can be waited for: nothing happens
            early = daemon.says("configuration_reloaded")
            stage.irp.faults.clear()
            await eventually(lambda: stage.incidents(late))

    assert early == [], "the new one begins when the old one has ended"
    assert len(daemon.says("configuration_reloaded")) == 1
    assert len(stage.wrote("create")) == 2
    assert finds(stage) == before + 1, "nothing was in doubt: only whether a first create is shown"


@pytest.mark.parametrize("remote", ["kuma", "irp"])
async def test_a_paused_side_is_tried_at_once_when_the_configuration_is_read_again(
    tmp_path: Path, sqlite_url: str, remote: str
) -> None:
    async with staged(tmp_path, sqlite_url, retry={"base": "5m", "max": "10m"}) as stage, stage.daemon() as daemon:
        first = stage.kuma.raise_alert()
        await eventually(lambda: stage.incidents(first))
        (stage.kuma if remote == "kuma" else stage.irp).token = "another"
        second = stage.kuma.raise_alert()
        await eventually(lambda: daemon.says("side_paused"))

        stage.configure(**{remote: {"token": "another"}})
        await hung_up(daemon, "configuration_reloaded")
        await eventually(lambda: stage.incidents(second))

    assert [line["remote"] for line in daemon.says("side_paused")] == [remote]


async def test_a_wrong_configuration_is_refused_by_its_key_and_the_old_one_stays(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.daemon() as daemon:
        for section, keys in (
            ("irp", {"url": "http://127.0.0.1:9"}),
            ("kuma", {"instance": "other"}),
            ("close", {"reasons": {"Solved": "no such reason"}}),
            ("poll", {"ignore_before": "0001-01-01T00:00:00+05:00"}),
        ):
            old = dict(stage.tables[section])
            stage.configure(**{section: keys})
            await hung_up(daemon, "configuration_refused")
            stage.tables[section] = old
        stage.config.write_text("[kuma\n")
        await hung_up(daemon, "configuration_refused")

        alert_id = stage.kuma.raise_alert()
        await eventually(lambda: stage.incidents(alert_id))

    keys = [line["key"] for line in daemon.says("configuration_refused")]
    assert keys[:2] == ["irp.url", "kuma.instance"]
    assert keys[2].startswith("close.reasons")
    assert keys[3:] == ["poll.ignore_before", str(stage.config)]


async def test_a_reload_lists_the_keys_that_changed_and_never_what_they_say(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, lambda text: text)
        async with stage.daemon() as daemon:
            stage.configure(
                close={"reasons": {"False positive": "responded", "canary-1": "incorrect data"}},
                poll={"interval": "300ms"},
                irp={"token": stage.irp.token, "options": {"organization": "canary-2"}},
                web={"tokens": {"security-vision": "canary-3-token"}},
            )
            await hung_up(daemon, "configuration_reloaded")
            change_profile(stage, lambda text: text.replace("Medium", "Middle"))
            await hung_up(daemon, "configuration_reloaded")
            await hung_up(daemon, "configuration_reloaded")
        log = daemon.log.read_text()

    first, *later = [(line["keys"], line["profile_changed"]) for line in daemon.says("configuration_reloaded")]
    assert first == (
        [
            "poll.interval",
            "irp.options.organization",
            "close.reasons.False positive",
            "close.reasons.canary-1",
            "web.tokens.security-vision",
        ],
        False,
    )
    assert later == [([], True), ([], False)]
    assert "canary-2" not in log
    assert "canary-3" not in log


async def test_a_refused_reload_shows_in_metric_readiness_and_systemd_until_one_is_taken(
    tmp_path: Path, sqlite_url: str
) -> None:
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{folder}/notify")
        manager.setblocking(False)
        env = {"NOTIFY_SOCKET": f"{folder}/notify"}
        async with staged(tmp_path, sqlite_url) as stage, stage.door(env=env) as client:
            fine = await shown(client)
            stage.configure(poll={"intervall": "5s"})
            os.kill(os.getpid(), signal.SIGHUP)
            await eventually(lambda: refusals(client))
            refused = await shown(client)
            status = await eventually(lambda: heard(manager, "configuration on disk refused: "))
            del stage.tables["poll"]["intervall"]
            stage.configure()
            os.kill(os.getpid(), signal.SIGHUP)
            await eventually(lambda: no_refusals(client))
            again = await shown(client)

    sentence = "poll.intervall: is not a known key, did you mean poll.interval?"
    assert fine == again == (200, None, 0.0)
    assert refused == (200, sentence, 1.0)
    assert status.endswith(f"configuration on disk refused: {sentence}")


@pytest.mark.parametrize(("within", "told"), [(timedelta(minutes=5), False), (timedelta(0), True)])
async def test_the_service_manager_is_told_of_the_start_once_other_processes_see_it(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, within: timedelta, told: bool
) -> None:
    may_beat, beat = asyncio.Event(), Heart.beat

    async def held_back(heart: Heart) -> None:
        await may_beat.wait()
        await beat(heart)

    monkeypatch.setattr(Heart, "beat", held_back)
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{folder}/notify")
        manager.setblocking(False)
        limits, env = Limits(begun_within=within), {"NOTIFY_SOCKET": f"{folder}/notify"}
        async with staged(tmp_path, sqlite_url) as stage, stage.door(env=env, limits=limits) as client:
            await eventually(lambda: is_ready(client))
            before = heard(manager, "READY=1")
            may_beat.set()
            after = before or await eventually(lambda: heard(manager, "READY=1"))

    assert (bool(before), bool(after)) == (told, True)


async def shown(client: httpx.AsyncClient) -> tuple[int, str | None, float]:
    """Return how ready the daemon is, which refusal it tells, and the metric."""
    await eventually(lambda: is_ready(client))
    ready, metrics = await client.get("/readyz"), await client.get("/metrics")
    (refused,) = re.findall(r"(?m)^kuma_sync_config_refused (\S+)$", metrics.text)
    return ready.status_code, ready.json().get("configuration_refused"), float(refused)


async def is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/readyz")).status_code == 200


async def refusals(client: httpx.AsyncClient) -> bool:
    return "configuration_refused" in (await client.get("/readyz")).json()


async def no_refusals(client: httpx.AsyncClient) -> bool:
    return not await refusals(client)


def heard(manager: socket.socket, words: str) -> str:
    """Return the status that a service manager heard, if one holds these words."""
    while True:
        try:
            message = manager.recv(65536).decode()
        except BlockingIOError:
            return ""
        if words in message:
            return message


async def test_a_profile_that_changed_its_name_is_refused_for_the_store_knows_the_old_one(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, lambda text: text)
        async with stage.daemon() as daemon:
            change_profile(stage, lambda text: text.replace('name = "security-vision"', 'name = "ours"', 1))
            await hung_up(daemon, "configuration_refused")

    assert [line["key"] for line in daemon.says("configuration_refused")] == ["irp.profile"]


async def test_what_should_not_stay_so_is_told_at_every_start_and_after_every_reload(
    tmp_path: Path, sqlite_url: str
) -> None:
    def told(child: Child) -> list[str]:
        problems = [line["problem"] for line in child.says("configuration")]
        return [problem.split(":")[0] for problem in problems if "verify_tls" in problem]

    async with staged(tmp_path, sqlite_url, irp={"verify_tls": False}) as stage:
        once = stage.start("--once")
        assert await once.ended() == 0
        async with stage.daemon() as daemon:
            stage.configure(kuma={"verify_tls": False})
            await hung_up(daemon, "configuration_reloaded")

    assert told(once) == ["irp.verify_tls"]
    assert told(daemon) == ["irp.verify_tls", "kuma.verify_tls", "irp.verify_tls"]


async def test_a_bug_in_a_reload_does_not_end_the_daemon_and_leaves_nothing_open(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    async def make_half(_settings: Settings, _shared: SharedState, stack: AsyncExitStack, **_given: object) -> Runtime:
        stack.callback(steps.append, "closed")
        steps.append("opened")
        raise ZeroDivisionError

    async with staged(tmp_path, sqlite_url) as stage, stage.door():
        monkeypatch.setattr(lifecycle, "build", make_half)
        os.kill(os.getpid(), signal.SIGHUP)
        await eventually(lambda: len(steps) == 2)

        alert_id = stage.kuma.raise_alert()
        await eventually(lambda: stage.incidents(alert_id))

    assert steps == ["opened", "closed"]


async def test_remotes_and_store_that_are_away_at_the_start_are_waited_for(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        await stage.kuma_server.stop()
        await stage.irp_server.stop()
        async with stage.daemon() as daemon:
            await eventually(lambda: daemon.says("poll_failed"))
            await stage.kuma_server.start()
            await eventually(lambda: daemon.says("delivery_failed") or daemon.says("side_paused"))
            assert daemon.process.returncode is None
            await stage.irp_server.start()

            await eventually(lambda: stage.incidents(alert_id))

    assert stage.agrees(), stage.verdict()


async def test_a_start_without_its_store_says_so_once_and_when_that_is_over(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons, make_ready = ["away", "away", "locked", "locked"], lifecycle.make_ready

    async def late(*arguments: Any, **named: Any) -> None:
        if reasons:
            raise StoreUnavailable(reasons.pop(0))
        await make_ready(*arguments, **named)

    monkeypatch.setattr(lifecycle, "make_ready", late)
    async with staged(tmp_path, sqlite_url) as stage:
        limits = Limits(store_tried_again=timedelta(milliseconds=10))
        with capture_logs() as logs:
            async with stage.door(limits=limits):
                pass

    told = [(line["event"], line.get("reason")) for line in logs if line["event"].startswith("store_")]
    assert told == [("store_unavailable", "away"), ("store_unavailable", "locked"), ("store_recovered", None)]


async def test_a_second_daemon_on_the_same_file_refuses_to_start(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.daemon():
        second = stage.start()

        assert await second.ended() == 1


async def test_a_store_of_another_kuma_or_irp_is_refused(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.kuma.raise_alert()
        await stage.passes()

        stage.configure(kuma={"instance": "other"})
        child = stage.start("--once")
        code = await child.ended()

    assert code == 2
    assert "kuma.instance" in child.log.read_text()
    assert len(stage.irp.incidents) == 1
