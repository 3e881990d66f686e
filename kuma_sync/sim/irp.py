"""A simulated IRP: its incidents, who wrote what to them, what its analysts do, and its REST API."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from kuma_sync.sim.content import dice
from kuma_sync.sim.faults import Faults
from kuma_sync.sim.front import Front, SimRequest
from kuma_sync.sim.knobs import IrpKnobs
from kuma_sync.sim.values import Clock, Json, SimError, moment, utc_now, written

DEFAULT_TOKEN = "sim-irp-token"  # noqa: S105  # the simulator's own, meant to be known
INCIDENTS = "/api/v1/incidents"
DEFAULT_LIMIT = 100


@dataclass(slots=True, kw_only=True)
class Incident:
    """Hold one incident. `events` are as received, in order, repeats included; `history` is (operation, body)."""

    id: str
    number: str
    external_id: str
    created_at: datetime
    updated_at: datetime
    fields: Json = field(default_factory=dict)
    events: list[Json] = field(default_factory=list)
    status: Literal["open", "closed"] = "open"
    resolution: str = ""
    edited: set[str] = field(default_factory=set)
    history: list[tuple[str, Json]] = field(default_factory=list)


class IrpSim:
    """Be the IRP of the default wire shapes: hold incidents, serve `app`, let tests and stories play its analysts."""

    def __init__(
        self,
        *,
        token: str = DEFAULT_TOKEN,
        seed: int = 0,
        clock: Clock | None = None,
        knobs: IrpKnobs | None = None,
        prefix: str = "INC",
    ) -> None:
        self.token = token
        self.knobs = knobs or IrpKnobs()
        self.clock = clock or utc_now
        self.faults = Faults(seed=seed)
        self.incidents: dict[str, Incident] = {}
        self.deleted: list[Incident] = []
        self.writes: list[tuple[str, str, Json]] = []
        self.requests: list[SimRequest] = []
        self.shown: set[str] = set()
        self._prefix = prefix
        self._random = dice(seed)
        self._numbers = 0
        self.app: ASGIApp = Front(self, irp_app(self))

    def by_key(self, key: str) -> list[Incident]:
        """Give the incidents of one external key, oldest first."""
        kept = self.kept(key)
        return [incident for incident in self.incidents.values() if self.kept(incident.external_id) == kept]

    def by_id(self, id: str) -> Incident | None:
        """Give an incident by its id, without regard to case if the knob changes the case of shown ids."""
        return self.incidents.get(id.lower() if self.knobs.id_case else id)

    def kept(self, key: str) -> str:
        """Tell how this IRP writes a key."""
        if not self.knobs.key_case:
            return key
        return key.upper() if self.knobs.key_case == "upper" else key.lower()

    def findable(self, key: str) -> list[Incident]:
        """Give the incidents that a find shows: those of the key, except those younger than the lag."""
        born_before = self.clock() - timedelta(seconds=self.knobs.find_lag)
        found = list(self.incidents.values()) if self.knobs.ignore_external_id else self.by_key(key)
        return [incident for incident in found if not self.knobs.find_lag or incident.created_at <= born_before]

    def doubled(self) -> list[str]:
        """Name the external keys with more than one incident."""
        counted = Counter(self.kept(incident.external_id) for incident in self.incidents.values())
        return [key for key, number in counted.items() if number > 1]

    def create(self, body: Json) -> Incident:
        """Make an incident of a create's body."""
        now = self.clock()
        self._numbers += 1
        incident = Incident(
            id=self._new_id(),
            number=f"{self._prefix}-{self._numbers:06d}",
            external_id="" if self.knobs.drop_key else str(body.get("externalId") or ""),
            created_at=now,
            updated_at=now,
        )
        self.incidents[incident.id] = incident
        self._take(incident, body)
        self.wrote("create", incident, body)
        return incident

    def update(self, incident: Incident, body: Json) -> None:
        """Change what the body names; null clears; events are added."""
        self._take(incident, body)
        self.wrote("update", incident, body)

    def add_events(self, incident: Incident, body: Json) -> None:
        """Add events."""
        incident.events.extend(body.get("events") or [])
        self.wrote("add_events", incident, body)

    def close(self, incident: Incident, body: Json) -> None:
        """Close an incident through the API."""
        incident.status, incident.resolution = "closed", str(body.get("reason") or "")
        self.wrote("close", incident, body)

    def wrote(self, operation: str, incident: Incident, body: Json) -> None:
        """Record an effective write."""
        incident.updated_at = self.clock()
        incident.history.append((operation, body))
        self.writes.append((operation, incident.id, body))

    def analyst_close(self, id: str, resolution: str) -> None:
        """Close an incident as an analyst does, with a resolution; "" where a second step gives it."""
        incident = self._by_analyst(id, "analyst_close", {"resolution": resolution})
        incident.status, incident.resolution = "closed", resolution

    def resolve(self, id: str, resolution: str) -> None:
        """Take the second step of a closing: say how the incident was resolved."""
        self._by_analyst(id, "resolve", {"resolution": resolution}).resolution = resolution

    def move(self, id: str, to: str = "") -> str:
        """Move an incident elsewhere, where it has another id (`to`, or a new one); return that."""
        incident = self._by_analyst(id, "move", {})
        del self.incidents[id]
        incident.id = to or self._new_id()
        self.incidents[incident.id] = incident
        return incident.id

    def redate(self, id: str, updated: str) -> None:
        """Have an incident say that it was changed at another time (RFC 3339)."""
        when = moment(updated)
        if when is None:
            raise SimError("updated must be RFC 3339")
        self._by_analyst(id, "redate", {}).updated_at = when

    def page_was_read(self, offset: int) -> None:
        """Change the list of closed incidents between two pages, as the knobs say."""
        if self.knobs.after_page is not None:
            self.knobs.after_page(offset)
        if self.knobs.reopened_between_pages:
            self.reopen(self.knobs.reopened_between_pages.pop(0))
        for _ in range(self.knobs.joining):
            stranger = self.create({"externalId": f"elsewhere:{len(self.incidents)}"})
            self.analyst_close(stranger.id, "Solved")
            stranger.updated_at -= timedelta(minutes=5)

    def reopen(self, id: str) -> None:
        """Open a closed incident again."""
        incident = self._by_analyst(id, "reopen", {})
        incident.status, incident.resolution = "open", ""

    def analyst_edit(self, id: str, **fields: object) -> None:
        """Change fields as an analyst does."""
        incident = self._by_analyst(id, "analyst_edit", fields)
        incident.fields.update(fields)
        incident.edited.update(fields)

    def delete(self, id: str) -> None:
        """Delete an incident as an analyst does."""
        self.deleted.append(self._by_analyst(id, "delete", {}))
        del self.incidents[id]

    def actions(self) -> Mapping[str, Callable[..., object]]:
        """Name what `POST /_sim/act` can do."""
        calls = (self.analyst_close, self.resolve, self.reopen, self.analyst_edit, self.move, self.redate, self.delete)
        return {call.__name__: call for call in calls}

    def state(self) -> Json:
        """Count for `GET /_sim/state`."""
        by_status = Counter(incident.status for incident in self.incidents.values())
        writes = Counter(operation for operation, _, _ in self.writes)
        return {"incidents": dict(by_status), "doubled": self.doubled(), "writes": dict(writes)}

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _take(self, incident: Incident, body: Json) -> None:
        incident.fields.update({name: value for name, value in body.items() if name not in ("events", "externalId")})
        incident.events.extend(body.get("events") or [])

    def _by_analyst(self, id_: str, deed: str, body: Json) -> Incident:
        if id_ not in self.incidents:
            raise SimError(f"there is no incident {id_}")
        incident = self.incidents[id_]
        incident.updated_at = self.clock()
        incident.history.append((deed, body))
        return incident


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
    """An answer other than success, raised by a handler."""

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
