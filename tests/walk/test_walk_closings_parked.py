"""Closings that must not wait, that are refused, and that a dead worker left half done."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from stage import Stage, ask, change_profile, eventually, leases_run_out, parked, staged, state_of, tell, until_rest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kuma_sync.sim.faults import Exchange, Faults, answer_status
from kuma_sync.store.jobs import JobState
from kuma_sync.sync import operator
from kuma_sync.sync.runtime.single_pass import once

PENDING = 100
CLOSED = 10


async def test_ten_closings_are_sent_before_hundreds_of_updates_that_waited_longer(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        ids = [stage.kuma.raise_alert(events=0) for _ in range(PENDING + CLOSED)]
        await once(runtime)
        for alert_id in ids[CLOSED:]:
            stage.kuma.edit(alert_id, assignee="i.petrova")
        await runtime.poller.poll_once(sweep=True)
        waiting = (await ask(runtime, lambda tx: tx.delivery.depths()))["pending"]
        for alert_id in ids[:CLOSED]:
            stage.kuma.close(alert_id, "responded")
        await runtime.poller.poll_once(sweep=True)
        before = len(stage.irp.writes)
        await runtime.targets["irp"].deliveries.drain()

    order = [deed for deed, _, _ in stage.irp.writes[before:]]
    last = max(position for position, deed in enumerate(order) if deed == "close")
    assert waiting == PENDING
    assert (order.count("close"), order.count("update")) == (CLOSED, PENDING + CLOSED)
    assert last < 2 * CLOSED + 8, "each closing tells the alert's last status first; eight jobs are in flight"
    assert stage.agrees(), stage.verdict()


class WantsACode(Faults):
    """An IRP whose workflow lets nobody close an incident without a code."""

    async def around(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].endswith("/close"):
            await app(scope, receive, send)
            return
        message = await receive()

        async def again() -> Message:
            return message

        if "closureCode" not in json.loads(message["body"]):
            refusal = {"message": "the transition demands a closureCode"}
            exchange = Exchange(app=app, scope=scope, receive=again, send=send)
            await answer_status(exchange, code=422, headers={}, body=refusal)
            return
        await app(scope, again, send)


async def test_a_closing_refused_for_a_missing_field_is_parked_after_one_try(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.irp.faults = WantsACode()
        alert_id = stage.kuma.raise_alert()
        await stage.passes()
        stage.kuma.close(alert_id, "responded")
        async with stage.runtime() as runtime:
            await once(runtime)
            await once(runtime)
            await until_rest(runtime)
            jobs, tries = await parked(runtime), _closes(stage)
            incident = stage.incident(alert_id).status
        change_profile(stage, lambda text: text.replace("[close.body]\n", '[close.body]\nclosureCode = "77"\n'))
        async with stage.runtime() as runtime:
            await tell(runtime, lambda tx: operator.retry(tx, [alert_id], by="cli"))
            await until_rest(runtime)
            left = await parked(runtime)

    assert [job.subject for job in jobs] == [alert_id]
    assert "422" in jobs[0].reason
    assert "the transition demands a closureCode" in jobs[0].reason
    assert (tries, incident) == (1, "open")
    assert (_closes(stage), stage.incident(alert_id).status, left) == (2, "closed", [])


def _closes(stage: Stage) -> int:
    return sum(request.path.endswith("/close") for request in stage.irp.requests)


async def test_a_resolution_without_a_reason_is_parked_until_listed_and_retried(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, close={"default_reason": ""}) as stage:
        alert_id = stage.kuma.raise_alert()
        await stage.passes()
        stage.irp.analyst_close(stage.incident(alert_id).id, "Dealt with")
        async with stage.runtime() as runtime:
            await once(runtime)
            await once(runtime)
            jobs, sent = await parked(runtime), len(stage.kuma.close_calls)
        stage.configure(close={"reasons": {"Dealt with": "incorrect correlation rule"}})
        async with stage.runtime() as runtime:
            await tell(runtime, lambda tx: operator.retry(tx, [alert_id], by="cli"))
            await until_rest(runtime)
            left = await parked(runtime)

    assert [job.subject for job in jobs] == [alert_id]
    assert "has no reason for KUMA" in jobs[0].reason
    assert sent == 0
    assert stage.kuma.closes == [(alert_id, "incorrect correlation rule")]
    assert left == []


async def test_an_empty_resolution_is_parked_until_there_is_a_default_and_retried(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, close={"default_reason": ""}) as stage:
        alert_id = stage.kuma.raise_alert()
        await stage.passes()
        stage.irp.analyst_close(stage.incident(alert_id).id, "")
        await stage.passes(2)
        sent = len(stage.kuma.close_calls)
        stage.configure(close={"default_reason": "incorrect data"})
        async with stage.runtime() as runtime:
            waiting = await parked(runtime)
            await tell(runtime, lambda tx: operator.retry(tx, [alert_id], by="cli"))
            await until_rest(runtime)
            left = await parked(runtime)

    assert ([job.subject for job in waiting], sent) == ([alert_id], 0)
    assert left == []
    assert stage.kuma.closes == [(alert_id, "incorrect data")]


class KillsTheCloser(Faults):
    """Closes the alert, and kills whoever asked for it before it hears so."""

    def __init__(self) -> None:
        super().__init__()
        self.victim = 0

    async def around(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        if not (self.victim and scope["path"].endswith("/alerts/close")):
            await app(scope, receive, send)
            return
        victim, self.victim = self.victim, 0
        await app(scope, receive, _nowhere)
        os.kill(victim, signal.SIGKILL)
        await Exchange(app=app, scope=scope, receive=receive, send=send).gone()


async def _nowhere(_message: Message) -> None:
    return


async def test_a_daemon_killed_while_it_closes_leaves_its_job_to_the_next(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url) as stage:
        stage.kuma.faults = murder = KillsTheCloser()
        alert_id = stage.kuma.raise_alert()
        dead = stage.start()
        await eventually(lambda: stage.incidents(alert_id))
        murder.victim = dead.process.pid
        stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
        code = await dead.ended()

        # The same host, another process: who owns a job is told by a token of each start, not by the host's name.
        async with stage.working() as runtime:
            if not runtime.store.local:
                # The watch may have put the same closing once more: it waits behind the one that runs.
                states = [job.state for job in await ask(runtime, lambda tx: tx.closes.jobs())]
                assert states.count(JobState.RUNNING) == 1, "nobody takes a job whose lease still runs"
                await leases_run_out(stage)

            async def job_is_done() -> bool:
                return await ask(runtime, lambda tx: tx.closes.jobs()) == []

            async def is_closed() -> bool:
                return await state_of(runtime, alert_id) == "closed"

            await eventually(job_is_done)
            await eventually(is_closed)

    assert code == -signal.SIGKILL
    statuses = [call.status for call in stage.kuma.close_calls]
    assert statuses in ([204], [204, 406]), "a sweep may show that it is closed before it is asked for again"
    assert stage.kuma.closes == [(alert_id, "incorrect data")]
    assert stage.wrote("close") == []
