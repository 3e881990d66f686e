"""The IRP's HTTP face: the default wire shapes of the profile `security-vision`. State lies in IrpSim."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from kuma_sync.sim.values import Json, moment, written

if TYPE_CHECKING:
    from kuma_sync.sim.irp import Incident, IrpSim

INCIDENTS = "/api/v1/incidents"
DEFAULT_LIMIT = 100


def irp_app(sim: IrpSim) -> ASGIApp:
    """Make the application that speaks for an IrpSim."""
    face = _Face(sim)
    routes = [
        Route(INCIDENTS, face.guarded(face.create), methods=["POST"]),
        Route(INCIDENTS, face.guarded(face.listing), methods=["GET"]),
        Route(INCIDENTS + "/{id}", face.guarded(face.update), methods=["PATCH"]),
        Route(INCIDENTS + "/{id}/events", face.guarded(face.add_events), methods=["POST"]),
        Route(INCIDENTS + "/{id}/close", face.guarded(face.close), methods=["POST"]),
    ]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return app


class Refusal(Exception):
    """Carry an answer other than success out of a handler: an answer, not a fault of ours."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.answer = JSONResponse({"message": message}, status_code=status)


class _Face:
    """Answer for one IrpSim."""

    def __init__(self, sim: IrpSim) -> None:
        self._sim = sim

    def guarded(self, handle: Callable[[Request, Json], Response]) -> Callable[[Request], Awaitable[Response]]:
        """Check token, size and JSON, wait the latency, then handle the request in one go."""

        async def endpoint(request: Request) -> Response:
            raw = await request.body()
            await asyncio.sleep(self._sim.knobs.latency)
            try:
                self._check_token(request)
                return handle(request, self._object(raw) if request.method != "GET" else {})
            except Refusal as refusal:
                return refusal.answer

        return endpoint

    def create(self, request: Request, body: Json) -> Response:
        """Make an incident: 201 with id, number and url."""
        key, knobs = str(body.get("externalId") or ""), self._sim.knobs
        if knobs.reject_titles and re.search(knobs.reject_titles, str(body.get("title"))):
            raise Refusal(422, "title is not acceptable")
        if knobs.unique_key and self._sim.by_key(key):
            raise Refusal(409, "an incident with this externalId exists")
        incident = self._sim.create(body)
        if knobs.no_id:
            return JSONResponse({}, status_code=201)
        answer = {"id": incident.id, "number": incident.number, "url": self._url(request, incident)}
        return JSONResponse(answer, status_code=201)

    def update(self, request: Request, body: Json) -> Response:
        """Change an incident."""
        self._sim.update(self._incident(request), body)
        return Response(status_code=204)

    def add_events(self, request: Request, body: Json) -> Response:
        """Add events to an incident."""
        if not isinstance(body.get("events"), list):
            raise Refusal(400, "events must be a list")
        self._sim.add_events(self._incident(request), body)
        return Response(status_code=204)

    def close(self, request: Request, body: Json) -> Response:
        """Close an incident; 409 when it is closed already."""
        incident = self._incident(request)
        if incident.status == "closed":
            raise Refusal(409, "incident is closed already")
        self._sim.close(incident, body)
        return Response(status_code=204)

    def listing(self, request: Request, _body: Json) -> Response:
        """Find by externalId, or list: by status and updatedSince, oldest change first, by offset or by page."""
        asked = request.query_params
        if "externalId" in asked:
            return JSONResponse(
                {"items": [self._found(request, one) for one in self._sim.findable(asked["externalId"])]}
            )
        chosen = [incident for incident in self._sim.incidents.values() if self._listed(request, incident)]
        chosen.sort(key=lambda incident: (incident.updated_at, incident.id))
        limit = _number(request, "limit", DEFAULT_LIMIT)
        limit = min(limit, self._sim.knobs.largest_page or limit)
        offset = _number(request, "offset", (_number(request, "page", 1) - 1) * limit)
        if self._sim.knobs.past_end and offset and offset >= len(chosen):
            raise Refusal(self._sim.knobs.past_end, "there is no such page")
        cut = [incident for incident in chosen[offset : offset + limit] if incident.id not in self._sim.knobs.hidden]
        items = [self._row(incident) for incident in cut]
        if asked.get("status") == "closed":
            self._sim.page_was_read(offset)
        return JSONResponse({"items": items, "total": len(chosen)})

    def _listed(self, request: Request, incident: Incident) -> bool:
        if self._sim.knobs.ignore_filters:
            return True
        asked = request.query_params
        since = moment(asked["updatedSince"]) if "updatedSince" in asked else None
        if "updatedSince" in asked and since is None:
            raise Refusal(400, "updatedSince must be RFC 3339")
        return asked.get("status", incident.status) == incident.status and (
            since is None or incident.updated_at >= since
        )

    def _found(self, request: Request, incident: Incident) -> Json:
        row = {**self._row(incident), "number": incident.number, "url": self._url(request, incident)}
        del row["updatedAt"]
        return row

    def _check_token(self, request: Request) -> None:
        header = self._sim.knobs.token_header
        given = request.headers.get(header or "authorization")
        if given != (self._sim.token if header else f"Bearer {self._sim.token}"):
            raise Refusal(self._sim.knobs.denied_status, "access denied")

    def _object(self, raw: bytes) -> Json:
        if self._sim.knobs.max_body and len(raw) > self._sim.knobs.max_body:
            raise Refusal(413, "request body is too large")
        try:
            body = json.loads(raw)
        except ValueError as error:
            raise Refusal(400, "the body must be JSON") from error
        if not isinstance(body, dict):
            raise Refusal(400, "the body must be a JSON object")
        return body

    def _incident(self, request: Request) -> Incident:
        found = self._sim.by_id(request.path_params["id"])
        if found is None:
            raise Refusal(404, "incident not found")
        return found

    def _url(self, request: Request, incident: Incident) -> str:
        return f"{request.url.scheme}://{request.url.netloc}/incidents/{incident.id}"

    def _row(self, incident: Incident) -> Json:
        knobs = self._sim.knobs
        return {
            "id": incident.id.upper() if knobs.id_case else incident.id,
            "externalId": self._sim.kept(incident.external_id) + knobs.key_padding,
            "status": incident.status,
            "resolution": incident.resolution,
            "updatedAt": written(incident.updated_at + timedelta(seconds=knobs.updated_shift), knobs.updated_form),
        }


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit():
        raise Refusal(400, f"{name} must be a number")
    return int(text)
