"""`show --live`: what the incident holds right now, beside what was sent; asked by get, or else by find."""

from __future__ import annotations

import json
from pathlib import Path

from forked import ended
from owned import owning
from stage import Stage, change_profile, staged, until_rest

from kuma_sync.sync.runtime.single_pass import once


async def shown(stage: Stage, alert_id: str, *more: str) -> tuple[int, str, str]:
    """Run `show --live`; return its exit code, what it printed, and what it complained of."""
    return await ended("show", alert_id, "--live", *more, "-c", str(stage.config))


async def an_edited_incident(stage: Stage) -> str:
    change_profile(stage, owning())
    alert_id = stage.kuma.raise_alert(name="first")
    stage.kuma.edit(alert_id, assignee="i.petrova")
    async with stage.runtime() as runtime:
        await once(runtime)
        await until_rest(runtime)
        stage.irp.analyst_edit(stage.incident(alert_id).id, title="Checked by us")
        stage.kuma.edit(alert_id, name="second")
        await once(runtime)
        await until_rest(runtime)
    return alert_id


async def test_each_field_says_whose_word_it_holds(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = await an_edited_incident(stage)
        stage.irp.analyst_edit(stage.incident(alert_id).id, assignee="desk")
        before = len(stage.wrote())
        code, out, _ = await shown(stage, alert_id)
        _, as_json, _ = await shown(stage, alert_id, "--json")

    assert code == 0
    assert "in the IRP now, by get" in out
    assert "left to analysts  title" in out
    live = json.loads(as_json)["live"]
    assert live["values"] == {"status": "open", "etag": '"3"'}
    assert [(one["name"], one["value"], one["whose"]) for one in live["fields"]] == [
        ("title", "Checked by us", "left to the analysts"),
        ("assignee", "desk", "edited in the IRP"),
    ]
    assert len(stage.wrote()) == before


async def test_without_get_the_incident_is_found(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
        stage.irp.analyst_close(stage.incident(alert_id).id, "Resolved")
        code, out, _ = await shown(stage, alert_id)

    assert code == 0
    assert "in the IRP now, by find" in out
    assert "resolution  Resolved" in out


async def test_an_incident_that_was_deleted_is_not_known(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = await an_edited_incident(stage)
        stage.irp.delete(stage.incident(alert_id).id)
        code, out, _ = await shown(stage, alert_id)

    assert code == 0
    assert "the IRP does not know this incident" in out


async def test_an_irp_out_of_reach_is_a_sentence_and_exit_code_1(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = await an_edited_incident(stage)
        stage.irp.faults.add("status", code=503)
        code, out, complained = await shown(stage, alert_id)

    assert (code, out) == (1, "")
    assert complained.startswith("kuma-sync: the IRP could not be asked what the incident holds now: get answered 503")


async def test_an_irp_that_an_operator_paused_is_not_asked(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = await an_edited_incident(stage)
        await ended("pause", "irp", "-c", str(stage.config))
        before = len(stage.irp.requests)
        code, out, complained = await shown(stage, alert_id)

    assert (code, out) == (1, "")
    assert "was not asked what the incident holds now: an operator paused irp until" in complained
    assert len(stage.irp.requests) == before


async def test_a_kuma_that_an_operator_paused_is_not_asked_for_contents(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await once(runtime)
        await ended("pause", "kuma", "-c", str(stage.config))
        before = len(stage.kuma.requests)
        code, _, complained = await ended("render", alert_id, "-c", str(stage.config))

    assert code == 1
    assert "kuma is not asked: an operator paused kuma until" in complained
    assert len(stage.kuma.requests) == before
