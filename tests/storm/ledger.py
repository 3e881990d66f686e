"""Keeps what the program owes to somebody: world and analysts write it down, the oracle judges by it."""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from kuma_sync.sim.values import Json

REASONS = {"False positive": "incorrect data", "Rule needs tuning": "incorrect correlation rule"}
RESOLUTIONS = (*REASONS, "Resolved", "false POSITIVE")


def reason_of(resolution: str) -> str:
    """Return the reason that a resolution means in KUMA, by the configuration."""
    listed = {name.casefold(): reason for name, reason in REASONS.items()}
    return listed.get(resolution.casefold(), "responded")


ALERT = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
"""An alert's id. Pieces of KUMA's answer that are no alerts have ids of another form."""


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
    """By alert id, but for `edits`. `allowed` are the reasons an alert may be closed with in KUMA."""

    allowed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    by_desk: set[str] = field(default_factory=set)
    by_door: set[str] = field(default_factory=set)
    door_only: set[str] = field(default_factory=set)
    by_kuma: dict[str, str] = field(default_factory=dict)
    left_new: dict[str, float] = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
    vanished: dict[str, Json] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    spared: set[str] = field(default_factory=set)
    """Alerts that nobody touches: what becomes of them tells how long a fresh one takes."""
    unread: set[str] = field(default_factory=set)
    """Alerts that left `new` in the moment when they were raised: nobody can have read them before."""
    late: set[str] = field(default_factory=set)
    """Alerts that were published too late for any read but a sweep."""
    costly: set[str] = field(default_factory=set)
    trespassed: set[str] = field(default_factory=set)
    """Alerts whose closing a door took from a target that does not have their incident."""
    restored: int = 0
    """How often the store was restored from an older copy."""
    deeds: Counter[str] = field(default_factory=Counter)
    changed: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    """When KUMA changed what an incident's field shows, by alert and field."""

    def kuma_changed(self, alert_id: str, name: str) -> None:
        """Note that KUMA has just changed what this field shows."""
        self.changed[alert_id, name].append(time.monotonic())
