"""`kuma.write_back`: an incident's number and link become a comment of the alert, once, and nothing waits for it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from copies import start_copy, started
from stage import ask, eventually, leases_run_out, staged, tell, until_proven
from structlog.testing import capture_logs

from kuma_sync.core.alert import AlertId
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.runtime.runner import Runtime

V3: dict[str, Any] = {"api_version": "v3", "write_back": True}
QUICK = replace(Limits(), comments_looked_for=timedelta(milliseconds=100), comment_lease=timedelta(milliseconds=500))


async def history(runtime: Runtime, alert_id: str) -> list[str]:
    return [line.action for line in await ask(runtime, lambda tx: tx.audit.history(alert_id))]


async def test_each_alert_is_given_its_incident_once_also_after_updates_and_a_restart(
    tmp_path: Path, either_url: str
) -> None:
    async with staged(tmp_path, either_url, kuma=V3) as stage:
        for number in range(12):
            stage.kuma.raise_alert(id=f"a{number:02}")
        async with stage.working(limits=QUICK) as runtime:
            await eventually(lambda: len(stage.kuma.comments) == 12)
            await until_proven(runtime)
            stage.kuma.grow("a00")
            await eventually(lambda: len(stage.incident("a00").events) == 4)
            told = await eventually(lambda: history_has(runtime, "a00", "written_back"))
        await stage.passes(2)

        assert told
        for alert_id, text in stage.kuma.comments:
            assert re.fullmatch(rf"Incident INC-\d+: http://\S+{stage.incident(alert_id).id}\S*", text), text
        assert [text.split(":")[0] for _, text in stage.kuma.comments] == [
            f"Incident {stage.incident(alert_id).number}" for alert_id, _ in stage.kuma.comments
        ]
        assert sorted(alert_id for alert_id, _ in stage.kuma.comments) == [f"a{number:02}" for number in range(12)]


async def history_has(runtime: Runtime, alert_id: str, action: str) -> bool:
    return action in await history(runtime, alert_id)


async def test_a_single_pass_writes_them_too(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, kuma=V3) as stage:
        stage.kuma.raise_alert(id="a")
        assert await stage.run_once() == 0

        assert [alert_id for alert_id, _ in stage.kuma.comments] == ["a"]


async def test_a_comment_that_fails_blocks_nothing_and_is_tried_again(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, kuma=V3) as stage:
        stage.kuma.faults.add("status", match="/comment", code=500)
        async with stage.working(limits=QUICK) as runtime:
            for number in range(8):
                stage.kuma.raise_alert(id=f"a{number}")
            await eventually(lambda: len(stage.irp.incidents) == 8)
            await eventually(lambda: sum(one.path.endswith("/comment") for one in stage.kuma.requests) > 8)
            well = runtime.health.ready()
            parked = await ask(runtime, lambda tx: tx.delivery.depths().get("parked", 0))
            stage.kuma.faults.clear()
            await eventually(lambda: len(stage.kuma.comments) == 8)

    assert (well.parts["kuma"].state, well.parts["delivery"].state, parked) == ("ok", "ok", 0)
    assert len({alert_id for alert_id, _ in stage.kuma.comments}) == 8


async def test_a_comment_that_is_refused_is_given_up_and_said_in_the_history(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, kuma=V3) as stage:
        stage.kuma.faults.add("status", match="/comment", code=400, body='{"message": "no"}')
        async with stage.working(limits=QUICK) as runtime:
            with capture_logs() as logs:
                stage.kuma.raise_alert(id="a")
                await eventually(lambda: history_has(runtime, "a", "write_back_refused"))
            left = await ask(runtime, lambda tx: tx.write_backs.count())

    assert left == 0
    assert [line["event"] for line in logs if line["event"].startswith("write_back")] == ["write_back_refused"]


async def test_a_comment_whose_answers_are_lost_is_not_written_again_and_again(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, kuma=V3) as stage:
        stage.kuma.faults.add("reset_after", match="/comment")
        async with stage.working(limits=QUICK) as runtime:
            stage.kuma.raise_alert(id="a")
            await eventually(lambda: history_has(runtime, "a", "write_back_refused"))
            told = [line.detail for line in await ask(runtime, lambda tx: tx.audit.history("a"))]
            left = await ask(runtime, lambda tx: tx.write_backs.count())

    assert (left, len(stage.kuma.comments)) == (0, 2)
    assert [detail for detail in told if "written" in detail] == ["connection broken; it may have been written"]


async def test_a_crash_between_answer_and_store_repeats_a_comment_once_at_most(tmp_path: Path, either_url: str) -> None:
    async with staged(tmp_path, either_url, kuma=V3) as stage:
        stage.kuma.raise_alert(id="a")
        async with stage.working(limits=QUICK):
            await eventually(lambda: stage.kuma.comments)
        async with stage.working(limits=QUICK) as runtime:
            # As a process left it that died after KUMA's answer: taken, and not done.
            await tell(runtime, lambda tx: tx.write_backs.put([AlertId("a")]))
            await eventually(lambda: len(stage.kuma.comments) == 2)
            await eventually(lambda: ask(runtime, lambda tx: tx.write_backs.count() == 0))

    assert len(stage.kuma.comments) == 2


async def test_a_daemon_killed_while_it_writes_a_comment_loses_none(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url, kuma=V3) as stage:
        for number in range(8):
            stage.kuma.raise_alert(id=f"a{number}")
        stage.kuma.faults.add("hang", match="/comment", times=1)
        first = start_copy(stage, limits=QUICK)
        await eventually(lambda: any(one.path.endswith("/comment") for one in stage.kuma.requests), within=60)
        first.process.kill()
        await first.ended()
        await leases_run_out(stage)
        second = start_copy(stage, limits=QUICK)
        await started(second)
        await eventually(lambda: len({alert_id for alert_id, _ in stage.kuma.comments}) == 8, within=30)

    assert len(stage.kuma.comments) == 8
    assert len(stage.wrote("create")) == 8


async def test_an_incident_that_was_there_already_gets_no_comment(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, kuma=V3) as stage:
        stage.kuma.raise_alert(id="a")
        stage.irp.create({"externalId": "kuma:kuma:a", "title": "from an earlier store"})
        await stage.passes(2)

        assert stage.incidents("a")
        assert stage.kuma.comments == []


async def test_with_another_version_it_is_off_and_warns(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, kuma={"api_version": "v1", "write_back": True}) as stage:
        stage.kuma.raise_alert(id="a")
        await stage.passes(2)
        warnings = [*map(str, stage.settings().warnings)]

        assert stage.incidents("a")
        assert [one for one in stage.kuma.requests if one.path.endswith("/comment")] == []
        assert 'kuma.write_back: is off: only with kuma.api_version = "v3" can an alert be given a comment' in warnings
