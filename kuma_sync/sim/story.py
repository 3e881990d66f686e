"""A scripted day at a SOC, squeezed into seconds, on both simulators: what happens, and one plain line about each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from kuma_sync.sim.content import dice
from kuma_sync.sim.faults import Rule
from kuma_sync.sim.irp import Incident, IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.values import Json

CREATE = "/api/v1/incidents$"
LISTING = "/alerts"
T = TypeVar("T")


async def play(kuma: KumaSim, irp: IrpSim, *, seconds: float, seed: int = 0, tell: Callable[[str], None]) -> None:
    """Play the day: the first alerts at once, troubles in the middle, the last fifth quiet and without faults.

    `seconds` is the whole length. `tell` gets one line an event. At the end no fault of the story is left on.
    """
    day = _Day(kuma=kuma, irp=irp, seconds=seconds, random=dice(seed), tell=tell)
    loop = asyncio.get_running_loop()
    start = loop.time()
    for at, act in day.script():
        await asyncio.sleep(max(0.0, start + at * seconds - loop.time()))
        await act()
    await asyncio.sleep(max(0.0, start + seconds - loop.time()))


@dataclass(slots=True, kw_only=True)
class _Day:
    kuma: KumaSim
    irp: IrpSim
    seconds: float
    random: Random
    tell: Callable[[str], None]
    mishaps: list[tuple[KumaSim | IrpSim, Rule]] = field(default_factory=list)

    def script(self) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
        """List what happens, at which share of the day."""
        return [
            (0.00, self.morning),
            (0.10, self.new_alert),
            (0.14, self.growth),
            (0.18, self.lost_answer),
            (0.24, lambda: self.analyst_closes("False positive")),
            (0.28, self.priority),
            (0.32, self.kuma_fails),
            (0.36, self.assigned_and_closed),
            (0.40, self.outage),
            (0.52, lambda: self.analyst_closes("Resolved")),
            (0.56, self.throttled),
            (0.60, self.growth),
            (0.64, lambda: self.analyst_closes("Rule needs tuning")),
            (0.68, self.reopened),
            (0.72, self.new_alert),
            (0.76, self.growth),
            (0.80, self.evening),
        ]

    async def morning(self) -> None:
        ids = [self.kuma.raise_alert(events=self.random.randint(1, 4)) for _ in range(6)]
        self.tell(f"KUMA: {len(ids)} alerts are there when we come")
        burst = [self.kuma.raise_alert(name="R058. SSH brute force from one address", events=2) for _ in range(12)]
        self.tell(f"KUMA: a burst of {len(burst)} alerts of one rule")

    async def new_alert(self) -> None:
        alert = self.kuma.alerts[self.kuma.raise_alert(events=2)]
        self.tell(f"KUMA: a new alert, {alert['name']!r}, {alert['priority']}")

    async def growth(self) -> None:
        if alert := self._fresh_alert(delivered=False):
            new = self.kuma.grow(alert["id"], self.random.randint(1, 3))
            self.tell(f"KUMA: {alert['name']!r} fires again, {len(new)} more event{'s' * (len(new) > 1)}")

    async def priority(self) -> None:
        if alert := self._fresh_alert(delivered=False):
            to = "critical" if alert["priority"] != "critical" else "high"
            self.kuma.edit(alert["id"], priority=to)
            self.tell(f"KUMA: an analyst sets the priority of {alert['name']!r} to {to}; lastSeen stays")

    async def assigned_and_closed(self) -> None:
        if alert := await self._soon(lambda: self._fresh_alert(delivered=True)):
            self.kuma.assign(alert["id"], "i.petrova")
            self.tell(f"KUMA: {alert['name']!r} is assigned to i.petrova")
            await asyncio.sleep(self.seconds * 0.03)
            if alert["status"] != "closed":
                self.kuma.close(alert["id"], "responded")
                self.tell(f"KUMA: i.petrova closes {alert['name']!r}")

    async def analyst_closes(self, resolution: str) -> None:
        if incident := await self._soon(self._open_incident):
            self.irp.analyst_close(incident.id, resolution)
            self.tell(f"IRP:  an analyst closes {incident.number} as {resolution!r}")

    async def reopened(self) -> None:
        if incident := await self._soon(self._carried_closing):
            self.irp.reopen(incident.id)
            self.tell(f"IRP:  {incident.number} is reopened; its alert stays closed in KUMA")

    async def lost_answer(self) -> None:
        self._mishap(self.irp, "reset_after", method="POST", match=CREATE, times=1)
        self.kuma.raise_alert(name="R035. Outbound transfer of unusual size", events=2)
        self.tell("NET:  the IRP makes the next incident, but its answer is lost")

    async def kuma_fails(self) -> None:
        self._mishap(
            self.kuma, "status", code=500, match=LISTING, times=1, body={"message": "internal", "details": None}
        )
        self.tell("KUMA: the next request is answered 500")

    async def throttled(self) -> None:
        self._mishap(self.irp, "status", code=429, headers={"Retry-After": "1"}, match="/api/", times=1)
        self.tell("IRP:  the next request is answered 429, Retry-After 1 s")

    async def outage(self) -> None:
        length = self.seconds * 0.1
        rule = self._mishap(self.irp, "status", code=503, match="/api/")
        self.tell(f"IRP:  down, 503 to everything for {length:.1f} s")
        self.kuma.raise_alert(events=1)
        self.tell("KUMA: meanwhile a new alert")
        await asyncio.sleep(length)
        self.irp.faults.remove(rule)
        self.tell("IRP:  up again")

    async def evening(self) -> None:
        for side, rule in self.mishaps:
            side.faults.remove(rule)
        self.tell("BOTH: the rest of the day is quiet")

    async def _soon(self, find: Callable[[], T | None]) -> T | None:
        """Look again for a while: the daemon may be a moment behind. None when there is still nothing."""
        for _ in range(40):
            if (found := find()) is not None:
                return found
            await asyncio.sleep(self.seconds / 400)
        return None

    def _mishap(self, side: KumaSim | IrpSim, kind: str, **conditions: object) -> Rule:
        rule = side.faults.add(kind, **conditions)
        self.mishaps.append((side, rule))
        return rule

    def _fresh_alert(self, *, delivered: bool) -> Json | None:
        """Pick a new alert whose incident, if there is one yet, is open."""
        incidents = {one.external_id.rpartition(":")[2]: one for one in self.irp.incidents.values()}

        def fits(id_: str, alert: Json) -> bool:
            incident = incidents.get(id_)
            if alert["status"] != "new" or (delivered and incident is None):
                return False
            return incident is None or incident.status == "open"

        return self._any([alert for id_, alert in self.kuma.alerts.items() if fits(id_, alert)])

    def _open_incident(self) -> Incident | None:
        """Pick an open incident of a new alert."""
        return self._any([one for one in self.irp.incidents.values() if one.status == "open" and self._is_new(one)])

    def _carried_closing(self) -> Incident | None:
        """Pick an incident closed by an analyst whose closing has reached KUMA."""
        closed = [one for one in self.irp.incidents.values() if one.history[-1][0] == "analyst_close"]
        return self._any([one for one in closed if not self._is_new(one)])

    def _is_new(self, incident: Incident) -> bool:
        alert = self.kuma.alerts.get(incident.external_id.rpartition(":")[2])
        return alert is not None and alert["status"] == "new"

    def _any(self, choices: list[T]) -> T | None:
        return self.random.choice(choices) if choices else None
