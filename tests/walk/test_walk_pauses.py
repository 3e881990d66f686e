"""What an operator paused is asked nothing, and nothing is lost by it; a running daemon obeys by itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from forked import ended
from stage import Stage, ask, eventually, staged, tell
from stores import Clock, opened
from structlog.testing import capture_logs
from test_walk_targets import two

from kuma_sync.app.build import open_store
from kuma_sync.core.maintenance import Maintenance
from kuma_sync.store import Store, Tx
from kuma_sync.sync import failpoint
from kuma_sync.sync.handout.expecting import Expecting
from kuma_sync.sync.handout.giving import Puller
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.remote.maintenance import Pausable, Paused
from kuma_sync.telemetry.health import Health

QUICK = replace(
    Limits(),
    maintenance_looked_for=timedelta(milliseconds=100),
    maintenance_wait=timedelta(milliseconds=200),
    brief=timedelta(milliseconds=500),
)


def in_store(stage: Stage, work: Callable[[Tx], object]) -> None:
    """Change the store as a command does, beside whoever works on it."""
    store: Store = open_store(stage.settings())
    try:
        with store.writing() as tx:
            work(tx)
    finally:
        store.close()


def pause(stage: Stage, part: str, *, until: datetime | None = None) -> None:
    in_store(stage, lambda tx: tx.pauses.begin(part, until=until, by="operator:anna"))


def resume(stage: Stage, part: str) -> None:
    in_store(stage, lambda tx: tx.pauses.end(part))


async def state_of(door: httpx.AsyncClient, part: str, state: str) -> dict[str, Any] | None:
    """Return the answer of /readyz once a part is in a state."""
    answer = await door.get("/readyz")
    body: dict[str, Any] = answer.json() | {"status": answer.status_code}
    return body if body["parts"][part]["state"] == state else None


class Turns:
    """How often each loop began a turn: what is not asked for in several turns is not asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun: Counter[str] = Counter()
        monkeypatch.setattr(failpoint, "in_turn", self._note)

    async def _note(self, loop: str) -> None:
        self.begun[loop] += 1

    async def during(self, counted: Callable[[], int], *loops: str) -> int:
        """Let these loops turn three times; return by how much a number has grown meanwhile."""
        before, number = Counter(self.begun), counted()
        await eventually(lambda: all(self.begun[loop] >= before[loop] + 3 for loop in loops))
        return counted() - number


