"""What stands in front of a remote answers with a page for people: nothing that it swallowed counts as done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stage import change_profile, parked, staged, until_rest

from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once

ODD_PAGES: dict[str, dict[str, Any]] = {
    "as JSON": {"content_type": "application/json"},
    "in UTF-16": {"encoding": "utf-16", "content_type": "text/html; charset=utf-16"},
}

everywhere = pytest.mark.parametrize("page", ODD_PAGES.values(), ids=ODD_PAGES.keys())


async def rested(runtime: Runtime) -> None:
    await runtime.poller.poll_once(sweep=True)
    await until_rest(runtime)


@everywhere
async def test_a_page_for_people_is_no_success_of_a_closing_in_kuma(
    tmp_path: Path, sqlite_url: str, page: dict[str, Any]
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await rested(runtime)
        met = stage.kuma.faults.add("html", match="alerts/close", times=1, **page)
        stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
        await runtime.targets["irp"].watch.watch_once()
        await until_rest(runtime)

    assert met.fired == 1
    assert stage.kuma.closes == [(alert_id, "incorrect data")]


@everywhere
async def test_a_page_for_people_is_no_success_of_an_update(
    tmp_path: Path, sqlite_url: str, page: dict[str, Any]
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(priority="low")
        await rested(runtime)
        met = stage.irp.faults.add("html", method="PATCH", times=1, **page)
        stage.kuma.edit(alert_id, priority="critical")
        await rested(runtime)

    assert met.fired == 1
    assert stage.incident(alert_id).fields["severity"] == "Critical"


@everywhere
async def test_events_that_a_page_for_people_swallowed_are_sent_again(
    tmp_path: Path, sqlite_url: str, page: dict[str, Any]
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, lambda text: text.replace("batch = 500", "batch = 3"))
        alert_id = stage.kuma.raise_alert(events=8)
        met = stage.irp.faults.add("html", method="POST", match="/events$", times=1, **page)
        async with stage.runtime() as runtime:
            await rested(runtime)

    assert met.fired == 1
    assert len(stage.incident(alert_id).events) == 8
    assert stage.agrees(), stage.verdict()


@everywhere
async def test_a_page_for_people_is_no_success_of_closing_an_incident(
    tmp_path: Path, sqlite_url: str, page: dict[str, Any]
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await rested(runtime)
        met = stage.irp.faults.add("html", method="POST", match="/close$", times=1, **page)
        stage.kuma.close(alert_id)
        await rested(runtime)

    assert met.fired == 1
    assert stage.incident(alert_id).status == "closed"


@everywhere
async def test_a_create_that_a_page_for_people_answered_is_looked_for_and_never_sent_again(
    tmp_path: Path, sqlite_url: str, page: dict[str, Any]
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        await once(runtime)
        alert_id = stage.kuma.raise_alert()
        met = stage.irp.faults.add("html", method="POST", match="/incidents$", **page)
        await rested(runtime)
        jobs = await parked(runtime)

    assert met.fired == 1
    assert [job.subject for job in jobs] == [alert_id]
    assert [job.reason for job in jobs] == ["created without an id, and not found"]
