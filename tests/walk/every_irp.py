"""One walk that goes the same way over every IRP, and how each IRP is set up, looked at and played.

An adapter is all that an IRP adds: `settings`, what it shows of an alert, and an analyst who closes an incident.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from addresses import somewhere
from beacon_desk import BeaconDesk, Case
from stage import Child, Stage, eventually, leases_run_out, parked, quick_profile, until_rest

from kuma_sync.sim.irp import Incident, IrpSim
from kuma_sync.sim.robot import SEVERITIES, RobotOptions, RobotSim
from kuma_sync.sim.server import SimServer

PATIENCE = 90.0
"""Seconds for a step: a real IRP is slow, and a create in doubt is settled before it is sent again."""

TENANTS = ("Main", "Филиал «Север»")
"""Alerts are of these by turns, so that two targets share them."""

SECOND = "second"

MANY = 130
"""Events of the largest alert: more than some IRPs take in one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An incident as its IRP shows it; the priority is in the IRP's words."""

    open: bool
    title: str
    priority: str
    events: frozenset[str]


class Irp(Protocol):
    """The IRP, or several of them, for the walk.

    `settings` are sections of the configuration; `priorities` has the IRP's word for each of KUMA's.
    """

    settings: Mapping[str, dict[str, Any]]
    priorities: Mapping[str, str]

    def alerts(self) -> list[str]:
        """Return the alert of each incident, once for every incident it has."""

    def shown(self, alert_id: str) -> Shown:
        """Return what is shown of an alert's one incident."""

    def close_as_wrong(self, alert_id: str) -> None:
        """Close an alert's incident as an analyst who found that the rule was fed incorrect data."""


async def walk(stage: Stage, irp: Irp) -> None:
    """Create, grow, close both ways, with an end of the process in each of them; then both sides agree."""
    stage.configure(**irp.settings)
    sizes = [2] * 8 + [MANY] * 2
    raised = [stage.kuma.raise_alert(events=size, tenant=TENANTS[n % 2]) for n, size in enumerate(sizes)]
    grown, closed, wrong, wrong_meanwhile = (raised[place : place + 2] for place in range(0, 8, 2))

    child = stage.start()
    await eventually(lambda: len(irp.alerts()) >= 3, within=PATIENCE)
    await _killed(stage, child)

    child = stage.start()
    await eventually(lambda: set(irp.alerts()) == set(raised), within=PATIENCE)
    for alert_id in (*wrong, *wrong_meanwhile):
        # Some IRPs take events only after the create, and an incident that was closed there gets nothing more.
        await _until_it_follows(stage, irp, alert_id)
    for alert_id in grown:
        stage.kuma.edit(alert_id, priority="low")
        stage.kuma.grow(alert_id, events=3)
    for alert_id in closed:
        stage.kuma.close(alert_id, "incorrect correlation rule")
    for alert_id in wrong:
        irp.close_as_wrong(alert_id)
    await _until_it_follows(stage, irp, grown[0])
    await _killed(stage, child)
    for alert_id in wrong_meanwhile:
        irp.close_as_wrong(alert_id)

    async with stage.daemon():
        for alert_id in raised:
            await _until_it_follows(stage, irp, alert_id)
    async with stage.working() as runtime:
        await until_rest(runtime, within=PATIENCE)
        assert await parked(runtime) == []

    assert Counter(irp.alerts()) == Counter(raised), "no incident lost, none doubled"
    assert sorted(stage.kuma.closes) == sorted((id_, "incorrect data") for id_ in (*wrong, *wrong_meanwhile))
    for alert_id in raised:
        assert _follows(stage, irp, alert_id), (stage.kuma.alerts[alert_id], irp.shown(alert_id))


async def _killed(stage: Stage, child: Child) -> None:
    child.process.kill()
    assert await child.ended() == -signal.SIGKILL
    await leases_run_out(stage)


async def _until_it_follows(stage: Stage, irp: Irp, alert_id: str) -> None:
    await eventually(lambda: _follows(stage, irp, alert_id), within=PATIENCE)


def _follows(stage: Stage, irp: Irp, alert_id: str) -> bool:
    """Tell whether an incident shows all that its alert is; one that is closed needs no update any more."""
    alert, shown = stage.kuma.alerts[alert_id], irp.shown(alert_id)
    events = {event["ID"] for event in alert["events"]}
    told = (shown.title, shown.priority, shown.events) == (alert["name"], irp.priorities[alert["priority"]], events)
    return shown.open == (alert["status"] != "closed") and told


class Simulated:
    """A simulator of ours; the alert of an incident is what follows the last colon of its key."""

    def __init__(self, sim: IrpSim, settings: Mapping[str, dict[str, Any]]) -> None:
        self.settings = {"close": {"reasons": {"False positive": "incorrect data"}}, **settings}
        self.priorities = SEVERITIES
        self._sim = sim

    def alerts(self) -> list[str]:
        """Return the alert of each incident."""
        return [incident.external_id.rpartition(":")[2] for incident in self._sim.incidents.values()]

    def shown(self, alert_id: str) -> Shown:
        """Return what is shown of an alert's incident."""
        incident = self._incident(alert_id)
        told = self._sim.common(incident)
        return Shown(
            open=incident.status == "open",
            title=told["title"],
            priority=told["severity"],
            events=frozenset(event["ID"] for event in incident.events),
        )

    def close_as_wrong(self, alert_id: str) -> None:
        """Close an alert's incident."""
        self._sim.analyst_close(self._incident(alert_id).id, "False positive")

    def _incident(self, alert_id: str) -> Incident:
        (incident,) = self._sim.by_key(f"kuma:kuma:{alert_id}")
        return incident


