"""Plays KUMA's side of life, by chance with a seed: alerts come, grow, move, flap and go; analysts act between.

What the daemon owes is written down in the ledger.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from random import Random

from analysts import Analysts
from environment import Environment
from kinds import UNREAD, Kinds
from ledger import Ledger
from routes import PLAIN, TENANTS, WANDERER
from supervised import until

from kuma_sync.sim.values import Json, SimError, moment

FIRST = 280
"""Alerts that are there when we come: more than a page of KUMA's."""
CROWD = 700
"""New alerts in KUMA beyond which a burst is answered by its analysts closing many at once."""
OVERLAP = timedelta(seconds=5)
SETTLED = 30.0
"""Seconds after which KUMA's retention may remove a closed alert; in truth it is a year."""
REASONS = ("responded", "incorrect data", "incorrect correlation rule")


class World:
    """Plays both sides until told to stop."""

    def __init__(self, environment: Environment, *, seed: int, long: bool, kinds: Kinds) -> None:
        self._bursts = (5, 10, 60) if long else (5, 10)
        self._environment = environment
        self._kuma = environment.kuma
        self._irps = environment.irps
        self._witness = environment.witness
        self._random = Random(f"world {seed}")
        self.ledger = Ledger()
        self.analysts = Analysts(environment, self.ledger, random=self._random)
        self._menu: dict[Callable[[], object], int] = {
            self.alert: 10,
            self.burst: 2,
            self.late: 3,
            self.tomorrow: 1,
            self.wanderer: 2,
            self.grow: 14,
            self.edit: 5,
            self.leave: 6,
            self.come_back: 5,
            self.close: 5,
            self.vanish: 1,
            self.reappear: 3,
            self.retention: 1,
            self.analysts.analyst_edits: 6,
            self.analysts.analyst_closes: 6,
            self.analysts.analyst_reopens: 1,
            self.analysts.analyst_deletes: 2,
        }
        if UNREAD in kinds:
            self._menu |= {self.leave_unread: 4, self.close_unread: 3}
        self._harmless = (self.alert, self.burst, self.late, self.tomorrow, self.wanderer, self.grow, self.edit)
        self._restrained = False
        self._flapping = 0

    @property
    def never(self) -> list[str]:
        """Name the deeds that were never done."""
        names = [act.__name__ for act in (*self._menu, self.flap, self.analysts.door, self.analysts.trespass)]
        return [name for name in names if not self.ledger.deeds[name]]

    async def live(self) -> None:
        """Go on until cancelled; a door call and a flapping alert take their own time beside."""
        for _ in range(FIRST):
            self._kuma.raise_alert(events=1, seen=self._kuma.clock() - timedelta(seconds=self._random.randint(0, 60)))
        async with asyncio.TaskGroup() as beside:
            while True:
                await asyncio.sleep(self._random.uniform(0.02, 0.14))
                chance = 1 if self._restrained else self._random.random()
                with contextlib.suppress(SimError):
                    if chance < 0.01:
                        beside.create_task(self.analysts.trespass(self.analysts.open_incident(pushed=True)))
                    elif chance < 0.03:
                        beside.create_task(self.analysts.door(self.analysts.open_incident(pushed=True)))
                    elif chance < 0.05:
                        beside.create_task(self.flap(self._alert("new")["id"]))
                    else:
                        self.deed()

    def deed(self) -> None:
        """Do one thing; what the simulator refuses (nobody there, or closed meanwhile) is no deed."""
        menu = {act: self._menu[act] for act in self._harmless} if self._restrained else self._menu
        (act,) = self._random.choices(list(menu), weights=list(menu.values()))
        with contextlib.suppress(SimError):
            act()
            self.ledger.deeds[act.__name__] += 1

    @asynccontextmanager
    async def nothing_final(self) -> AsyncIterator[None]:
        """Let alerts come, grow and change, but nothing leave or be closed, until the end of the block.

        When it begins, what happened before has been read.
        """
        self._restrained = True
        try:
            await until(
                lambda: not (self.analysts.calls or self._flapping or self._environment.robot.busy), within=20.0
            )
            sweeps = self._witness.sweeps
            await until(lambda: self._witness.sweeps >= sweeps + 2, within=20.0)
            yield
        finally:
            self._restrained = False

    def between_pages(self) -> None:
        """Let rows move while they are read: one more at the head, one less anywhere."""
        with contextlib.suppress(SimError):
            self.alert()
            self.leave()

    def settle_down(self) -> None:
        """Bring back whatever vanished."""
        while self.ledger.vanished:
            self.reappear()

    def alert(self) -> None:
        self._kuma.raise_alert(events=self._random.choice((0, 1, 1, 2, 3, 8)))

    def burst(self) -> None:
        """Raise many alerts in one second; where there are too many already, KUMA's analysts close as many."""
        second, size = self._kuma.clock().replace(microsecond=0), self._random.choice(self._bursts)
        if sum(alert["status"] == "new" for alert in self._kuma.alerts.values()) > CROWD:
            for _ in range(0 if self._restrained else size):
                self.close()
            return
        for _ in range(size):
            self._kuma.raise_alert(events=1, seen=second, name="R058. SSH brute force from one address")

    def late(self) -> None:
        """Publish an alert whose time has long passed: only a sweep can show it."""
        age = timedelta(seconds=self._random.choice((1, 3, 30, 1800)))
        alert_id = self._kuma.raise_alert(seen=self._kuma.clock() - age)
        if age > OVERLAP / 2:
            self.ledger.late.add(alert_id)

    def tomorrow(self) -> None:
        self._kuma.raise_alert(seen=self._kuma.clock() + timedelta(days=1))

    def wanderer(self) -> None:
        """Raise an alert whose target changes with the configuration."""
        self._kuma.raise_alert(name=WANDERER, tenant=TENANTS[PLAIN], events=1)

    def grow(self) -> None:
        """Add events; sometimes without moving lastSeen, while that is within the overlap and so will be noticed."""
        alert = self._alert("new", "new", "assigned", "escalated")
        last = moment(str(alert["lastSeen"])) or self._kuma.clock()
        if last > self._kuma.clock() and alert["status"] != "new":
            raise SimError("lastSeen would stay ahead: such growth is told when that has passed, tomorrow")
        fresh = self._kuma.clock() - last < OVERLAP / 2
        moves = not fresh or self._random.random() < 0.8
        self._kuma.grow(alert["id"], self._random.choice((1, 1, 2, 5)), move_last_seen=moves)

    def edit(self) -> None:
        alert = self._alert("new", "assigned", "escalated")
        self._kuma.edit(alert["id"], priority=self._random.choice(("low", "medium", "high", "critical")))
        self.ledger.kuma_changed(alert["id"], "severity")

    def leave(self) -> None:
        self._leave(self._alert("new")["id"])

    def leave_unread(self) -> None:
        """Let an alert be taken over in the moment when it is raised."""
        self._leave(self._raise_unread())

    def close_unread(self) -> None:
        """Let an alert be closed in the moment when it is raised."""
        alert_id, reason = self._raise_unread(), self._random.choice(REASONS)
        self._kuma.close(alert_id, reason)
        self.ledger.by_kuma[alert_id] = reason
        self.ledger.left_new[alert_id] = time.monotonic()

    def come_back(self) -> None:
        self._come_back(self._alert("assigned", "escalated")["id"])

    def _come_back(self, alert_id: str) -> None:
        self._kuma.unescalate(alert_id)
        self.ledger.kuma_changed(alert_id, "assignee")

    async def flap(self, alert_id: str) -> None:
        """Let an alert leave `new` and come back, again and again, faster than anybody reads."""
        self._flapping += 1
        with contextlib.suppress(SimError):
            for _ in range(self._random.choice((2, 4, 8))):
                self._leave(alert_id)
                await asyncio.sleep(self._random.uniform(0.05, 0.6))
                self._come_back(alert_id)
                await asyncio.sleep(self._random.uniform(0.05, 0.6))
            self.ledger.deeds["flap"] += 1
        self._flapping -= 1

    def close(self) -> None:
        alert_id, reason = self._alert("new", "assigned", "escalated")["id"], self._random.choice(REASONS)
        self._kuma.close(alert_id, reason)
        self.ledger.by_kuma[alert_id] = reason
        self.ledger.left_new.setdefault(alert_id, time.monotonic())

    def vanish(self) -> None:
        """Take an alert out of KUMA's sight for a while."""
        alert = self._alert("new", "assigned")
        alert_id = alert["id"]
        if alert["status"] != "new" and f"kuma:kuma:{alert_id}" not in self._irps.keys:
            raise SimError("it may not have been read yet, and when it comes back no read shows it")
        self.ledger.left_new[alert_id] = time.monotonic()
        self.ledger.vanished[alert_id] = self._kuma.alerts.pop(alert_id)

    def reappear(self) -> None:
        if not self.ledger.vanished:
            raise SimError("there is none")
        alert_id = self._random.choice(list(self.ledger.vanished))
        self._kuma.alerts[alert_id] = self.ledger.vanished.pop(alert_id)

    def retention(self) -> None:
        """Let KUMA's retention remove a closed alert."""
        alert_id = self._alert("closed")["id"]
        if time.monotonic() - self.ledger.left_new.get(alert_id, 0.0) < SETTLED:
            raise SimError("it was closed just now")
        self._kuma.delete(alert_id)
        self.ledger.gone.add(alert_id)

    def _raise_unread(self) -> str:
        if self._witness.first_sweep is None:
            raise SimError("what is there before the first read, and not asked for, is left alone")
        alert_id = self._kuma.raise_alert(events=self._random.choice((0, 1, 2)))
        self.ledger.unread.add(alert_id)
        return alert_id

    def _leave(self, alert_id: str) -> None:
        if self._random.random() < 0.6:
            self._kuma.assign(alert_id, self._random.choice(("i.petrova", "a.смирнов")))
        else:
            self._kuma.escalate(alert_id)
        self.ledger.kuma_changed(alert_id, "assignee")
        self.ledger.left_new[alert_id] = time.monotonic()

    def _alert(self, *statuses: str) -> Json:
        """Pick an alert in one of these states, named once or more often; raise SimError where there is none."""
        wanted, spared = self._random.choice(statuses), self.ledger.spared
        choices = [one for one in self._kuma.alerts.values() if one["status"] == wanted and one["id"] not in spared]
        if not choices:
            raise SimError(f"there is no {wanted} alert")
        return self._random.choice(choices)
