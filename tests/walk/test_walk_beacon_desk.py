"""A product that nobody here knew, by a profile that was written from the documentation alone: whole days of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from every_irp import PATIENCE, Beacon, beacon, walk
from stage import (
    Stage,
    ask,
    eventually,
    link_of,
    parked,
    polled,
    staged,
    state_of,
    until_proven,
    until_rest,
)
from structlog.testing import capture_logs

from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once

PROFILE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "beacon-desk.toml"

VERDICTS = {"real": "responded", "false-alarm": "incorrect data", "rule-error": "incorrect correlation rule"}


@asynccontextmanager
async def opened(folder: Path, database: str, **sections: dict[str, Any]) -> AsyncIterator[tuple[Stage, Beacon]]:
    """Open a stage with the product; at the end nothing was asked that its page does not allow."""
    async with staged(folder, database, **sections) as stage, beacon(stage, PROFILE) as irp:
        yield stage, irp
        assert irp.desk.refused() == []


async def begun(stage: Stage, runtime: Runtime) -> str:
    """Have one alert's case made, and found: what comes after it is not looked for."""
    alert_id = stage.kuma.raise_alert()
    await once(runtime)
    await until_rest(runtime)
    await until_proven(runtime)
    return alert_id


def followed(stage: Stage, irp: Beacon, alert_ids: list[str]) -> bool:
    """Tell whether each alert has one case with all its events."""
    if sorted(irp.alerts()) != sorted(alert_ids):
        return False
    return all(
        irp.shown(id_).events == {event["ID"] for event in stage.kuma.alerts[id_]["events"]} for id_ in alert_ids
    )


async def test_the_day_of_every_irp_goes_the_same_way_with_it(tmp_path: Path, either_url: str) -> None:
    async with opened(tmp_path, either_url) as (stage, irp):
        await walk(stage, irp)


# Sessions


