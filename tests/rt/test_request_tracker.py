"""The built-in profile `request-tracker`, as it is shipped, against the real server."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from request_tracker import Tracker
from stage import Child, Stage, eventually, leases_run_out, parked, staged, until_rest

from kuma_sync.irp.load import profile_text
from kuma_sync.sync.delivery.proof import NOT_SHOWN
from kuma_sync.telemetry.health import State


def settings(tracker: Tracker, folder: Path) -> dict[str, dict[str, Any]]:
    """Return the configuration that an administrator of this tracker would write; the folder's name is the KUMA's."""
    return {
        "kuma": {"instance": folder.name},
        "irp": {
            "profile": "request-tracker",
            "url": tracker.url,
            "token": tracker.token,
            "concurrency": 2,
            "options": {"queue": "SOC"},
        },
        "close": {"reasons": {"rejected": "incorrect data"}, "watch_interval": "1s"},
    }


def tickets(stage: Stage, tracker: Tracker) -> dict[int, str]:
    """Return the tickets of this test by number: whose alert each of them is."""
    ours = f"kuma:{stage.tables['kuma']['instance']}:"
    return {number: key.removeprefix(ours) for number, key in tracker.kept_keys() if (key or "").startswith(ours)}


def ticket_of(stage: Stage, tracker: Tracker, alert_id: str) -> int:
    """Return the one ticket of an alert."""
    (number,) = [number for number, of in tickets(stage, tracker).items() if of == alert_id]
    return number


def statuses(stage: Stage, tracker: Tracker) -> dict[str, str]:
    """Return the status of each alert's ticket."""
    return {alert_id: tracker.statuses()[number] for number, alert_id in tickets(stage, tracker).items()}


def events_in(texts: list[str]) -> set[str]:
    """Return the ids of the events that these comments hold, one a line."""
    lines = [line for text in texts for line in text.splitlines() if line.startswith("{")]
    return {json.loads(line)["ID"] for line in lines}


def told(stage: Stage, tracker: Tracker, alert_id: str, events: list[str]) -> bool:
    """Tell whether an alert's ticket holds these events."""
    return set(events) <= events_in(comments(tracker, ticket_of(stage, tracker, alert_id)))


def comments(tracker: Tracker, ticket: int) -> list[str]:
    """Return the texts of a ticket, its first one included, as RT's own REST API gives them."""
    with tracker.client() as client:
        told = client.get(f"/ticket/{ticket}/attachments", params={"fields": "Content", "per_page": 100}).json()
    return [item["Content"] for item in told["items"] if item.get("Content")]


def seen(tracker: Tracker, ticket: int) -> dict[str, Any]:
    """Return what RT's own REST API shows of a ticket; its custom fields by name."""
    with tracker.client() as client:
        shown = client.get(f"/ticket/{ticket}").json()
    return {**shown, "CustomFields": {one["name"]: one["values"] for one in shown["CustomFields"]}}


def set_status(tracker: Tracker, ticket: int, status: str) -> None:
    """Do what an analyst does."""
    with tracker.client() as client:
        assert client.put(f"/ticket/{ticket}", json={"Status": status}).json()


async def killed(child: Child) -> None:
    child.process.kill()
    assert await child.ended() == -signal.SIGKILL


async def test_tickets_follow_their_alerts_and_back_though_the_daemon_is_killed(
    tmp_path: Path, database_url: str, tracker: Tracker
) -> None:
    async with staged(tmp_path, database_url, **settings(tracker, tmp_path)) as stage:
        ids = [stage.kuma.raise_alert(events=2) for _ in range(11)]
        ids.append(stage.kuma.raise_alert(events=130))

        child = stage.start()
        await eventually(lambda: len(tickets(stage, tracker)) >= 4, within=60)
        await killed(child)
        assert len(tickets(stage, tracker)) < len(ids), "the test wants to kill it in the middle"
        await leases_run_out(stage)

        child = stage.start()
        await eventually(lambda: len(tickets(stage, tracker)) == len(ids), within=90)
        grown, closed, resolved, rejected = ids[:4]
        stage.kuma.edit(grown, priority="critical")
        news = stage.kuma.grow(grown, events=3)
        stage.kuma.close(closed, "incorrect correlation rule")
        set_status(tracker, ticket_of(stage, tracker, resolved), "resolved")
        await killed(child)
        set_status(tracker, ticket_of(stage, tracker, rejected), "rejected")
        await leases_run_out(stage)

        async with stage.daemon():
            await eventually(lambda: told(stage, tracker, grown, news), within=60)
            await eventually(lambda: statuses(stage, tracker)[closed] == "resolved", within=60)
            await eventually(lambda: len(stage.kuma.closes) == 2, within=60)
        await leases_run_out(stage)
        async with stage.runtime() as runtime:
            await until_rest(runtime, within=90)
            assert await parked(runtime) == []

        made = tickets(stage, tracker)
        assert sorted(made.values()) == sorted(ids), "no ticket lost, none doubled"
        assert statuses(stage, tracker) == {
            **dict.fromkeys(ids, "new"),
            closed: "resolved",
            resolved: "resolved",
            rejected: "rejected",
        }
        reasons = {alert_id: stage.kuma.alerts[alert_id]["closingReason"] for alert_id in (resolved, rejected)}
        assert reasons == {resolved: "responded", rejected: "incorrect data"}
        last = seen(tracker, ticket_of(stage, tracker, grown))
        assert (last["Priority"], last["CustomFields"]["KUMA events"]) == ("100", ["5"])
        assert "Reason: incorrect correlation rule" in comments(tracker, ticket_of(stage, tracker, closed))[-1]
        assert events_in(comments(tracker, ticket_of(stage, tracker, ids[-1]))) == {
            event["ID"] for event in stage.kuma.alerts[ids[-1]]["events"]
        }


async def test_a_queue_without_the_custom_field_gets_one_ticket_and_no_more(
    tmp_path: Path, sqlite_url: str, tracker: Tracker
) -> None:
    quick = tmp_path / "quick.toml"
    quick.write_text(profile_text("request-tracker").replace('settle = "15s"', 'settle = "1s"'))
    before = len(tracker.kept_keys())
    async with staged(tmp_path, sqlite_url, **settings(tracker, tmp_path)) as stage:
        stage.configure(irp={"profile": str(quick), "options": {"queue": "Bare"}})
        for _ in range(5):
            stage.kuma.raise_alert()

        async with stage.working() as runtime:
            await eventually(lambda: runtime.health.ready().parts["irp"].state is State.PAUSED, within=60)
            reason = runtime.health.ready().parts["irp"].reason

    assert reason.startswith(NOT_SHOWN)
    assert len(tracker.kept_keys()) == before + 1