async def test_paused_kuma_gets_no_request_and_readiness_stays(
    tmp_path: Path, either_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = Turns(monkeypatch)
    async with staged(tmp_path, either_url) as stage, stage.door(limits=QUICK) as door:
        stage.kuma.raise_alert(id="before")
        await eventually(lambda: stage.incidents("before"))
        pause(stage, "kuma")
        body = await eventually(lambda: state_of(door, "kuma", "paused"))
        stage.irp.analyst_close(stage.incident("before").id, "False positive")
        stage.kuma.raise_alert(id="meanwhile")

        with capture_logs() as logs:
            asked = await turns.during(lambda: len(stage.kuma.requests), "poll", "close")
        later = (await door.get("/readyz")).json()
        metrics = (await door.get("/metrics")).text
        resume(stage, "kuma")
        await eventually(lambda: stage.incidents("meanwhile"))
        await eventually(lambda: dict(stage.kuma.closes) == {"before": "incorrect data"})

    assert asked == 0
    assert body["status"] == 200
    assert [later["parts"][part]["state"] for part in ("kuma", "poll", "close", "irp")] == [*["paused"] * 3, "ok"]
    assert later["state"] == "ready"
    assert later["parts"]["poll"]["reason"] == "an operator paused kuma until `kuma-sync resume kuma`"
    assert 'kuma_sync_paused{part="kuma"} 1.0' in metrics
    assert not [line for line in logs if line["log_level"] in ("warning", "error")]


async def test_paused_closings_wait_while_kuma_is_read(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = Turns(monkeypatch)
    async with staged(tmp_path, sqlite_url) as stage, stage.door(limits=QUICK) as door:
        stage.kuma.raise_alert(id="a")
        await eventually(lambda: stage.incidents("a"))
        pause(stage, "close")
        await eventually(lambda: state_of(door, "close", "paused"))
        stage.irp.analyst_close(stage.incident("a").id, "False positive")
        stage.kuma.raise_alert(id="b")
        await eventually(lambda: stage.incidents("b"))
        await eventually(lambda: open_closings(stage))

        tried = await turns.during(lambda: posts(stage), "close")
        resume(stage, "close")
        await eventually(lambda: dict(stage.kuma.closes) == {"a": "incorrect data"})

    assert tried == 0


def posts(stage: Stage) -> int:
    return sum(request.method == "POST" for request in stage.kuma.requests)


def open_closings(stage: Stage) -> int:
    waiting: list[int] = []
    in_store(stage, lambda tx: waiting.append(tx.closes.depths().get("pending", 0)))
    return waiting[0]


async def test_a_paused_target_waits_alone_and_burns_no_attempt(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = Turns(monkeypatch)
    async with two(tmp_path, sqlite_url) as w, w.stage.door(limits=QUICK) as door:
        pause(w.stage, "north")
        await eventually(lambda: state_of(door, "irp:north", "paused"))
        w.alert("n")
        w.alert("m", tenant="Main")
        await eventually(lambda: w.stage.incidents("m"))

        asked = await turns.during(lambda: len(w.north.requests), "delivery:north", "poll")
        body = (await door.get("/readyz")).json()
        attempts: list[int] = []
        in_store(w.stage, lambda tx: attempts.extend(job.attempts for job in tx.delivery.jobs()))
        resume(w.stage, "north")
        await eventually(lambda: w.north.by_key("kuma:kuma:n"))

    assert (asked, attempts) == (0, [0])
    assert (body["state"], body["parts"]["delivery:north"]["state"], body["parts"]["irp"]["state"]) == (
        *("ready", "paused"),
        "ok",
    )


async def test_what_fails_under_a_pause_is_told_with_it_and_is_no_alarm(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.door(limits=QUICK) as door:
        stage.irp.faults.add("status", code=503)
        alert_id = stage.kuma.raise_alert()
        failing = await eventually(lambda: state_of(door, "irp", "paused"))
        pause(stage, "irp")
        told = await eventually(lambda: _told_of(stage, "It also fails since"))
        body = (await door.get("/readyz")).json()
        shown = await ended("show", alert_id, "-c", str(stage.config))

    assert "out of service" in failing["parts"]["irp"]["reason"]
    assert re.search(r"^irp PAUSED by operator:anna since .*\. It also fails since .*: out of serv", told, re.MULTILINE)
    assert re.search(r"^irp is paused \(by operator:anna; .*1 waits\. It also fails since .*503", told, re.MULTILINE)
    assert (body["state"], "operator paused irp" in body["parts"]["irp"]["reason"]) == ("ready", True)
    assert "IRP also fails since" in shown[1]


async def _told_of(stage: Stage, wanted: str) -> str:
    """Return what `status` prints, once it has these words and calls all well."""
    code, out, _ = await ended("status", "-c", str(stage.config))
    told = re.sub(r"\n +", " ", out)
    return told if code == 0 and wanted in told else ""


async def test_an_irp_that_polls_us_is_answered_while_it_is_paused_and_shown_nothing_new(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = Turns(monkeypatch)
    irp = {"profile": "security-vision-pull", "token": "pull-token", "url": "", "expect_every": "1s", "repeat_for": 0}
    async with staged(tmp_path, sqlite_url, irp=irp) as stage, stage.door(limits=QUICK) as door:

        async def shown() -> list[str]:
            answer = await door.get(
                "/api/v1/alerts/?withEvents&status=new", headers={"Authorization": "Bearer pull-token"}
            )
            return [item["id"] for item in answer.json()]

        before = stage.kuma.raise_alert()
        await eventually(shown)
        pause(stage, "irp")
        await eventually(lambda: state_of(door, "irp", "paused"))
        stage.kuma.grow(before)
        new = stage.kuma.raise_alert()
        await turns.during(lambda: 0, "delivery", "poll")
        meanwhile = await shown()
        closing = {"id": before, "reason": "responded"}
        closed = await door.post("/api/v1/alerts/close", json=closing, headers={"Authorization": "Bearer pull-token"})
        await eventually(lambda: stage.kuma.closes)
        unmissed = await eventually(lambda: state_of(door, "irp", "paused"))
        resume(stage, "irp")
        afterwards = await eventually(shown)

    assert (meanwhile, closed.status_code, unmissed["status"]) == ([], 204, 200)
    assert (afterwards, stage.kuma.closes) == ([new], [(before, "responded")])


async def test_a_pause_ends_by_itself(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        pause(stage, "irp", until=datetime.now(UTC) + timedelta(seconds=1.5))
        async with stage.working(limits=QUICK) as runtime:
            stage.kuma.raise_alert(id="a")
            await eventually(lambda: ask(runtime, lambda tx: tx.delivery.depths().get("pending")))
            assert not stage.irp.requests
            await eventually(lambda: stage.incidents("a"))


async def test_a_single_pass_leaves_alone_what_is_paused_and_says_so(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.kuma.raise_alert(id="a")
        async with stage.runtime() as runtime:
            await tell(runtime, lambda tx: tx.pauses.begin("irp", until=None, by="operator:anna"))
        waits = stage.start("--once")
        first = await waits.ended()
        asked = len(stage.irp.requests)
        resume(stage, "irp")
        second = await stage.run_once()
        pause(stage, "kuma")
        reads = len(stage.kuma.requests)
        third = stage.start("--once")
        third_code = await third.ended()

    assert (first, asked) == (1, 0)
    assert "1 waiting, 0 held, 0 parked; an operator paused irp" in waits.log.read_text()
    assert second == 0
    assert (third_code, len(stage.kuma.requests) - reads) == (1, 0)
    assert "an operator paused kuma until `kuma-sync resume kuma`: left alone" in third.log.read_text()


async def test_an_incident_that_waits_for_its_second_look_is_not_late_because_of_a_pause(
    tmp_path: Path, sqlite_url: str
) -> None:
    limits = replace(QUICK, proof_late=timedelta(seconds=3), proof_looked_for=timedelta(milliseconds=50))
    async with staged(tmp_path, sqlite_url) as stage:
        stage.irp.knobs.find_lag = 1
        stage.kuma.raise_alert(id="a")
        async with stage.working(limits=limits) as runtime:
            await eventually(lambda: ask(runtime, lambda tx: [one for one in tx.links.unshown() if one.not_found_at]))
            pause(stage, "irp")
            await eventually(lambda: runtime.targets["irp"].gate.maintenance)
            stage.kuma.raise_alert(id="b")
            with capture_logs() as logs:
                await eventually(lambda: ask(runtime, lambda tx: late(tx, by=timedelta(seconds=4))))
                resume(stage, "irp")
                await eventually(lambda: stage.incidents("b"))

    assert not [line for line in logs if line["event"] == "side_paused"]


def late(tx: Tx, *, by: timedelta) -> bool:
    return all(tx.now - one.not_found_at > by for one in tx.links.unshown() if one.not_found_at)


async def test_an_irp_that_polls_us_is_not_missed_while_it_is_paused(sqlite_url: str) -> None:
    clock, health, paused = Clock(), Health(monotonic=lambda: 0.0), Paused()
    within = timedelta(minutes=10)
    puller = Puller(name="irp", repeat_for=within, expect_every=within)
    async with opened(sqlite_url, clock=clock) as store:
        pausable = Pausable(parts=("irp",), paused=paused)
        expecting = Expecting(puller, store=store, health=health, clock=clock, pausable=pausable)
        paused.learn([Maintenance(part="irp", since=clock(), until=clock() + timedelta(hours=1), by="anna")])

        with capture_logs() as during:
            clock.advance(minutes=59)
            await expecting.look(within)
            clock.advance(minutes=9)
            await expecting.look(within)
        with capture_logs() as after:
            clock.advance(minutes=2)
            await expecting.look(within)

        with capture_logs() as paused_again:
            paused.learn([Maintenance(part="irp", since=clock(), until=clock() + timedelta(hours=1), by="anna")])
            clock.advance(minutes=59)
            await expecting.look(within)
            clock.advance(minutes=5)
            await expecting.look(within)

    assert not during
    assert [line["event"] for line in after] == ["nobody_asks"]
    assert not paused_again, "nobody asked again"
