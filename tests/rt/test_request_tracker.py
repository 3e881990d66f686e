"""The built-in profile `request-tracker`, as it is shipped, against the real server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from every_irp import Shown, walk
from request_tracker import Tracker
from stage import Stage, eventually, staged

from kuma_sync.irp.load import profile_text
from kuma_sync.sync.delivery.proof import NOT_SHOWN
from kuma_sync.telemetry.health import State

WATCH = "5s"
"""Each look at the closed tickets costs this server more than a look at a simulator by far."""


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
        "close": {"reasons": {"rejected": "incorrect data"}, "watch_interval": WATCH},
    }


def tickets(stage: Stage, tracker: Tracker) -> dict[int, str]:
    """Return the tickets of this test by number: whose alert each of them is."""
    ours = f"kuma:{stage.tables['kuma']['instance']}:"
    return {number: key.removeprefix(ours) for number, key in tracker.kept_keys() if (key or "").startswith(ours)}


def ticket_of(stage: Stage, tracker: Tracker, alert_id: str) -> int:
    """Return the one ticket of an alert."""
    (number,) = [number for number, of in tickets(stage, tracker).items() if of == alert_id]
    return number


def events_in(texts: list[str]) -> set[str]:
    """Return the ids of the events that these comments hold, one a line."""
    lines = [line for text in texts for line in text.splitlines() if line.startswith("{")]
    return {json.loads(line)["ID"] for line in lines}


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


def closed_in_kuma(stage: Stage) -> list[str]:
    """Return the alerts that KUMA closed by itself."""
    ours = {alert_id for alert_id, _reason in stage.kuma.closes}
    return [id_ for id_, alert in stage.kuma.alerts.items() if alert["status"] == "closed" and id_ not in ours]


class Tickets:
    """Request Tracker for the walk, seen in its file: asking its REST API again and again would keep it busy."""

    priorities: ClassVar = {"low": "0", "medium": "50", "high": "100", "critical": "100"}

    def __init__(self, stage: Stage, tracker: Tracker) -> None:
        self.settings = settings(tracker, stage.folder)
        self._stage = stage
        self._tracker = tracker

    def alerts(self) -> list[str]:
        """Return the alert of each ticket."""
        return list(tickets(self._stage, self._tracker).values())

    def shown(self, alert_id: str) -> Shown:
        """Return what is shown of an alert's ticket."""
        number = ticket_of(self._stage, self._tracker, alert_id)
        title, status, priority = self._tracker.kept(number)
        events = frozenset(events_in(self._tracker.kept_texts(number)))
        return Shown(open=status == "new", title=title, priority=str(priority), events=events)

    def close_as_wrong(self, alert_id: str) -> None:
        """Close an alert's ticket."""
        set_status(self._tracker, ticket_of(self._stage, self._tracker, alert_id), "rejected")


async def test_tickets_go_the_way_of_every_irp(tmp_path: Path, postgres_url: str, tracker: Tracker) -> None:
    async with staged(tmp_path, postgres_url) as stage:
        await walk(stage, Tickets(stage, tracker))

        numbers = {alert_id: number for number, alert_id in tickets(stage, tracker).items()}
        told = [comments(tracker, numbers[alert_id])[-1] for alert_id in closed_in_kuma(stage)]
        assert len(told) == 2
        assert all("Reason: incorrect correlation rule" in text for text in told)


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
