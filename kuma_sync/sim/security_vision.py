"""The default wire shapes as a dialect: incidents, created, patched, filled, closed and listed, bent by many knobs."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kuma_sync.sim.dialect import Asked, Dialect, Refused, number
from kuma_sync.sim.values import Json, moment, written

if TYPE_CHECKING:
    from kuma_sync.sim.irp import Incident

INCIDENTS = "/api/v1/incidents"
DEFAULT_LIMIT = 100


def _etag(incident: Incident) -> str:
    return f'"{len(incident.history)}"'


class SecurityVision(Dialect):
    """Speak as profile security-vision expects."""

    name = profile = "security-vision"
    path = INCIDENTS
    words = {"title": "title", "severity": "severity", "lastSeenAt": "lastSeenAt"}  # noqa: RUF012  # never changed

    def routes(self) -> list[Route]:
        """Give the routes of this API."""
        return [
            Route(INCIDENTS, self.guarded(self.create), methods=["POST"]),
            Route(INCIDENTS, self.guarded(self.listing), methods=["GET"]),
            Route(INCIDENTS + "/{id}", self.guarded(self.show), methods=["GET"]),
            Route(INCIDENTS + "/{id}", self.guarded(self.update), methods=["PATCH"]),
            Route(INCIDENTS + "/{id}/events", self.guarded(self.add_events), methods=["POST"]),
            Route(INCIDENTS + "/{id}/comments", self.guarded(self.comment), methods=["POST"]),
            Route(INCIDENTS + "/{id}/close", self.guarded(self.close), methods=["POST"]),
        ]

    def refusal(self, refused: Refused) -> Response:
        """Write a refusal; with the knob `envelope` as 200 with success false, unless it is about who asks."""
        if not self.sim.knobs.envelope or refused.kind == "AuthenticationError":
            return super().refusal(refused)
        code = refused.kind or f"E{refused.status}"
        return JSONResponse({"success": False, "code": code, "error": refused.message})

    def create(self, asked: Asked) -> Response:
        """Make an incident: 201 with id, number and url; with the knob `upsert`, or change the one that is there."""
        body, knobs = asked.body, self.sim.knobs
        key = str(body.get("externalId") or "")
        if knobs.reject_titles and re.search(knobs.reject_titles, str(body.get("title"))):
            raise Refused(422, "title is not acceptable")
        self.check_dictionaries(body)
        there = self.sim.by_key(key)
        if knobs.upsert and there:
            self.sim.update(there[0], body)
            return self._made(asked, there[0], 200)
        if knobs.unique_key and there:
            raise Refused(409, "an incident with this externalId exists")
        return self._made(asked, self.sim.create(body), knobs.create_status)

    def show(self, asked: Asked) -> Response:
        """Show an incident with its fields, and its state as an ETag."""
        incident = self.known(asked.part("id"))
        row = {**self._found(asked, incident), "fields": incident.fields, "comments": incident.comments}
        shown = self._told(row)
        shown.headers["ETag"] = _etag(incident)
        if self.sim.knobs.after_show is not None:
            self.sim.knobs.after_show(incident.id)
        return shown

    def update(self, asked: Asked) -> Response:
        """Change an incident; 412 when it is no longer what If-Match says."""
        self.check_dictionaries(asked.body)
        self.sim.update(self._matched(asked), asked.body)
        return self._done()

    def comment(self, asked: Asked) -> Response:
        """Comment an incident; one that is closed takes no comments."""
        incident = self._matched(asked)
        if not isinstance(asked.body.get("text"), str):
            raise Refused(400, "text must be a text")
        if incident.status == "closed":
            raise Refused(409, "incident is closed")
        self.sim.comment(incident, asked.body["text"])
        return self._done()

    def add_events(self, asked: Asked) -> Response:
        """Add events to an incident."""
        if not isinstance(asked.body.get("events"), list):
            raise Refused(400, "events must be a list")
        self.sim.add_events(self._matched(asked), asked.body)
        return self._done()

    def close(self, asked: Asked) -> Response:
        """Close an incident; 409 when it is closed already."""
        incident = self._matched(asked)
        if incident.status == "closed":
            raise Refused(409, "incident is closed already")
        self.check_move(incident.status, "closed")
        self.sim.close(incident, asked.body)
        return self._done()

    def listing(self, asked: Asked) -> Response:
        """Find by externalId, or list: by status and updatedSince, oldest change first, by offset or by page."""
        query, knobs = asked.query, self.sim.knobs
        if "externalId" in query:
            return self._told({"items": [self._found(asked, one) for one in self.sim.findable(query["externalId"])]})
        chosen = [incident for incident in self.sim.incidents.values() if self._listed(asked, incident)]
        chosen.sort(key=lambda incident: (incident.updated_at, incident.id))
        limit = number(asked, "limit", DEFAULT_LIMIT)
        limit = min(limit, knobs.largest_page or limit)
        offset = number(asked, "offset", (number(asked, "page", 1) - 1) * limit)
        if knobs.past_end and offset and offset >= len(chosen):
            raise Refused(knobs.past_end, "there is no such page")
        cut = [incident for incident in chosen[offset : offset + limit] if incident.id not in knobs.hidden]
        items = [self._row(incident) for incident in cut]
        if query.get("status") == "closed":
            self.sim.page_was_read(offset)
        return self._told({"items": items, "total": len(chosen)})

    def _matched(self, asked: Asked) -> Incident:
        incident = self.known(asked.part("id"))
        wanted = asked.request.headers.get("If-Match", "*")
        if wanted not in ("*", _etag(incident)):
            raise Refused(412, "the incident has changed since")
        return incident

    def _made(self, asked: Asked, incident: Incident, status: int) -> Response:
        """Answer a create: with the id in the body, in a header alone, or nowhere."""
        knobs = self.sim.knobs
        if knobs.no_id:
            return self._told({}, status)
        if knobs.id_in_location:
            return Response(status_code=status, headers={"Location": f"{asked.base}{INCIDENTS}/{incident.id}"})
        if status == 204:
            return Response(status_code=204)
        answer = {"id": incident.id, "number": incident.number, "url": self._url(asked, incident)}
        return self._told(answer, status)

    def _done(self) -> Response:
        return self._told({}) if self.sim.knobs.envelope else Response(status_code=204)

    def _told(self, answer: Json, status: int = 200) -> Response:
        if self.sim.knobs.envelope:
            return JSONResponse({"success": True, "data": answer})
        return JSONResponse(answer, status_code=status)

    def _listed(self, asked: Asked, incident: Incident) -> bool:
        if self.sim.knobs.ignore_filters:
            return True
        query = asked.query
        since = moment(query["updatedSince"]) if "updatedSince" in query else None
        if "updatedSince" in query and since is None:
            raise Refused(400, "updatedSince must be RFC 3339")
        return query.get("status", incident.status) == incident.status and (
            since is None or incident.updated_at >= since
        )

    def _found(self, asked: Asked, incident: Incident) -> Json:
        row = {**self._row(incident), "number": incident.number, "url": self._url(asked, incident)}
        del row["updatedAt"]
        return row

    def _url(self, asked: Asked, incident: Incident) -> str:
        return f"{asked.base}/incidents/{incident.id}"

    def _row(self, incident: Incident) -> Json:
        knobs = self.sim.knobs
        return {
            "id": incident.id.upper() if knobs.id_case else incident.id,
            "externalId": self.sim.kept(incident.external_id) + knobs.key_padding,
            "status": incident.status,
            "resolution": incident.resolution,
            "updatedAt": written(incident.updated_at + timedelta(seconds=knobs.updated_shift), knobs.updated_form),
        }