class Beacon:
    """The made-up product: events are wherever the profile writes them, so each is looked for by its id."""

    def __init__(self, desk: BeaconDesk, stage: Stage, irp: dict[str, Any]) -> None:
        reasons = {"real": "responded", "false-alarm": "incorrect data", "rule-error": "incorrect correlation rule"}
        self.settings: Mapping[str, dict[str, Any]] = {"irp": irp, "close": {"reasons": reasons}}
        self.priorities: Mapping[str, str] = {"low": "1", "medium": "2", "high": "3", "critical": "4"}
        self.desk = desk
        self._kuma = stage.kuma

    def alerts(self) -> list[str]:
        """Return the alert of each case."""
        return [case.ref.rpartition(":")[2] for case in self.desk.cases.values()]

    def shown(self, alert_id: str) -> Shown:
        """Return what is shown of an alert's case."""
        case, alert = self.case(alert_id), self._kuma.alerts[alert_id]
        return Shown(
            open=case.state != "done",
            title=case.one("title"),
            priority=case.one("level"),
            events=frozenset(event["ID"] for event in alert["events"] if case.says(event["ID"])),
        )

    def close_as_wrong(self, alert_id: str) -> None:
        """Close an alert's case."""
        self.desk.done(self.case(alert_id).ref, "false-alarm")

    def case(self, alert_id: str) -> Case:
        """Return the one case of an alert."""
        return self.desk.case(f"kuma:kuma:{alert_id}")


class Several:
    """Two IRPs, each with the alerts of a tenant of its own."""

    def __init__(self, first: Irp, second: Irp) -> None:
        self.settings = {**second.settings, **first.settings, "targets": {SECOND: second.settings["irp"]}}
        self.priorities = first.priorities
        self._irps = (first, second)

    def alerts(self) -> list[str]:
        """Return the alert of each incident, wherever it is."""
        return [alert_id for irp in self._irps for alert_id in irp.alerts()]

    def shown(self, alert_id: str) -> Shown:
        """Return what is shown of an alert's incident."""
        return self._holder(alert_id).shown(alert_id)

    def close_as_wrong(self, alert_id: str) -> None:
        """Close an alert's incident."""
        self._holder(alert_id).close_as_wrong(alert_id)

    def _holder(self, alert_id: str) -> Irp:
        (holder,) = [irp for irp in self._irps if alert_id in irp.alerts()]
        return holder


@asynccontextmanager
async def pushed(stage: Stage, *, profile: str, dialect: str, **keys: Any) -> AsyncIterator[Irp]:
    """Open a simulator in a dialect, for a built-in profile with a shorter wait for what find must show."""
    sim = IrpSim(token=f"{profile}-token", dialect=dialect)
    quick = quick_profile(stage.folder, profile)
    async with SimServer(sim.app, listen=somewhere()) as server:
        yield Simulated(sim, {"irp": {"url": server.url, "token": sim.token, "profile": str(quick), **keys}})


@asynccontextmanager
async def beacon(stage: Stage, profile: Path) -> AsyncIterator[Beacon]:
    """Open the made-up product, in place of the stage's own IRP, for a profile from a file as it is."""
    desk = BeaconDesk()
    async with SimServer(desk.app, listen=somewhere()) as server:
        irp = {"url": server.url, "username": desk.user, "password": desk.token, "profile": str(profile)}
        del stage.tables["irp"]["token"]
        opened = Beacon(desk, stage, irp)
        stage.configure(**opened.settings)
        yield opened


@asynccontextmanager
async def polling(stage: Stage) -> AsyncIterator[Irp]:
    """Open the simulated connector that polls us; only alerts of every status tell of closings, too."""
    listen, token = somewhere(), "pull-token"
    options = RobotOptions(every=0.1, query="withEvents", timeout=5, tries=1000, wait=0.2)
    robot = RobotSim(f"http://{listen}", kuma_token=token, options=options)
    asking = asyncio.create_task(robot.run())
    try:
        irp = {"profile": "security-vision-pull", "token": token, "url": ""}
        yield Simulated(robot, {"irp": irp, "web": {"listen": listen}})
    finally:
        asking.cancel()
        await asyncio.wait([asking])


@asynccontextmanager
async def two_at_once(stage: Stage) -> AsyncIterator[Irp]:
    """Open one that we push to, and one that polls us."""
    async with AsyncExitStack() as stack:
        stage.tables["route"] = [{"tenants": [TENANTS[1]], "target": SECOND}]
        first = await stack.enter_async_context(pushed(stage, profile="security-vision", dialect="security-vision"))
        yield Several(first, await stack.enter_async_context(polling(stage)))
