"""Restarts, reloads, empty answers and a hammered door: nothing is forgotten, nothing runs twice."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

from stage import Child, Stage, ask, eventually, staged

from kuma_sync.sync.runtime.single_pass import once

CLOSE = "/api/v1/alerts/close"


async def test_an_empty_answer_neither_moves_nor_loses_the_watermark(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            before = (await ask(runtime, lambda tx: tx.cursor.read())).watermark
            stage.kuma.faults.add("status", code=200, body="[]", match="/alerts/?")
            await once(runtime)
            await runtime.poller.poll_once()
            after = (await ask(runtime, lambda tx: tx.cursor.read())).watermark
        stage.kuma.faults.clear()
        late = stage.kuma.raise_alert()
        await stage.passes()

    assert before is not None
    assert after == before
    assert stage.incidents(late)
    assert len(stage.wrote("create")) == len(stage.irp.incidents) == 2


async def test_a_configuration_that_is_read_again_five_times_polls_no_more_often(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, poll={"interval": "300ms", "sweep_interval": "10m"}) as stage:
        stage.kuma.raise_alert()
        async with stage.daemon() as daemon:
            await eventually(lambda: stage.irp.incidents)
            for number in range(1, 6):
                await _hung_up(daemon, number)
            took = await _four_polls_take(stage)

    assert took > 4 * 0.3 * 0.8, f"four polls within {took:.2f} s"
    assert len(stage.irp.incidents) == 1


async def test_what_was_swept_is_known_after_a_reload_unless_it_asks_for_more(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, poll={"sweep_interval": "10m"}) as stage:
        stage.kuma.raise_alert()
        async with stage.daemon() as daemon:
            await eventually(lambda: stage.irp.incidents)
            await eventually(lambda: sum("from=" in query for query in stage.queries()) > 2)  # the first round is over
            await _hung_up(daemon, 1)
            seen = stage.kuma.raise_alert()
            await eventually(lambda: stage.incidents(seen))

            hidden = stage.kuma.raise_alert()
            stage.kuma.assign(hidden)
            stage.configure(kuma={"statuses": ["new", "assigned"]})
            await _hung_up(daemon, 2)
            await eventually(lambda: stage.incidents(hidden))

    looked = [request.query for request in stage.irp.requests if "externalId=" in request.query]
    assert [alert_id for alert_id in (seen, hidden) if any(alert_id in query for query in looked)] == [hidden]


async def _hung_up(daemon: Child, number: int) -> None:
    daemon.process.send_signal(signal.SIGHUP)
    await eventually(lambda: len(daemon.says("configuration_reloaded")) == number)


async def _four_polls_take(stage: Stage) -> float:
    """Measure from one poll to the fourth after it; each asks once what was published late."""

    def polls() -> int:
        return sum("from=" in query and "withEvents" not in query for query in stage.queries())

    # A new crew polls at once; what is measured begins with the poll after that.
    first = polls()
    await eventually(lambda: polls() > first + 1)
    began, first = time.monotonic(), polls()
    await eventually(lambda: polls() >= first + 4)
    return time.monotonic() - began


async def test_a_door_that_is_hammered_two_hundred_times_closes_once(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, close={"watch": False}) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.door() as client:
            await eventually(lambda: stage.incidents(alert_id))
            body = {"id": alert_id, "reason": "responded"}
            for _ in range(10):
                answers = await asyncio.gather(*(client.post(CLOSE, json=body) for _ in range(20)))
                assert {answer.status_code for answer in answers} == {204}
            await eventually(lambda: stage.kuma.closes)
        async with stage.runtime() as runtime:
            left = await ask(runtime, lambda tx: tx.closes.jobs())

    assert stage.kuma.closes == [(alert_id, "responded")]
    assert len(stage.kuma.close_calls) == 1
    assert left == []
