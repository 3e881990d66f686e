"""The door of a simulator: Date header, record of requests, control paths; then the faults, then the application."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta
from email.utils import format_datetime
from typing import Any, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kuma_sync.sim.control import control_app
from kuma_sync.sim.faults import Faults
from kuma_sync.sim.values import Clock, Json

KEPT_REQUESTS = 20_000


@dataclass(slots=True, kw_only=True)
class SimRequest:
    """Remember one request. Status is 0 until (unless) an answer began; `size` counts the answer's body bytes."""

    method: str
    path: str
    query: str
    status: int = 0
    size: int = 0
    complete: bool = False


class Simulator(Protocol):
    """What the door needs of a simulator."""

    token: str
    clock: Clock
    faults: Faults
    requests: list[SimRequest]
    shown: set[str]

    @property
    def knobs(self) -> Any:
        """Give its knobs: a mutable dataclass with `clock_skew` and `date`."""

    def actions(self) -> Mapping[str, Callable[..., object]]:
        """Name what can be done to it."""

    def state(self) -> Json:
        """Count what it holds."""


class Front:
    """Stand before a simulator's application as the ASGI application that is served."""

    def __init__(self, side: Simulator, app: ASGIApp) -> None:
        self._side = side
        self._app = app
        self._control = control_app(side)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; `/_sim/` is out of the faults' reach and off the record."""
        if scope["path"].startswith("/_sim/"):
            await self._control(scope, receive, send)
            return
        query = scope["query_string"].decode("latin-1")
        record = SimRequest(method=scope["method"], path=scope["path"], query=query)
        self._keep(record)
        scope.setdefault("state", {})["sim.shown"] = set()

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message.get("headers", []), *self._date()]
            else:
                record.size += len(message.get("body", b""))
                record.complete = not message.get("more_body", False)
                if record.complete and record.status == 200:
                    self._side.shown |= scope["state"]["sim.shown"]
            await send(message)

        await self._side.faults.around(self._app, scope, receive, watched)

    def _keep(self, record: SimRequest) -> None:
        self._side.requests.append(record)
        del self._side.requests[:-KEPT_REQUESTS]

    def _date(self) -> list[tuple[bytes, bytes]]:
        wanted = self._side.knobs.date
        if wanted == "absent":
            return []
        now = self._side.clock() + timedelta(seconds=self._side.knobs.clock_skew)
        return [(b"date", (wanted or format_datetime(now.astimezone(UTC), usegmt=True)).encode())]
