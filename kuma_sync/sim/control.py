"""Playing with a simulator by curl: `/_sim/{faults,knobs,act,state}`, behind the simulator's own token.

Nothing here knows which simulator it is; what one can do is what its `actions()` name.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from kuma_sync.sim.errors import SimError
from kuma_sync.sim.values import Json

if TYPE_CHECKING:
    from kuma_sync.sim.front import Simulator


def control_app(side: Simulator) -> ASGIApp:
    """Make the application behind `/_sim/`. Mistakes answer 400 with one sentence."""
    controls = _Controls(side)
    routes = [
        Route("/_sim/state", controls.guarded(controls.state), methods=["GET"]),
        Route("/_sim/faults", controls.guarded(controls.add_fault), methods=["POST"]),
        Route("/_sim/faults", controls.guarded(controls.clear_faults), methods=["DELETE"]),
        Route("/_sim/knobs", controls.guarded(controls.turn), methods=["POST"]),
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

    def turn(self, body: Json) -> Json:
        """Set knobs; a list stands for a set."""
        knobs = self._side.knobs
        known = {field.name for field in fields(knobs)}
        for name, value in body.items():
            if name not in known:
                raise SimError(f"there is no knob {name!r}: one of {', '.join(sorted(known))}")
            setattr(knobs, name, set(value) if isinstance(getattr(knobs, name), set) else value)
        return self.state({})

    def act(self, body: Json) -> Json:
        """Do what the simulator's people do; the other keys are the action's arguments."""
        actions = self._side.actions()
        wanted = body.pop("do", None)
        if wanted not in actions:
            raise SimError(f"there is no action {wanted!r}: one of {', '.join(actions)}")
        return {"result": _called(actions[wanted], body)}


def _called(call: Callable[..., object], arguments: Json) -> object:
    """Call with what came over the wire: what does not fit is the caller's mistake, not ours."""
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
