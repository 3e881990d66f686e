"""Both simulators as the storm needs them: what really went out whole and when, and when the IRP was written to.

Must not: act, or judge; world acts, oracle judges.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kuma_sync.sim.irp import Incident, IrpSim
from kuma_sync.sim.server import TRANSPORT
from kuma_sync.sim.values import Json

LISTING = "/alerts/"
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

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.first_shown: dict[str, float] = {}
        self.sweeps = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. What it shows was looked up after it came, and may leave KUMA's list before it is read."""
        came = time.monotonic()
        status = await answered(self._app, scope, receive, send)
        if status == 200 and scope["path"].endswith(LISTING):
            self._note(scope, came)

    def _note(self, scope: MutableMapping[str, Any], came: float) -> None:
        for alert_id in scope["state"].get("sim.shown", ()):
            self.first_shown.setdefault(alert_id, came)
        self.sweeps += b"timestampField=firstSeen" in scope["query_string"]


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
