"""Closings that a round recorded, but did not live to draw its conclusions from, are found by whoever polls next."""

from __future__ import annotations

from pathlib import Path

import pytest
from lives import passing
from stage import Stage, leases_run_out, link_of, staged, tell, until_rest

from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.sync import operator
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once

UNSWEPT = {"interval": "200ms", "sweep_interval": "1h"}
"""No sweep but those that a test asks for."""


async def fails_once_recorded(runtime: Runtime, stage: Stage) -> None:
    """Sweep, and fail when the closed alert has been recorded: with its contents, by id."""

    def at(point: str) -> None:
        query = stage.queries()[-1]
        if point == "page_committed" and "withEvents" in query and "id=" in query:
            raise StoreUnavailable("away for a moment")

    with passing(at), pytest.raises(StoreUnavailable):
        await runtime.poller.poll_once(sweep=True)


async def test_what_a_failed_round_recorded_is_concluded_by_the_next_one(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url, poll=UNSWEPT) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await once(runtime)
        await runtime.poller.poll_once()
        stage.kuma.close(alert_id)
        await fails_once_recorded(runtime, stage)
        before = await link_of(runtime, alert_id)

        await runtime.poller.poll_once()
        after = await link_of(runtime, alert_id)

    assert not before.alert_closed, "it was to fail before its conclusions"
    assert after.alert_closed


async def test_what_another_copy_recorded_is_concluded_by_the_one_that_has_the_turn_now(
    tmp_path: Path, postgres_url: str
) -> None:
    async with staged(tmp_path, postgres_url, poll=UNSWEPT) as stage, stage.runtime() as ours:
        alert_id = stage.kuma.raise_alert()
        await once(ours)
        await leases_run_out(stage)
        async with stage.runtime() as theirs:
            await theirs.poller.poll_once(sweep=True)
            stage.kuma.close(alert_id)
            await fails_once_recorded(theirs, stage)
        await leases_run_out(stage)

        await ours.poller.poll_once()
        link = await link_of(ours, alert_id)

    assert link.alert_closed


async def test_an_ignored_closed_alert_is_made_and_closed_when_an_operator_wants_it(
    tmp_path: Path, database_url: str
) -> None:
    kuma = {"statuses": ["new", "closed"]}
    poll = UNSWEPT | {"ignore_before": "2100-01-01T00:00:00Z"}
    async with staged(tmp_path, database_url, poll=poll, kuma=kuma) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        stage.kuma.close(alert_id, "incorrect data")
        await once(runtime)
        ignored = len(stage.irp.incidents)

        await tell(runtime, lambda tx: operator.resync(tx, [AlertId(alert_id)], by="cli"))
        await until_rest(runtime)
        await runtime.poller.poll_once()
        await until_rest(runtime)

    assert ignored == 0
    assert [body["reason"] for _, body in stage.wrote("close")] == ["incorrect data"]
    assert stage.kuma.close_calls == []
