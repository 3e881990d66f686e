"""Life on both sides, by chance with a seed: alerts come, grow, move and go; analysts edit, close and reopen.

What obliges the daemon to something is written down for the oracle. Must not: disturb the machines (that is weather).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

import httpx
from ground import REASONS, Ground

from kuma_sync.sim.errors import SimError
from kuma_sync.sim.irp import Incident
from kuma_sync.sim.values import Json, moment

RESOLUTIONS = (*REASONS, "Resolved", "false POSITIVE")
FIRST = 280
"""Alerts that are there when we come: more than a page of KUMA's."""
OVERLAP = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """An analyst's edit of one field, and where it stands in the incident's history."""

    incident: str
    field: str
    value: str
    place: int
    at: float


@dataclass(kw_only=True)
class Ledger:
    """What happened that somebody is owed something for. `allowed` are the reasons an alert may be closed with."""

    allowed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    by_desk: set[str] = field(default_factory=set)
    by_door: set[str] = field(default_factory=set)
    door_only: set[str] = field(default_factory=set)
    by_kuma: dict[str, str] = field(default_factory=dict)
    left_new: dict[str, float] = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
    vanished: dict[str, Json] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)


class World:
    """Plays both sides until told to stop."""

    def __init__(self, ground: Ground, *, seed: int) -> None:
        self._ground = ground
        self._kuma = ground.kuma
        self._irp = ground.irp
        self._random = Random(f"world {seed}")
        self.ledger = Ledger()
        self.deeds = 0
        self._menu: dict[Callable[[], object], int] = {
            self.alert: 10,
            self.burst: 2,
            self.late: 3,
            self.tomorrow: 1,
            self.grow: 14,
            self.edit: 5,
            self.leave: 6,
            self.come_back: 5,
            self.close: 5,
            self.vanish: 1,
            self.reappear: 3,
            self.delete: 1,
            self.analyst_edits: 6,
            self.analyst_closes: 6,
            self.reopen: 1,
        }

    async def live(self) -> None:
        """Go on until cancelled; a door call takes its own time beside."""
        for _ in range(FIRST):
            self._kuma.raise_alert(events=1, seen=self._kuma.clock() - timedelta(seconds=self._random.randint(0, 60)))
        async with asyncio.TaskGroup() as calls:
            while True:
                await asyncio.sleep(self._random.uniform(0.02, 0.14))
                if self._random.random() < 0.03 and (incident := self._open_incident()):
                    calls.create_task(self.door(incident))
                else:
                    self.deed()

    def deed(self) -> None:
        """Do one thing; what the simulator refuses (closed meanwhile) is no deed."""
        (act,) = self._random.choices(list(self._menu), weights=list(self._menu.values()))
        try:
            act()
        except SimError:
            return
        self.deeds += 1

    def between_pages(self, page: int) -> None:
        """Let rows move while they are read: one more at the head, one less anywhere."""
        self.alert()
        self.leave()

    def settle_down(self) -> None:
        """Bring back whatever vanished."""
        while self.ledger.vanished:
            self.reappear()

    def alert(self) -> None:
        self._kuma.raise_alert(events=self._random.choice((0, 1, 1, 2, 3, 8)))

    def burst(self) -> None:
        second = self._kuma.clock().replace(microsecond=0)
        for _ in range(self._random.choice((5, 10, 60))):
            self._kuma.raise_alert(events=1, seen=second, name="R058. SSH brute force from one address")

    def late(self) -> None:
        """Publish an alert whose time has long passed: only a sweep can show it."""
        self._kuma.raise_alert(seen=self._kuma.clock() - timedelta(seconds=self._random.choice((1, 3, 30, 1800))))

    def tomorrow(self) -> None:
        self._kuma.raise_alert(seen=self._kuma.clock() + timedelta(days=1))

    def grow(self) -> None:
        """Add events; sometimes without moving lastSeen, while that is within the overlap and so will be noticed."""
        alert = self._alert("new", "new", "assigned", "escalated")
        last = moment(str(alert["lastSeen"])) if alert else None
        if alert is None or last is None:
            return
        fresh = timedelta() <= self._kuma.clock() - last < OVERLAP / 2
        moves = not fresh or self._random.random() < 0.8
        self._kuma.grow(alert["id"], self._random.choice((1, 1, 2, 5)), move_last_seen=moves)

    def edit(self) -> None:
        if alert := self._alert("new", "assigned", "escalated"):
            self._kuma.edit(alert["id"], priority=self._random.choice(("low", "medium", "high", "critical")))

    def leave(self) -> None:
        if alert := self._alert("new"):
            self.ledger.left_new[alert["id"]] = time.monotonic()
            if self._random.random() < 0.6:
                self._kuma.assign(alert["id"], self._random.choice(("i.petrova", "a.смирнов")))
            else:
                self._kuma.escalate(alert["id"])

    def come_back(self) -> None:
        if alert := self._alert("assigned", "escalated"):
            self._kuma.unescalate(alert["id"])

    def close(self) -> None:
        if alert := self._alert("new", "assigned", "escalated"):
            reason = self._random.choice(("responded", "incorrect data", "incorrect correlation rule"))
            self._kuma.close(alert["id"], reason)
            self.ledger.by_kuma[alert["id"]] = reason
            self.ledger.left_new.setdefault(alert["id"], time.monotonic())

    def vanish(self) -> None:
        """Take an alert out of KUMA's sight for a while."""
        if alert := self._alert("new", "assigned"):
            self.ledger.left_new[alert["id"]] = time.monotonic()
            self.ledger.vanished[alert["id"]] = self._kuma.alerts.pop(alert["id"])

    def reappear(self) -> None:
        if self.ledger.vanished:
            alert_id = self._random.choice(list(self.ledger.vanished))
            self._kuma.alerts[alert_id] = self.ledger.vanished.pop(alert_id)

    def delete(self) -> None:
        """Let retention remove a closed alert."""
        if alert := self._alert("closed"):
            self._kuma.delete(alert["id"])
            self.ledger.gone.add(alert["id"])

    def analyst_edits(self) -> None:
        if incident := self._open_incident():
            name, value = self._random.choice((("severity", "Informational"), ("assignee", "desk"), ("note", "seen")))
            edit = Edit(incident=incident.id, field=name, value=value, place=len(incident.history), at=time.monotonic())
            self._irp.analyst_edit(incident.id, **{name: value})
            self.ledger.edits.append(edit)

    def analyst_closes(self) -> None:
        if incident := self._open_incident():
            self._desk_closes(incident, self._random.choice(RESOLUTIONS))

    def reopen(self) -> None:
        closed = [one for one in self._irp.incidents.values() if one.status == "closed" and one.resolution]
        if closed:
            self._irp.reopen(self._random.choice(closed).id)

    async def door(self, incident: Incident) -> None:
        """Close an alert by the daemon's own door, mostly because its incident is being closed."""
        alert_id = incident.external_id.rpartition(":")[2]
        reason = self._random.choice(("Responded", "incorrect data"))
        alone = self._random.random() < 0.3
        self.ledger.allowed[alert_id].add(reason.lower())
        if alone:
            self.ledger.door_only.add(alert_id)
        else:
            self._desk_closes(incident, self._random.choice(RESOLUTIONS))
        order = {"id": alert_id, "reason": reason, "incident": incident.id}
        async with self._ground.client() as client:
            try:
                answer = await client.post("/api/v3/alerts/close", json=order)
            except httpx.TransportError:
                return
        if answer.status_code == 204:
            self.ledger.by_door.add(alert_id)

    def _desk_closes(self, incident: Incident, resolution: str) -> None:
        alert_id = incident.external_id.rpartition(":")[2]
        self._irp.analyst_close(incident.id, resolution)
        listed = {name.casefold(): reason for name, reason in REASONS.items()}
        self.ledger.allowed[alert_id].add(listed.get(resolution.casefold(), "responded"))
        self.ledger.by_desk.add(alert_id)

    def _alert(self, *statuses: str) -> Json | None:
        """Pick an alert in one of these states, named once or more often."""
        wanted = self._random.choice(statuses)
        return self._any([alert for alert in self._kuma.alerts.values() if alert["status"] == wanted])

    def _open_incident(self) -> Incident | None:
        open_ = [incident for incident in self._irp.incidents.values() if incident.status == "open"]
        return self._random.choice(open_) if open_ else None

    def _any(self, choices: list[Json]) -> Json | None:
        return self._random.choice(choices) if choices else None
