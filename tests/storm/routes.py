"""Where alerts are to go: fixed by their tenant, but for wanderers, whose route changes while the daemon runs.

A wanderer's route counts from the moment when it is written down; the one before, until every copy has said that it
reads the new one.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from kuma_sync.sim.irp import Incident

PLAIN, NORTH, ROBOT = "irp", "north", "robot"
"""The targets: the plain `[irp]`, another one that we push to, and one that polls us."""

PUSHED = (PLAIN, NORTH)

TENANTS = {PLAIN: "Main", NORTH: "Филиал Казань", ROBOT: "Дочернее общество «Восток»"}
"""The tenant whose alerts a target gets."""

WANDERER = "Wanderer: its route changes"
"""The name of an alert that goes where the route of that name leads just now."""

ROUTES = f"""
[[route]]
tenants = ["{TENANTS[NORTH]}"]
target = "{NORTH}"
[[route]]
tenants = ["{TENANTS[ROBOT]}"]
target = "{ROBOT}"
"""


@dataclass(kw_only=True)
class Spell:
    """How long a route counted, in seconds of our monotonic clock."""

    target: str
    begin: float
    end: float = math.inf


@dataclass(kw_only=True)
class Routes:
    """The routes as they are, and as they were."""

    spells: list[Spell] = field(default_factory=lambda: [Spell(target=PLAIN, begin=-math.inf)])

    @property
    def toml(self) -> str:
        """Return the routes for the configuration; at first wanderers have none of their own."""
        own = f'[[route]]\nnames = ["^Wanderer"]\ntarget = "{self.spells[-1].target}"\n' if len(self.spells) > 1 else ""
        return own + ROUTES

    def change(self, target: str) -> None:
        """Lead wanderers elsewhere from now on."""
        self.spells.append(Spell(target=target, begin=time.monotonic()))

    def settle(self) -> None:
        """Note that all copies know the last route by now."""
        for spell in self.spells[:-1]:
            spell.end = min(spell.end, time.monotonic())

    def right(self, incident: Incident, *, shown: float, created: float) -> set[str]:
        """Return the targets that an incident may be in; its alert was first shown and then decided about."""
        if incident.fields.get("title") == WANDERER:
            return {spell.target for spell in self.spells if spell.begin <= created and shown <= spell.end}
        tenant = incident.fields.get("tenant")
        return {target for target, of in TENANTS.items() if of == tenant}
