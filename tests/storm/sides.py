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


class Witness:
    """Stands before KUMA's own door and its faults, and notes which alerts an answer sent whole has shown."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.first_shown: dict[str, float] = {}
        self.sweeps = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. What it shows was looked up after it came, and may leave KUMA's list before it is read."""
        came, status, whole = time.monotonic(), 0, False

        async def watched(message: Message) -> None:
            nonlocal status, whole
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                whole = not message.get("more_body", False)
            await send(message)

        await self._app(scope, receive, watched)
        # To a client that is gone everything can be sent.
        left = scope["state"][TRANSPORT].is_closing()
        if status == 200 and whole and not left and scope["path"].endswith(LISTING):
            self._note(scope, came)

    def _note(self, scope: MutableMapping[str, Any], came: float) -> None:
        for alert_id in scope["state"].get("sim.shown", ()):
            self.first_shown.setdefault(alert_id, came)
        self.sweeps += b"timestampField=firstSeen" in scope["query_string"]


class StampedIrp(IrpSim):
    """An IRP that also remembers when each incident was written to or reopened, side by side with its history."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.stamps: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self.keys: set[str] = set()

    @property
    def ever(self) -> dict[str, Incident]:
        """Return all incidents that ever were, the deleted ones too."""
        return {**{incident.id: incident for incident in self.deleted}, **self.incidents}

    def wrote(self, operation: str, incident: Incident, body: Json) -> None:
        """Record an effective write: its place in the history, and the time."""
        self.keys.add(incident.external_id)
        self._stamp(incident)
        super().wrote(operation, incident, body)

    def reopen(self, id: str) -> None:
        """Open a closed incident again."""
        self._stamp(self.incidents[id])
        super().reopen(id)

    def _stamp(self, incident: Incident) -> None:
        self.stamps[incident.id].append((len(incident.history), time.monotonic()))
