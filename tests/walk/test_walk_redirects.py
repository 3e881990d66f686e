"""Writes that are redirected, by a login in front or a wrong address: nothing is lost, doubled or parked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from stage import change_profile, eventually, parked, staged, tell, until_rest, without

from kuma_sync.sim.faults import Rule
from kuma_sync.sync import operator
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once
from kuma_sync.telemetry.health import State

QUICKLY: dict[str, dict[str, Any]] = {"retry": {"base": "50ms", "max": "200ms"}}

WRITES = {
    "create": ("POST", "/incidents$"),
    "update": ("PATCH", "/incidents/"),
    "add_events": ("POST", "/events$"),
    "close": ("POST", "/close$"),
}


async def nothing_parked(runtime: Runtime) -> bool:
    return await parked(runtime) == []


@pytest.mark.parametrize("code", [302, 307])
async def test_a_window_in_which_every_write_is_redirected_loses_doubles_and_parks_nothing(
    tmp_path: Path, sqlite_url: str, code: int
) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        change_profile(stage, lambda text: text.replace("batch = 500", "batch = 3"))
        grown, edited, shut, closed = (stage.kuma.raise_alert(priority="low") for _ in range(4))
        async with stage.working() as runtime:
            await eventually(stage.agrees)
            windows = [sim.faults.add("redirect", code=code, method="POST") for sim in (stage.irp, stage.kuma)]
            windows.append(stage.irp.faults.add("redirect", code=code, method="PATCH"))
            for _ in range(3):
                stage.kuma.raise_alert(events=8)
            stage.kuma.grow(grown, 8)
            stage.kuma.edit(edited, priority="critical")
            stage.kuma.close(shut)
            stage.irp.analyst_close(stage.incident(closed).id, "False positive")
            await eventually(lambda: runtime.gates["irp"].paused and runtime.gates["kuma"].paused)
            states = {part: runtime.health.ready().parts[part].state for part in ("kuma", "irp")}
            reason = runtime.health.ready().parts["irp"].reason
            fired = [sum(rule.fired for rule in windows[first::2]) for first in (0, 1)]
            await eventually(lambda: windows[1].fired >= fired[1] + 3)
            await eventually(lambda: windows[0].fired + windows[2].fired >= fired[0] + 3)
            calm = await nothing_parked(runtime)
            for rule in windows:
                next(sim for sim in (stage.irp, stage.kuma) if rule in sim.faults.rules).faults.remove(rule)

            await eventually(stage.agrees, within=30)
            await eventually(lambda: runtime.health.ready().ready)
            calm = calm and await nothing_parked(runtime)

    assert calm
    assert states == {"kuma": State.PAUSED, "irp": State.PAUSED}
    assert f"answered {code}" in reason
    assert "https://login.example.test" in reason
    assert stage.kuma.closes == [(closed, "incorrect data")]
    assert len(stage.wrote("create")) == len(stage.irp.incidents) == 7


@pytest.mark.parametrize("operation", WRITES)
async def test_a_redirect_of_any_write_pauses_the_side_and_parks_nothing(
    tmp_path: Path, sqlite_url: str, operation: str
) -> None:
    method, path = WRITES[operation]
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        change_profile(stage, lambda text: text.replace("batch = 500", "batch = 3"))
        alert_id = stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await eventually(stage.agrees)
            led = stage.irp.faults.add("redirect", method=method, match=path)
            stage.kuma.raise_alert(events=8)
            stage.kuma.edit(alert_id, priority="critical", status="closed")
            first = await eventually(lambda: runtime.gates["irp"].paused)
            await eventually(lambda: led.fired >= 3)
            reason, calm = runtime.health.ready().parts["irp"].reason, await nothing_parked(runtime)
            stage.irp.faults.clear()

            await eventually(stage.agrees, within=30)
            calm = calm and await nothing_parked(runtime)

    assert calm
    assert first.startswith(f"{operation} answered 302")
    assert reason.startswith(f"{operation} answered 302")


async def test_what_is_closed_in_the_irp_is_learnt_while_its_writes_are_redirected(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await eventually(stage.agrees)
            stage.irp.faults.add("redirect", method="POST")
            stage.kuma.raise_alert()
            await eventually(lambda: runtime.gates["irp"].paused)
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")

            await eventually(lambda: stage.kuma.closes)
            still = runtime.gates["irp"].paused

    assert still
    assert stage.kuma.closes == [(alert_id, "incorrect data")]


async def test_a_create_that_was_carried_out_and_then_redirected_is_found_and_not_doubled(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        ids = [stage.kuma.raise_alert() for _ in range(3)]
        ended = stage.irp.faults.add("redirect", code=303, method="POST", match="/incidents$", effect=True, times=4)
        async with stage.working() as runtime:
            await eventually(stage.agrees, within=30)
            calm = await nothing_parked(runtime)

    assert calm
    assert ended.fired >= 1
    assert [len(stage.incidents(alert_id)) for alert_id in ids] == [1, 1, 1]


async def test_a_profile_without_find_parks_nothing_when_creates_are_redirected(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        change_profile(stage, without("find"))
        led = stage.irp.faults.add("redirect", code=307, method="POST", match="/incidents$")
        ids = [stage.kuma.raise_alert() for _ in range(3)]
        async with stage.working() as runtime:
            await eventually(lambda: led.fired >= 4)
            calm = await nothing_parked(runtime)
            stage.irp.faults.clear()
            await eventually(stage.agrees)
            calm = calm and await nothing_parked(runtime)

    assert calm
    assert [len(stage.incidents(alert_id)) for alert_id in ids] == [1, 1, 1]


async def test_one_incident_whose_writes_alone_are_redirected_does_not_stop_the_line(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        moved, other = stage.kuma.raise_alert(), stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await eventually(stage.agrees)
            led = stage.irp.faults.add("redirect", code=301, method="PATCH", match=stage.incident(moved).id)
            stage.kuma.grow(moved)
            await eventually(lambda: led.fired)
            ids = [stage.kuma.raise_alert() for _ in range(3)]
            await eventually(lambda: all(stage.incidents(alert_id) for alert_id in ids))
            stage.kuma.grow(other)
            await eventually(lambda: len(stage.wrote("update")) == 1)
            fired = led.fired
            await eventually(lambda: led.fired > fired + 2)
            ready, calm = runtime.health.ready().ready, await nothing_parked(runtime)
            late = stage.kuma.raise_alert()
            stage.kuma.grow(other)
            await eventually(lambda: stage.incidents(late) and len(stage.wrote("update")) == 2)
            stage.irp.faults.clear()
            await eventually(stage.agrees)

    assert (ready, calm) == (True, True)


async def test_an_operation_that_alone_is_redirected_stands_still_alone(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        change_profile(stage, lambda text: text.replace("batch = 500", "batch = 3"))
        async with stage.working() as runtime:
            led = stage.irp.faults.add("redirect", method="POST", match="/events$")
            many = stage.kuma.raise_alert(events=8)
            await eventually(lambda: led.fired)
            ids = [stage.kuma.raise_alert() for _ in range(5)]
            await eventually(lambda: all(stage.incidents(alert_id) for alert_id in ids))
            fired = led.fired
            await eventually(lambda: led.fired > fired + 2)
            whole, ready = runtime.gates["irp"].paused, runtime.health.ready().ready
            stage.kuma.edit(ids[0], priority="critical")
            await eventually(lambda: stage.wrote("update"))
            calm = await nothing_parked(runtime)
            stage.irp.faults.clear()
            await eventually(stage.agrees)
            await eventually(lambda: runtime.health.ready().ready)

    assert (whole, ready, calm) == (None, False, True)
    assert len(stage.incident(many).events) == 8


@pytest.mark.parametrize("match", ["externalId=", "status=closed"], ids=["find", "list_closed"])
async def test_reads_that_are_redirected_park_nothing_and_go_on_by_themselves(
    tmp_path: Path, sqlite_url: str, match: str
) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        alert_id = stage.kuma.raise_alert()
        led = stage.irp.faults.add("redirect", method="GET", match=match)
        async with stage.working() as runtime:
            await eventually(lambda: led.fired >= 3)
            calm = await nothing_parked(runtime)
            stage.irp.faults.clear()
            await eventually(lambda: stage.incidents(alert_id))
            await eventually(lambda: runtime.health.ready().ready)
            calm = calm and await nothing_parked(runtime)

    assert calm
    assert stage.agrees(), stage.verdict()


async def test_reads_of_kuma_that_are_redirected_go_on_when_they_no_longer_are(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        led: Rule = stage.kuma.faults.add("redirect", method="GET")
        alert_id = stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await eventually(lambda: led.fired >= 3)
            stage.kuma.faults.clear()
            await eventually(lambda: stage.incidents(alert_id))
            calm = await nothing_parked(runtime)

    assert calm


async def test_a_single_pass_leaves_what_was_redirected_waiting_and_the_next_one_does_it(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        ids = [stage.kuma.raise_alert() for _ in range(3)]
        stage.irp.faults.add("redirect", method="POST")
        async with stage.runtime(single=True) as runtime:
            await once(runtime)
            calm = await nothing_parked(runtime)
        stage.irp.faults.clear()
        async with stage.runtime(single=True) as runtime:
            await once(runtime)
            await until_rest(runtime)

    assert calm
    assert [len(stage.incidents(alert_id)) for alert_id in ids] == [1, 1, 1]


async def test_a_pause_that_no_request_is_left_to_end_is_over(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, **QUICKLY) as stage:
        alert_id = stage.kuma.raise_alert()
        async with stage.working() as runtime:
            await eventually(stage.agrees)
            stage.kuma.faults.add("redirect", method="POST")
            away = stage.irp.faults.add("status", code=404, method="POST", match="/incidents$")
            wrong = stage.kuma.raise_alert()
            stage.irp.analyst_close(stage.incident(alert_id).id, "False positive")
            await eventually(lambda: away.fired and runtime.gates["irp"].unwell and runtime.gates["kuma"].unwell)
            ready = runtime.health.ready().ready
            stage.kuma.close(alert_id)  # somebody does it by hand
            await tell(runtime, lambda tx: operator.drop(tx, wrong, by="cli"))

            await eventually(lambda: runtime.health.ready().ready)

    assert not ready
