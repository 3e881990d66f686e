"""What every request to a simulator meets first: Date header, record, control paths, faults; then the application.

The control paths, `/_sim/{faults,knobs,act,state}`, are for playing with a simulator by curl, behind its own token.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, timedelta
from email.utils import format_datetime
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kuma_sync.sim.faults import Faults
from kuma_sync.sim.values import Clock, Json, SimError

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
    """The interface of a simulator for this module."""

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
    """The ASGI application that is served; it calls the simulator's own."""

    def __init__(self, side: Simulator, app: ASGIApp) -> None:
        self._side = side
        self._app = app
        self._control = control_app(side)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; those to `/_sim/` meet no faults and are not recorded."""
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


def control_app(side: Simulator) -> ASGIApp:
    """Make the application behind `/_sim/`. Mistakes answer 400 with one sentence."""
    controls = _Controls(side)
    routes = [
        Route("/_sim/state", controls.guarded(controls.state), methods=["GET"]),
        Route("/_sim/faults", controls.guarded(controls.add_fault), methods=["POST"]),
        Route("/_sim/faults", controls.guarded(controls.clear_faults), methods=["DELETE"]),
        Route("/_sim/knobs", controls.guarded(controls.set_knobs), methods=["POST"]),
        Route("/_sim/act", controls.guarded(controls.act), methods=["POST"]),
    ]
    return Starlette(routes=routes)


class _Controls:
    """Act on one simulator."""

    def __init__(self, side: Simulator) -> None:
        self._side = side

    def guarded(self, act: Callable[[Json], Json]) -> Callable[[Request], Awaitable[Response]]:
        """Check the token, read the body where there is one, turn mistakes into 400."""

        async def endpoint(request: Request) -> Response:
            if request.headers.get("authorization") != f"Bearer {self._side.token}":
                return JSONResponse({"message": "access denied"}, status_code=403)
            try:
                return JSONResponse(act(await _body(request) if request.method == "POST" else {}))
            except SimError as error:
                return JSONResponse({"message": str(error)}, status_code=400)

        return endpoint

    def state(self, _body: Json) -> Json:
        """Count everything."""
        faults = self._side.faults
        rules = [{"kind": rule.kind, "match": rule.match, "fired": rule.fired} for rule in faults.rules]
        return {
            **self._side.state(),
            "requests": len(self._side.requests),
            "faults": rules,
            "fired": dict(faults.fired),
        }

    def add_fault(self, body: Json) -> Json:
        """Switch a fault on."""
        _called(self._side.faults.add, body)
        return self.state({})

    def clear_faults(self, _body: Json) -> Json:
        """Switch all faults off."""
        self._side.faults.clear()
        return self.state({})

    def set_knobs(self, body: Json) -> Json:
        """Set knobs; a list stands for a set."""
        knobs = self._side.knobs
        known = {field.name for field in fields(knobs)}
        for name, value in body.items():
            if name not in known:
                raise SimError(f"there is no knob {name!r}: one of {', '.join(sorted(known))}")
            setattr(knobs, name, set(value) if isinstance(getattr(knobs, name), set) else value)
        return self.state({})

    def act(self, body: Json) -> Json:
        """Do the action named by `do`; the other keys are its arguments."""
        actions = self._side.actions()
        wanted = body.pop("do", None)
        if wanted not in actions:
            raise SimError(f"there is no action {wanted!r}: one of {', '.join(actions)}")
        return {"result": _called(actions[wanted], body)}


def _called(call: Callable[..., object], arguments: Json) -> object:
    """Call with arguments from a request; wrong ones are the caller's mistake, so raise SimError."""
    try:
        return call(**arguments)
    except (TypeError, ValueError) as error:
        raise SimError(f"wrong arguments: {error}") from error


async def _body(request: Request) -> Json:
    try:
        body = json.loads(await request.body())
    except ValueError as error:
        raise SimError("the body must be JSON") from error
    if not isinstance(body, dict):
        raise SimError("the body must be a JSON object")
    return body