async def test_a_session_that_ends_in_mid_work_costs_one_login_for_all_that_meet_it(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with opened(tmp_path, sqlite_url, close={"watch": False}) as (stage, irp), stage.runtime() as runtime:
        ids = [await begun(stage, runtime)]
        before = irp.desk.logins
        irp.desk.end_sessions()
        irp.desk.faults.add("delay", seconds=0.1, match="/case$")
        ids += [stage.kuma.raise_alert() for _ in range(12)]
        await polled(runtime)
        jobs = await parked(runtime)

        assert len(irp.desk.faulted("NO_SESSION")) > 1, "several met it at once"
        assert (irp.desk.logins, jobs) == (before + 1, [])
        assert followed(stage, irp, ids)
        assert irp.desk.made() == len(ids)


# Busy


@pytest.mark.parametrize("path", ["/session", "/ping", "/case$", "/cases", "/note", "/transition"])
async def test_busy_once_at_any_of_its_addresses_stops_and_parks_nothing(
    tmp_path: Path, sqlite_url: str, path: str
) -> None:
    async with opened(tmp_path, sqlite_url) as (stage, irp):
        irp.desk.busy(match=path, times=1)
        ids = [stage.kuma.raise_alert() for _ in range(3)]
        with capture_logs() as logs:
            async with stage.working() as runtime:
                await eventually(lambda: followed(stage, irp, ids), within=PATIENCE)
                stage.kuma.close(ids[0], "responded")
                await eventually(lambda: not irp.shown(ids[0]).open, within=PATIENCE)
                jobs = await parked(runtime)

        assert jobs == []
        assert [line for line in logs if line["event"] in ("side_paused", "job_parked")] == []
        assert irp.desk.made() == 3


# Creates


async def test_a_long_name_and_a_thousand_events_keep_to_the_lengths_of_its_page(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with opened(tmp_path, sqlite_url) as (stage, irp), stage.runtime() as runtime:
        await begun(stage, runtime)
        alert_id = stage.kuma.raise_alert(events=1000, name="Ж" * 300)
        await polled(runtime)
        jobs = await parked(runtime)

        assert [job.reason for job in jobs] == []
        assert irp.case(alert_id).one("title").startswith("Ж" * 100)
        assert irp.shown(alert_id).events == {event["ID"] for event in stage.kuma.alerts[alert_id]["events"]}


async def test_a_lost_store_finds_every_case_again(tmp_path: Path, sqlite_url: str) -> None:
    async with opened(tmp_path, sqlite_url) as (stage, irp):
        ids = [stage.kuma.raise_alert() for _ in range(5)]
        await stage.passes(2)
        stage.configure(store={"url": f"sqlite:///{tmp_path}/another.db"})
        await stage.passes(2)
        async with stage.runtime() as runtime:
            linked = [(await link_of(runtime, id_)).incident for id_ in ids]

        assert irp.desk.made() == 5
        assert [one.id for one in linked if one] == [irp.case(id_).no for id_ in ids]


# Closings


@pytest.mark.parametrize(("verdict", "reason"), VERDICTS.items())
async def test_a_case_done_by_an_analyst_closes_its_alert_with_the_reason_of_its_verdict(
    tmp_path: Path, sqlite_url: str, verdict: str, reason: str
) -> None:
    async with opened(tmp_path, sqlite_url) as (stage, irp), stage.runtime() as runtime:
        alert_id = await begun(stage, runtime)
        irp.desk.done(irp.case(alert_id).ref, verdict)
        await once(runtime)
        await until_rest(runtime)

        assert stage.kuma.closes == [(alert_id, reason)]
        assert await state_of(runtime, alert_id) == "closed"


@pytest.mark.parametrize(("verdict", "reason"), VERDICTS.items())
async def test_an_alert_closed_in_kuma_gives_its_case_the_verdict_of_its_reason(
    tmp_path: Path, sqlite_url: str, verdict: str, reason: str
) -> None:
    async with opened(tmp_path, sqlite_url) as (stage, irp), stage.runtime() as runtime:
        alert_id = await begun(stage, runtime)
        stage.kuma.close(alert_id, reason)
        await polled(runtime, sweep=True)
        await once(runtime)
        case = irp.case(alert_id)

        assert await parked(runtime) == []
        assert (case.state, case.verdict, bool(case.remark)) == ("done", verdict, True)
        assert stage.kuma.closes == [], "a closing is never echoed"


async def test_more_than_a_page_of_cases_done_closes_every_alert(tmp_path: Path, sqlite_url: str) -> None:
    brake = {"min_alerts": 1000}
    async with opened(tmp_path, sqlite_url, brake=brake) as (stage, irp), stage.runtime() as runtime:
        await begun(stage, runtime)
        ids = [stage.kuma.raise_alert(events=1) for _ in range(55)]
        await polled(runtime)
        for alert_id in ids:
            irp.close_as_wrong(alert_id)
        await once(runtime)
        await until_rest(runtime)

        assert sorted(stage.kuma.closes) == sorted((id_, "incorrect data") for id_ in ids)


async def test_a_case_that_is_done_already_counts_as_closed(tmp_path: Path, sqlite_url: str) -> None:
    async with opened(tmp_path, sqlite_url, close={"watch": False}) as (stage, irp), stage.runtime() as runtime:
        alert_id = await begun(stage, runtime)
        irp.close_as_wrong(alert_id)
        stage.kuma.close(alert_id, "responded")
        await polled(runtime, sweep=True)

        assert await parked(runtime) == []
        assert await state_of(runtime, alert_id) == "closed"
        assert irp.desk.faulted("ALREADY_DONE") or irp.desk.faulted("CASE_IS_DONE"), "that is how we learned it"
        assert irp.case(alert_id).verdict == "false-alarm", "the analyst's word stays"


async def test_a_closing_whose_answer_was_lost_is_done_at_the_next_try(tmp_path: Path, sqlite_url: str) -> None:
    async with opened(tmp_path, sqlite_url, close={"watch": False}) as (stage, irp), stage.runtime() as runtime:
        alert_id = await begun(stage, runtime)
        lost = irp.desk.faults.add("reset_after", match="/transition", times=1)
        stage.kuma.close(alert_id, "incorrect data")
        await polled(runtime, sweep=True)

        assert (lost.fired, await parked(runtime)) == (1, [])
        assert await state_of(runtime, alert_id) == "closed"
        assert (irp.case(alert_id).state, irp.case(alert_id).verdict) == ("done", "false-alarm")


async def test_a_change_for_a_case_that_is_done_is_not_parked_once_its_closing_is_known(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with opened(tmp_path, sqlite_url) as (stage, irp), stage.runtime() as runtime:
        alert_id = await begun(stage, runtime)
        irp.close_as_wrong(alert_id)
        stage.kuma.edit(alert_id, priority="low")
        stage.kuma.grow(alert_id)
        await polled(runtime)
        refused = len(irp.desk.faulted("CASE_IS_DONE"))
        await once(runtime)
        await until_rest(runtime)
        stage.kuma.edit(alert_id, priority="critical")
        await polled(runtime, sweep=True)
        await once(runtime)
        jobs = await ask(runtime, lambda tx: tx.delivery.jobs())

        assert refused > 0
        assert jobs == [], "neither parked nor waiting"
        assert stage.kuma.closes == [(alert_id, "incorrect data")]
        assert await state_of(runtime, alert_id) == "closed"
        assert len(irp.desk.faulted("CASE_IS_DONE")) == refused, "a case that is done is sent nothing more"


async def test_growth_of_an_alert_whose_case_was_deleted_is_told_or_parked_as_that(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with opened(tmp_path, sqlite_url) as (stage, irp), stage.runtime() as runtime:
        alert_id = await begun(stage, runtime)
        irp.desk.delete(irp.case(alert_id).ref)
        stage.kuma.grow(alert_id)
        await polled(runtime, sweep=True)
        await until_rest(runtime, within=PATIENCE)
        reasons = [job.reason for job in await parked(runtime)]
        link = await link_of(runtime, alert_id)

        if reasons:
            assert (reasons, irp.desk.cases) == (["incident deleted"], {})
        else:
            assert followed(stage, irp, [alert_id])
            assert link.incident is not None
            assert link.incident.id == irp.case(alert_id).no
