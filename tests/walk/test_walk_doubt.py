"""A write whose answer was lost is in doubt: what follows from it is neither echoed nor forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest
from stage import staged, tell, until_rest

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, Reason
from kuma_sync.core.incident import Origin
from kuma_sync.sync.closing.requests import put_order
from kuma_sync.sync.runtime.single_pass import once


async def test_a_closing_that_names_its_incident_is_no_echo_of_a_create_in_doubt(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        stage.irp.faults.add("reset_after", method="POST", times=1)
        async with stage.runtime() as runtime:
            await runtime.poller.poll_once(sweep=True)
            await runtime.targets["irp"].deliveries.drain()
            closing = CloseRequest(
                alert_id=AlertId(alert_id),
                reason=Reason.INCORRECT_DATA,
                origin=Origin.IRP,
                by="desk",
                incident=stage.incident(alert_id).id,
            )
            await tell(runtime, lambda tx: put_order(tx, closing))

            await runtime.closes.drain()
            await until_rest(runtime)

        assert stage.kuma.closes == [(alert_id, "incorrect data")]
        assert "close" not in [operation for operation, _incident, _body in stage.irp.writes]


@pytest.mark.parametrize("grows", [False, True])
async def test_an_update_that_arrived_unanswered_is_taken_back_when_the_alert_goes_back(
    tmp_path: Path, sqlite_url: str, grows: bool
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(priority="low")
        await once(runtime)
        stage.kuma.edit(alert_id, priority="critical", assignee="i.petrova")
        lost = stage.irp.faults.add("reset_after", method="PATCH", times=1)
        await once(runtime)
        arrived = dict(stage.incident(alert_id).fields)

        stage.kuma.edit(alert_id, priority="low", assignee="")
        if grows:
            stage.kuma.grow(alert_id, 1)
        await once(runtime)
        await until_rest(runtime)

    assert lost.fired == 1
    assert (arrived["severity"], arrived["assignee"]) == ("Critical", "i.petrova")
    assert stage.agrees(), stage.verdict()


async def test_an_update_that_did_not_arrive_and_was_taken_back_writes_nothing(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(priority="low")
        await once(runtime)
        stage.kuma.edit(alert_id, priority="critical")
        stage.irp.faults.add("status", method="PATCH", times=1, code=503)
        await once(runtime)

        stage.kuma.edit(alert_id, priority="low")
        await once(runtime)
        await until_rest(runtime)

    assert stage.irp.faults.fired["status"] == 1
    assert stage.wrote("update") == []
    assert stage.agrees(), stage.verdict()
