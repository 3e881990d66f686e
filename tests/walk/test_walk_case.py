"""Keys and ids that come back in another spelling than they went out: the same incident, the same alert."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from stage import Stage, change_profile, eventually, link_of, parked, staged, state_of, tell, until_rest

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, Reason
from kuma_sync.core.incident import Origin
from kuma_sync.sync.closing.intake import accept
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once

CLOSE = "/api/v1/alerts/close"


async def carry(runtime: Runtime) -> None:
    """Do two complete passes and whatever waits after them: an echo would show now."""
    for _ in range(2):
        await once(runtime)
        await until_rest(runtime)


def ordered(alert_id: str, **fields: Any) -> CloseRequest:
    """Return a closing as the door hands it in."""
    return CloseRequest(alert_id=AlertId(alert_id), reason=Reason.RESPONDED, origin=Origin.IRP, by="sv", **fields)


# The IRP's keys


@pytest.mark.parametrize("knobs", [{"key_case": "upper"}, {"key_case": "lower"}, {"key_padding": "   "}])
async def test_an_irp_that_changes_a_keys_case_or_blanks_gets_no_second_incident(
    tmp_path: Path, sqlite_url: str, knobs: dict[str, str]
) -> None:
    async with staged(tmp_path, sqlite_url, kuma={"instance": "Msk"}) as stage:
        for name, value in knobs.items():
            setattr(stage.irp.knobs, name, value)
        stage.kuma.raise_alert()
        stage.irp.faults.add("reset_after", method="POST", match="/incidents$", times=1)
        async with stage.runtime() as runtime:
            await once(runtime)
            await until_rest(runtime)
            jobs = await parked(runtime)

    assert len(stage.irp.incidents) == 1
    assert jobs == []


async def test_a_lost_store_doubles_nothing_where_keys_are_stored_in_capitals(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        stage.irp.knobs.key_case = "upper"
        for _ in range(3):
            stage.kuma.raise_alert()
        await stage.passes()
        stage.configure(store={"url": f"sqlite:///{tmp_path}/another.db"})
        await stage.passes()

    assert len(stage.irp.incidents) == 3
    assert stage.agrees(), stage.verdict()


# The list of closed incidents


@pytest.mark.parametrize("named_by", ["both", "id", "key"])
async def test_closed_incidents_are_known_by_ids_and_keys_in_capitals(
    tmp_path: Path, either_url: str, named_by: str
) -> None:
    async with staged(tmp_path, either_url) as stage:
        _name_by(stage, named_by)
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
            stage.irp.knobs.key_case = stage.irp.knobs.id_case = "upper"
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
            await carry(runtime)

    assert stage.kuma.closes == [(alert_id, "incorrect data")]
    assert len(stage.kuma.close_calls) == 1
    assert stage.wrote("close") == []


def _name_by(stage: Stage, named_by: str) -> None:
    """Let the profile's list of closed incidents show ids, keys, or both."""

    def change(text: str) -> str:
        head, marker, tail = text.rpartition("[list_closed.extract]")
        left_out = {"id": 'key = "externalId"\n', "key": 'id = "id"\n', "both": ""}[named_by]
        assert left_out in tail
        return head + marker + tail.replace(left_out, "", 1)

    change_profile(stage, change)


# The door


@pytest.mark.parametrize("spelled", [str.upper, "urn:uuid:{}".format])
async def test_a_door_id_in_another_spelling_closes_the_alert_and_nothing_is_echoed(
    tmp_path: Path, sqlite_url: str, spelled: Callable[[str], str]
) -> None:
    async with staged(tmp_path, sqlite_url, close={"watch": False}) as stage:
        stage.kuma.knobs.any_id_spelling = True
        alert_id = stage.kuma.raise_alert()
        async with stage.door() as client:
            await eventually(lambda: stage.incidents(alert_id))
            body = {"id": spelled(alert_id), "reason": "responded"}
            answers = [await client.post(CLOSE, json=body), await client.post(CLOSE, params={"wait": "10"}, json=body)]
            swept = len(stage.queries())
            await eventually(lambda: len(stage.queries()) > swept + 6)
        async with stage.runtime() as runtime:
            link, state = await link_of(runtime, alert_id), await state_of(runtime, alert_id)

    assert [answer.status_code for answer in answers] == [204, 204]
    assert [(call.id, call.status) for call in stage.kuma.close_calls] == [(alert_id, 204)]
    assert stage.wrote("close") == [], "the incident was closed by whoever called the door"
    assert (link.close_origin, state) == (Origin.IRP, "closed")


async def test_a_door_id_that_is_unknown_here_goes_to_kuma_as_it_was_given(tmp_path: Path, sqlite_url: str) -> None:
    given = "5C0DE1A4-0000-4000-8000-000000000001"
    async with staged(tmp_path, sqlite_url, close={"watch": False}) as stage, stage.door() as client:
        answer = await client.post(CLOSE, params={"wait": "10"}, json={"id": given, "reason": "responded"})

    assert (answer.status_code, answer.json()["message"]) == (404, "alert not found")
    assert [call.id for call in stage.kuma.close_calls] == [given]


async def test_a_closing_ordered_in_capitals_before_its_alert_was_read_is_no_echo(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, close={"watch": False}) as stage, stage.runtime() as runtime:
        stage.kuma.knobs.any_id_spelling = True
        alert_id = stage.kuma.raise_alert()
        await tell(runtime, lambda tx: accept(tx, ordered(alert_id.upper(), incident="17")))
        await runtime.poller.poll_once()
        await carry(runtime)
        link = await link_of(runtime, alert_id)

    assert (link.alert_closed, link.close_origin) == (True, Origin.IRP)
    assert stage.wrote("close") == []


async def test_who_names_the_incident_at_the_door_is_believed_before_kuma_answers(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, close={"watch": False}) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        stage.irp.faults.add("reset_after", method="POST", match="/incidents$", times=1)
        await once(runtime)
        stage.irp.faults.add("status", code=503, method="GET", match="externalId")
        await tell(runtime, lambda tx: accept(tx, ordered(alert_id, incident=stage.incident(alert_id).id)))
        stage.kuma.close(alert_id, "responded")  # our closing took effect, and its answer was lost
        await runtime.poller.poll_once(sweep=True)
        stage.irp.faults.clear()
        await carry(runtime)
        link = await link_of(runtime, alert_id)

    assert stage.wrote("close") == [], "the incident was closed by whoever called the door"
    assert (link.close_origin, link.alert_closed, link.doubt) == (Origin.IRP, True, None)
