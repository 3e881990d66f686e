"""Wraps the simulators: records which answers went out whole and when, and when each IRP was written to."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kinds import HIDDEN_ROW, SHORT_PAGES
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kuma_sync.sim.irp import Incident, IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.robot import RobotSim
from kuma_sync.sim.server import TRANSPORT
from kuma_sync.sim.values import Json

LISTING = "/alerts/"
PAGE = 250
NO_CONTENT = 204
CLOSED = (NO_CONTENT, 409)
"""Answers to a closing that say the incident is closed; 409: that it was already."""


async def answered(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> int:
    """Serve one request; return the status of an answer that was sent whole to somebody who was still there, else 0."""
    status, whole = 0, False

    async def watched(message: Message) -> None:
        nonlocal status, whole
        if message["type"] == "http.response.start":
            status = message["status"]
            whole = status == NO_CONTENT  # for the client it ends with its headers
        elif status != NO_CONTENT:
            whole = not message.get("more_body", False)
        await send(message)

    await app(scope, receive, watched)
    # To a client that is gone everything can be sent.
    left = scope["state"][TRANSPORT].is_closing()
    return status if whole and not left else 0


class Witness:
    """Stands before KUMA's own door and its faults, and notes which alerts an answer sent whole has shown."""

    def __init__(self, kuma: KumaSim) -> None:
        self._kuma = kuma
        self.first_shown: dict[str, float] = {}
        self.shown_as_new: set[str] = set()
        self.shown_with_events: set[str] = set()
        self.sweeps = 0
        self.first_sweep: datetime | None = None
        """KUMA's time at the first sweep that follows the store's first read."""
        self.cut: Counter[str] = Counter()
        """Pages that were shorter than usual although more was to come, by kind."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. What it shows was looked up after it came, and may leave KUMA's list before it is read."""
        came = time.monotonic()
        status = await answered(self._kuma.app, scope, receive, send)
        if status == 200 and scope["path"].endswith(LISTING):
            self._note(scope, came)

    def _note(self, scope: MutableMapping[str, Any], came: float) -> None:
        shown, query = scope["state"].get("sim.shown", set()), scope["query_string"]
        for alert_id in shown:
            self.first_shown.setdefault(alert_id, came)
        self.shown_as_new |= shown if b"status=new" in query else set()
        self.shown_with_events |= shown if b"withEvents" in query else set()
        if b"timestampField=firstSeen" in query:
            self.sweeps += 1
            self.first_sweep = self.first_sweep or self._kuma.clock()
        if b"id=" not in query:
            self._note_cut(len(shown))

    def _note_cut(self, rows: int) -> None:
        knobs = self._kuma.knobs
        if not knobs.page_size - len(knobs.hidden) <= rows < PAGE:
            return
        self.cut[SHORT_PAGES] += knobs.page_size < PAGE
        self.cut[HIDDEN_ROW] += rows < knobs.page_size


@dataclass(kw_only=True)
class Records:
    """What all IRPs remember together, by incident: an incident's id is of one IRP alone.

    `stamps` are when it was written to or reopened, side by side with its history; `heard` is when somebody was told
    that it is closed. `keys` are those of all incidents that ever were.
    """

    keys: set[str] = field(default_factory=set)
    stamps: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: defaultdict(list))
    heard: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


class StampedIrp(IrpSim):
    """An IRP that keeps records."""

    def __init__(self, *, records: Records, **settings: Any) -> None:
        super().__init__(**settings)
        self.records = records

    async def overheard(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, faults and all."""
        status = await answered(self.app, scope, receive, send)
        *_, incident_id, operation = ["", *scope["path"].split("/")]
        if operation == "close" and status in CLOSED:
            self.records.heard[incident_id].append(time.monotonic())

    def wrote(self, operation: str, incident: Incident, body: Json) -> None:
        """Record an effective write: its place in the history, and the time."""
        self.records.keys.add(incident.external_id)
        self.records.stamps[incident.id].append((len(incident.history), time.monotonic()))
        super().wrote(operation, incident, body)

    def reopen(self, id: str) -> None:
        """Open a closed incident again."""
        super().reopen(id)
        self.records.stamps[id].append((len(self.incidents[id].history) - 1, time.monotonic()))


class StampedRobot(StampedIrp, RobotSim):
    """An IRP that polls, and keeps records."""

    def __init__(self, *, records: Records, **settings: Any) -> None:
        super().__init__(records=records, **settings)
        self._ordered = 0

    @property
    def busy(self) -> bool:
        """Tell whether a closing is not answered yet."""
        return len(self.closings) < self._ordered

    def analyst_close(self, id: str, resolution: str) -> None:
        """Close a card as an analyst does."""
        super().analyst_close(id, resolution)
        self._ordered += 1


class Irps:
    """All targets, by their names in the configuration, and what they hold together."""

    def __init__(self, targets: Mapping[str, StampedIrp], records: Records) -> None:
        self.targets = targets
        self.keys = records.keys
        self.stamps = records.stamps
        self.heard = records.heard

    @property
    def incidents(self) -> dict[str, Incident]:
        """Return all incidents by id."""
        return {id_: incident for irp in self.targets.values() for id_, incident in irp.incidents.items()}

    @property
    def deleted(self) -> list[Incident]:
        """Return what analysts deleted."""
        return [incident for irp in self.targets.values() for incident in irp.deleted]

    @property
    def ever(self) -> dict[str, Incident]:
        """Return all incidents that ever were, the deleted ones too."""
        return {**{incident.id: incident for incident in self.deleted}, **self.incidents}

    @property
    def writes(self) -> list[tuple[str, str, Json]]:
        """Return what was written, target by target."""
        return [write for irp in self.targets.values() for write in irp.writes]

    @property
    def written(self) -> int:
        """Count what was written."""
        return sum(len(irp.writes) for irp in self.targets.values())

    def by_key(self, key: str) -> list[Incident]:
        """Return the incidents of a key, wherever they are."""
        return [incident for irp in self.targets.values() for incident in irp.by_key(key)]

    def holder(self, incident: Incident) -> StampedIrp:
        """Return the IRP that an incident is in."""
        return next(irp for irp in self.targets.values() if incident.id in irp.incidents)

    def pushed(self) -> list[Incident]:
        """Return the incidents of the IRPs that we push to."""
        pushed = [irp for irp in self.targets.values() if not isinstance(irp, StampedRobot)]
        return [incident for irp in pushed for incident in irp.incidents.values()]
