"""What analysts write into an incident is theirs: an update touches a field only where KUMA changed that very field."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path

import pytest
from stage import Stage, ask, eventually, staged, state_of, until_rest

from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once

OPEN_BRAKE = {"max_closed_percent": 100}


async def carried(runtime: Runtime) -> None:
    await once(runtime)
    await until_rest(runtime)


def patched(stage: Stage) -> set[str]:
    """Name every field that any update so far has touched."""
    return {name for _, body in stage.wrote("update") for name in body}


async def test_edited_fields_outlive_everything_that_happens_to_the_alert(tmp_path: Path, database_url: str) -> None:
    ours = {"title": "Checked by us", "severity": "High", "verdict": "phishing"}
    async with staged(tmp_path, database_url, brake=OPEN_BRAKE) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(priority="low", seen=datetime.now(UTC) - timedelta(minutes=1))
        await carried(runtime)
        incident = stage.incident(alert_id)
        stage.irp.analyst_edit(incident.id, **ours)
        seen = []
        for happens in (
            lambda: stage.kuma.edit(alert_id, correlationRuleID="another"),
            lambda: stage.kuma.grow(alert_id, 2),
            lambda: stage.kuma.assign(alert_id, "i.petrova"),
            lambda: stage.kuma.close(alert_id, "responded"),
        ):
            happens()
            await carried(runtime)
            seen.append({name: incident.fields.get(name) for name in ours})

    assert seen == [ours] * 4
    assert not patched(stage) & ours.keys()
    assert {"rule", "eventsTotal", "lastSeenAt", "assignee", "alertStatus"} <= patched(stage), "the rest was told"
    assert (incident.fields["rule"], incident.fields["assignee"]) == ("another", "i.petrova")
    assert len(incident.events) == 5
    assert incident.status == "closed"


async def test_a_field_that_kuma_changed_itself_is_sent_and_no_other(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(priority="low")
        await carried(runtime)
        incident = stage.incident(alert_id)
        stage.irp.analyst_edit(incident.id, title="Checked by us", severity="Medium", assignee="desk")
        stage.kuma.edit(alert_id, priority="critical")
        await carried(runtime)
        first = dict(incident.fields)
        stage.irp.analyst_edit(incident.id, severity="Low")
        stage.kuma.grow(alert_id)
        await carried(runtime)

    assert stage.wrote("update")[0] == (incident.id, {"severity": "Critical"})
    assert (first["severity"], first["title"], first["assignee"]) == ("Critical", "Checked by us", "desk")
    assert incident.fields["severity"] == "Low", "what KUMA said once is not said again"


async def test_what_analysts_emptied_stays_empty_and_what_kuma_emptied_is_emptied(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        stage.kuma.edit(alert_id, assignee="i.petrova")
        await carried(runtime)
        incident = stage.incident(alert_id)
        stage.irp.analyst_edit(incident.id, title=None, assignee="desk")
        stage.kuma.grow(alert_id)
        await carried(runtime)
        grown = dict(incident.fields)
        stage.kuma.edit(alert_id, assignee="")
        await carried(runtime)
        emptied = dict(incident.fields)
        stage.irp.analyst_edit(incident.id, assignee="desk again")
        stage.kuma.grow(alert_id)
        await carried(runtime)

    assert (grown["title"], grown["assignee"]) == (None, "desk")
    assert (emptied["title"], emptied["assignee"]) == (None, None)
    assert (incident.fields["title"], incident.fields["assignee"]) == (None, "desk again")
    assert [body["assignee"] for _, body in stage.wrote("update") if "assignee" in body] == [None]


async def test_an_edit_made_while_our_update_is_on_its_way_lives(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(priority="low")
        await carried(runtime)
        incident = stage.incident(alert_id)
        stage.irp.knobs.latency = 0.5
        stage.kuma.edit(alert_id, priority="critical")
        await runtime.poller.poll_once()
        delivering = asyncio.create_task(runtime.targets["irp"].deliveries.drain())
        await eventually(lambda: stage.irp.requests[-1].method == "PATCH")
        before = list(stage.wrote("update"))
        stage.irp.analyst_edit(incident.id, title="Checked by us", rule="ours")
        await delivering

    assert before == [], "the update had not taken effect yet"
    assert stage.wrote("update") == [(incident.id, {"severity": "Critical"})]
    assert (incident.fields["title"], incident.fields["rule"]) == ("Checked by us", "ours")


@pytest.mark.parametrize("fault", ["reset_after", "reset_before"])
async def test_an_update_that_is_sent_again_names_the_same_fields(tmp_path: Path, sqlite_url: str, fault: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(priority="low")
        await carried(runtime)
        incident = stage.incident(alert_id)
        stage.irp.faults.add(fault, method="PATCH", times=1)
        stage.kuma.edit(alert_id, priority="critical")
        await runtime.poller.poll_once()
        await runtime.targets["irp"].deliveries.drain()
        stage.irp.analyst_edit(incident.id, title="Checked by us", rule="ours")
        await until_rest(runtime)

    assert patched(stage) == {"severity"}
    assert incident.fields["severity"] == "Critical"
    assert (incident.fields["title"], incident.fields["rule"]) == ("Checked by us", "ours")


async def test_an_edit_made_before_our_create_was_answered_lives(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        await once(runtime)
        alert_id = stage.kuma.raise_alert(priority="low")
        stage.irp.faults.add("reset_after", method="POST", times=1)
        await runtime.poller.poll_once()
        await runtime.targets["irp"].deliveries.drain()
        incident = stage.incident(alert_id)
        stage.irp.analyst_edit(incident.id, title="Checked by us")
        stage.kuma.grow(alert_id)
        await carried(runtime)

    assert incident.fields["title"] == "Checked by us", "found by our own intent, its content counts as sent"
    assert "title" not in patched(stage)
    assert len(stage.incidents(alert_id)) == 1


async def test_a_render_changes_nothing_at_the_desk(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = stage.kuma.raise_alert()
        await stage.passes()
        stage.irp.analyst_edit(stage.incident(alert_id).id, title="Checked by us")
        stage.kuma.grow(alert_id)
        before = len(stage.irp.requests)
        rendered = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kuma_sync", "render", alert_id, "-c", str(stage.config)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        told, _ = await rendered.communicate()
        after = len(stage.irp.requests)
        await stage.passes()

    assert rendered.returncode == 0
    assert b"PATCH" in told
    assert before == after
    assert stage.incident(alert_id).fields["title"] == "Checked by us"


# Every order


DEEDS = ("edit", "priority", "grow", "assign", "close")
ORDERS = list(permutations(DEEDS))[::3]


def deeds(stage: Stage, alert_id: str) -> dict[str, Callable[[], object]]:
    def whoever_is_open(deed: Callable[[str], object]) -> Callable[[], object]:
        return lambda: None if stage.kuma.alerts[alert_id]["status"] == "closed" else deed(alert_id)

    return {
        "edit": lambda: stage.irp.analyst_edit(stage.incident(alert_id).id, title="ours", severity="Low", note="ours"),
        "priority": lambda: stage.kuma.edit(alert_id, priority="critical"),
        "grow": whoever_is_open(stage.kuma.grow),
        "assign": whoever_is_open(stage.kuma.assign),
        "close": lambda: stage.kuma.close(alert_id),
    }


def severity(order: tuple[str, ...]) -> str:
    """Whoever spoke last; a closed incident is told nothing more."""
    told = order.index("priority") < order.index("close")
    last = order.index("edit") > order.index("priority")
    return "Low" if last or not told else "Critical"


async def test_the_last_word_on_a_field_stands_in_every_order_of_events(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, brake=OPEN_BRAKE) as stage, stage.runtime() as runtime:
        orders = {stage.kuma.raise_alert(priority="medium"): order for order in ORDERS}
        await carried(runtime)
        for turn in range(len(DEEDS)):
            for alert_id, order in orders.items():
                deeds(stage, alert_id)[order[turn]]()
            await carried(runtime)
        states = {await state_of(runtime, alert_id) for alert_id in orders}
        jobs = await ask(runtime, lambda tx: tx.delivery.jobs())

    fields = {alert_id: stage.incident(alert_id).fields for alert_id in orders}
    wrong = {
        orders[alert_id]: (held["title"], held["severity"], held["note"])
        for alert_id, held in fields.items()
        if (held["title"], held["severity"], held["note"]) != ("ours", severity(orders[alert_id]), "ours")
    }
    assert wrong == {}
    assert (states, jobs) == ({"closed"}, [])
    assert "title" not in patched(stage)
