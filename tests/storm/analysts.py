"""Plays the people of the IRP, by chance with a seed: they edit, close, reopen and delete, and use our door.

What the daemon owes them is written down in the ledger.
"""

from __future__ import annotations

import time
from datetime import timedelta
from random import Random

import httpx
from environment import ROBOT_TOKEN, Environment
from ledger import RESOLUTIONS, Edit, Ledger, reason_of

from kuma_sync.sim.irp import Incident
from kuma_sync.sim.values import SimError

READ_FIRST = timedelta(seconds=10)
"""An incident is not deleted before somebody has read it."""

FORBIDDEN = 403


class Analysts:
    """Plays the analysts. A deed that finds nobody to do it to raises SimError."""

    def __init__(self, environment: Environment, ledger: Ledger, *, random: Random) -> None:
        self._environment = environment
        self._irps = environment.irps
        self._ledger = ledger
        self._random = random
        self.calls = 0
        """Orders that are on their way to a door."""

    def analyst_edits(self) -> None:
        incident = self.open_incident(pushed=True)
        name, value = self._random.choice((("severity", "Informational"), ("assignee", "desk"), ("note", "seen")))
        edit = Edit(incident=incident.id, field=name, value=value, place=len(incident.history), at=time.monotonic())
        self._irps.holder(incident).analyst_edit(incident.id, **{name: value})
        self._ledger.edits.append(edit)

    def analyst_closes(self) -> None:
        self._close(self.open_incident(), self._random.choice(RESOLUTIONS))

    def analyst_reopens(self) -> None:
        closed = [one for one in self._irps.pushed() if one.status == "closed" and one.resolution]
        incident = self._one(closed)
        self._irps.holder(incident).reopen(incident.id)

    def analyst_deletes(self) -> None:
        """Delete an open incident; one that was closed and opened again had better stay: its closing is still owed.

        Nobody deletes the first one, or a fresh one: where it is what proves that find shows what create makes, all
        creates would rightly wait for a human.
        """
        incident = self.open_incident(pushed=True)
        if any(deed == "reopen" for deed, _ in incident.history):
            raise SimError("reopened")
        irp = self._irps.holder(incident)
        if len(irp.incidents) == 1 or irp.clock() - incident.created_at < READ_FIRST:
            raise SimError("not read yet")
        irp.delete(incident.id)

    async def door(self, incident: Incident) -> None:
        """Close an alert by a daemon's own door, mostly because its incident is being closed."""
        alert_id = incident.external_id.rpartition(":")[2]
        reason = self._random.choice(("Responded", "incorrect data"))
        alone, daemon = self._random.random() < 0.3, self._random.choice(self._environment.daemons)
        self._ledger.allowed[alert_id].add(reason.lower())
        if alone:
            self._ledger.door_only.add(alert_id)
        else:
            self._close(incident, self._random.choice(RESOLUTIONS))
        order = {"id": alert_id, "reason": reason, "incident": incident.id}
        self.calls += 1
        try:
            async with self._environment.client(daemon) as client:
                answer = await client.post("/api/v3/alerts/close", json=order)
        except httpx.TransportError:
            return
        finally:
            self.calls -= 1
        if answer.status_code == 204:
            self._ledger.by_door.add(alert_id)
            self._ledger.deeds["door"] += 1

    async def trespass(self, incident: Incident) -> None:
        """Order at a door, by the robot's token, that an alert be closed whose incident another target has."""
        alert_id = incident.external_id.rpartition(":")[2]
        order, headers = {"id": alert_id, "reason": "responded"}, {"Authorization": f"Bearer {ROBOT_TOKEN}"}
        daemon = self._random.choice(self._environment.daemons)
        self.calls += 1
        try:
            async with self._environment.client(daemon) as client:
                answer = await client.post("/api/v1/alerts/close", json=order, headers=headers)
        except httpx.TransportError:
            return
        finally:
            self.calls -= 1
        self._ledger.deeds["trespass"] += answer.status_code == FORBIDDEN
        if answer.is_success:
            self._ledger.trespassed.add(alert_id)

    def open_incident(self, *, pushed: bool = False) -> Incident:
        """Pick an open incident; with `pushed` one of a target that we push to."""
        incidents = self._irps.pushed() if pushed else self._irps.incidents.values()
        spared = {f"kuma:kuma:{alert_id}" for alert_id in self._ledger.spared}
        open_ = [one for one in incidents if one.status == "open" and one.external_id not in spared]
        return self._one(open_)

    def _close(self, incident: Incident, resolution: str) -> None:
        alert_id = incident.external_id.rpartition(":")[2]
        self._ledger.allowed[alert_id].add(reason_of(resolution))
        self._irps.holder(incident).analyst_close(incident.id, resolution)
        self._ledger.by_desk.add(alert_id)

    def _one(self, incidents: list[Incident]) -> Incident:
        if not incidents:
            raise SimError("there is none")
        return self._random.choice(incidents)
