"""Wraps both simulators: records which answers went out whole and when, and when the IRP was written to."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import MutableMapping
from datetime import datetime
from typing import Any

from kinds import HIDDEN_ROW, SHORT_PAGES
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kuma_sync.sim.irp import Incident, IrpSim
from kuma_sync.sim.kuma import KumaSim
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


class StampedIrp(IrpSim):
    """An IRP that also remembers when each incident was written to or reopened, side by side with its history.

    `heard` is when somebody was told that an incident is closed.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.stamps: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self.heard: dict[str, list[float]] = defaultdict(list)
        self.keys: set[str] = set()

    @property
    def ever(self) -> dict[str, Incident]:
        """Return all incidents that ever were, the deleted ones too."""
        return {**{incident.id: incident for incident in self.deleted}, **self.incidents}

    async def overheard(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, faults and all."""
        status = await answered(self.app, scope, receive, send)
        *_, incident_id, operation = ["", *scope["path"].split("/")]
        if operation == "close" and status in CLOSED:
            self.heard[incident_id].append(time.monotonic())

    def wrote(self, operation: str, incident: Incident, body: Json) -> None:
        """Record an effective write: its place in the history, and the time."""
        self.keys.add(incident.external_id)
        self.stamps[incident.id].append((len(incident.history), time.monotonic()))
        super().wrote(operation, incident, body)

    def reopen(self, id: str) -> None:
        """Open a closed incident again."""
        super().reopen(id)
        self.stamps[id].append((len(self.incidents[id].history) - 1, time.monotonic()))
