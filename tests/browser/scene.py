"""A day with some of everything that a console has to show: two IRPs, the daemon as a process, people who sign in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from addresses import somewhere
from argon2 import PasswordHasher
from stage import Child, Stage, eventually
from two_targets import Two, two

from kuma_sync.app.build import open_store
from kuma_sync.store import Store
from kuma_sync.store.read_models.activity import A_DAY

OPERATOR, VIEWER = ("anna", "correct horse battery"), ("viktor", "staple and paper clip")

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>{{ 7*7 }}\u202egnp.exe\u202c\x1b[31m\"'>"
"""An alert's name that attacks a page, a template, the direction of writing, and a terminal."""

REFUSED = "R077. Malware found & not removed <EPP>"
"""The IRP takes no incident with this title: such alerts are parked."""

LOCKED = "Архив"
"""A tenant that is disabled in KUMA: its alerts cannot be closed there."""

SECRETS = {"kuma": "kuma-token", "irp": "irp-token", "north": "north-token", "door": "door-token"}
"""What no page shows."""


@dataclass(slots=True, kw_only=True)
class Scene:
    """Both sides, the daemon between them, and alerts by what became of them."""

    two: Two
    child: Child
    base: str
    store: Store
    ids: dict[str, list[str]] = field(default_factory=dict)

    @property
    def stage(self) -> Stage:
        """Return the stage."""
        return self.two.stage

    def one(self, what: str) -> str:
        """Return the first alert of those."""
        return self.ids[what][0]

    def counts(self) -> dict[str, int]:
        """Count the alerts by state."""
        with self.store.reading() as tx:
            return {state.value: count for state, count in tx.overview.counts().items()}

    async def until(self, *, within: float = 40, **wanted: int) -> None:
        """Wait until so many alerts are in these states."""
        await eventually(lambda: wanted.items() <= self.counts().items(), within=within)

    async def made(self, alerts: Sequence[str], *, number: int | None = None) -> list[str]:
        """Wait until the daemon knows incidents of so many of these alerts, else of all; return those alerts.

        That an alert is open does not say it: a listing may have shown it, and its contents are being read.
        """

        def known() -> list[str]:
            with self.store.reading() as tx:
                links = tx.links.many(alerts)
            return [one for one in alerts if one in links and links[one].made]

        wanted = len(alerts) if number is None else number
        await eventually(lambda: len(known()) == wanted, within=40)
        return known()

    async def noted(self) -> None:
        """Wait until the daemon has noted what happened, which it does every minute."""

        def happened() -> int:
            with self.store.reading() as tx:
                return tx.happened.last(A_DAY).kuma.arrived

        await eventually(happened, within=90)


@cache
def hashed(password: str) -> str:
    """Return the hash of a password, by as little work as is taken."""
    return PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1).hash(password)


@asynccontextmanager
async def scene(folder: Path, **sections: dict[str, Any]) -> AsyncIterator[Scene]:
    """Open the stage with two IRPs, and the daemon with its console; nothing happened yet."""
    listen = somewhere()
    console = {
        "enabled": True,
        "users": {name: hashed(password) for name, password in (OPERATOR, VIEWER)},
        "roles": {VIEWER[0]: "viewer"},
    }
    web = {"listen": listen, "tokens": {"security-vision": SECRETS["door"]}, "console": console}
    async with two(folder, f"sqlite:///{folder}/store.db", web=web, **sections) as sides, sides.stage.daemon() as child:
        base = f"http://{listen}"
        await eventually(lambda: _ready(base), within=40)
        store = open_store(sides.stage.settings(), untouched=True)
        try:
            yield Scene(two=sides, child=child, base=base, store=store)
        finally:
            store.close()


async def _ready(base: str) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"{base}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


@asynccontextmanager
async def day(folder: Path) -> AsyncIterator[Scene]:
    """Open a scene in which some of everything happened: delivered, closed, parked, held, waiting."""
    sections: dict[str, dict[str, Any]] = {
        "poll": {"interval": "500ms"},
        "brake": {"max_new": 8, "max_closed_percent": 30, "min_alerts": 4},
        "kuma": {"web_url": "https://kuma.example.test:7220"},
    }
    async with scene(folder, **sections) as here:
        await _delivered(here)
        await _closed(here)
        await _parked(here)
        await _held(here)
        await _waiting(here)
        yield here


async def _delivered(here: Scene) -> None:
    kuma = here.stage.kuma
    here.ids["delivered"] = [kuma.raise_alert(events=3) for _ in range(5)]
    here.ids["hostile"] = [kuma.raise_alert(name=HOSTILE, events=2, priority="critical")]
    await here.made(here.ids["delivered"] + here.ids["hostile"])
    here.ids["north"] = [here.two.alert("a0000000-0000-4000-8000-00000000000a", name="R041. Доступ к «lsass.exe»")]
    here.ids["locked"] = [kuma.raise_alert(tenant=LOCKED, events=1)]
    await here.made(here.ids["north"] + here.ids["locked"])
    await here.until(open=8)
    kuma.grow(here.one("delivered"), 2)


async def _closed(here: Scene) -> None:
    stage = here.stage
    by_irp, by_kuma = here.ids["delivered"][3:5]
    stage.irp.analyst_close(stage.incident(by_irp).id, "Resolved")
    await here.until(closed=1)
    stage.kuma.close(by_kuma, "responded")
    await here.until(closed=2)
    here.ids["closed"] = [by_irp, by_kuma]


async def _parked(here: Scene) -> None:
    stage = here.stage
    stage.irp.knobs.reject_titles = "R077"
    names = (REFUSED, REFUSED, f"R077. {HOSTILE}")
    here.ids["parked"] = [stage.kuma.raise_alert(name=name, events=2, priority="high") for name in names]
    await here.until(parked=3)
    stage.kuma.knobs.disabled_tenants = {str(stage.kuma.alerts[here.one("locked")]["tenantID"])}
    stage.irp.analyst_close(stage.incident(here.one("locked")).id, "False positive")
    await here.until(parked=4)


async def _held(here: Scene) -> None:
    stage = here.stage
    burst = [stage.kuma.raise_alert(name="R058. SSH brute force from one address", events=1) for _ in range(12)]
    # Only of incidents that it knows does the daemon learn that they were closed.
    await here.until(held=4)
    made = await here.made(burst, number=8)
    here.ids["held create"] = [one for one in burst if one not in made]
    here.ids["held close"] = made[:6]
    for alert_id in here.ids["held close"]:
        stage.irp.analyst_close(stage.incident(alert_id).id, "Resolved")
    await here.until(held=10)


async def _waiting(here: Scene) -> None:
    here.two.north.faults.add("status", code=503, match="/api/")
    ids = [f"b0000000-0000-4000-8000-00000000000{number}" for number in range(3)]
    here.ids["waiting"] = [here.two.alert(one, events=1, priority="critical") for one in ids]
    await here.until(pending=3)
