"""R-Vision SOAR's API v2 as a dialect, as its public Python client and the public KUMA bridge use it.

Written after pyrvision 1.1.10 and wrLd-ru/kuma_soar_integration. Where these are silent (an unknown identifier, a value
that no dictionary has) the answer is 200 with `success: false`, which is how the product's own scripts are refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from kuma_sync.sim.content import TENANTS
from kuma_sync.sim.dialect import Asked, Dialect, Refused, number
from kuma_sync.sim.values import Json, milliseconds, moment

if TYPE_CHECKING:
    from kuma_sync.sim.irp import Incident

ROOT = "/api/v2"
INCIDENTS = ROOT + "/incidents"
KEY, RESOLUTION, LAST_SEEN = "kuma_alert_id", "kuma_close_reason", "lastseen"
"""Custom fields by their tags, as an administrator adds them."""

CLOSED = "Закрыт"
FIRST_STATUS = "Зарегистрирован"
DICTIONARIES: dict[str, tuple[str, ...]] = {
    "status": (FIRST_STATUS, "Назначен", "Обработка", "Расследование", CLOSED),
    "level": ("Низкий", "Средний", "Высокий", "Критический"),
    "company": TENANTS,
    "category": ("Событие SIEM", "Вредоносное ПО"),
}
"""Fields that are written as a name and read as an object; knob `dictionaries` adds values and fields."""
_SEVERITIES = dict(zip(DICTIONARIES["level"], ("Low", "Medium", "High", "Critical"), strict=True))
_DATES = (
    "creation",
    "updated",
    "closure_date",
    "detection_date",
    "occur_date",
    "deadline_date",
    "firstseen",
    LAST_SEEN,
)
_LARGEST_PAGE = 1000


class RVision(Dialect):
    """Speak as R-Vision SOAR does: one URL for create, update and attach; lists, envelopes and JSON in the query."""

    name = "rvision"
    profile = "rvision-v2"
    path = INCIDENTS
    token_header = "X-Token"  # noqa: S105  # a header's name
    words = {"title": "description", "severity": "level", "lastSeenAt": LAST_SEEN}  # noqa: RUF012  # never changed

    def routes(self) -> list[Route]:
        """Give the routes of this API."""
        return [
            Route(ROOT + "/tokens/get_info_by_token", self.guarded(self.token_info), methods=["GET"]),
            Route(INCIDENTS, self.guarded(self.search), methods=["GET"]),
            Route(INCIDENTS, self.guarded(self.write), methods=["POST"]),
            Route(INCIDENTS + "/{identifier}/comments", self.guarded(self.comments), methods=["GET"]),
            Route(INCIDENTS + "/{identifier}/files", self.guarded(self.files), methods=["GET"]),
            Route(INCIDENTS + "/files/{id}/download", self.guarded(self.download), methods=["GET"]),
            Route(ROOT + "/comments", self.guarded(self.comment), methods=["POST"]),
            Route(ROOT + "/companies", self.guarded(self.companies), methods=["GET"]),
            Route(ROOT + "/{rest:path}", self.guarded(self.nowhere), methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]

    def refusal(self, refused: Refused) -> Response:
        """Refuse as v2 does: 400 as text, a wrong value as 200 with success false, anything else as an error object."""
        if refused.status == 400:
            return PlainTextResponse(refused.message, status_code=400)
        if refused.kind in ("NotFoundError", "UnknownValue", "IllegalTransition"):
            return JSONResponse({"success": False, "error": refused.message})
        return JSONResponse({"error": refused.message}, status_code=refused.status)

    def told(self, word: str, value: object) -> object:
        """Translate the level."""
        return _SEVERITIES.get(str(value), value) if word == "severity" else value

    def token_info(self, _asked: Asked) -> Response:
        """Tell that the token is good; KUMA asks this when its R-Vision integration is configured."""
        return JSONResponse({"success": True})

    def nowhere(self, _asked: Asked) -> Response:
        """Answer an address that is none."""
        raise Refused(404, "method does not exist")

    def search(self, asked: Asked) -> Response:
        """List incidents: `fields`, `filter` and `sort` are JSON in the query; `limit` and `offset` are numbers."""
        conditions, rows = _conditions(asked), self.sim.searchable(self.sim.incidents.values())
        wanted = [(one, row) for one in rows if self._matches(row := self._row(one), conditions)]
        wanted.sort(key=lambda pair: (pair[0].created_at, pair[0].id))
        for order in reversed(_listed(asked, "sort")):
            backwards = str(order.get("direction", "ASC")).upper() == "DESC"
            wanted.sort(key=lambda pair: str(_plain(pair[1].get(str(order.get("property"))))), reverse=backwards)
        limit = number(asked, "limit", _LARGEST_PAGE)
        limit, offset = min(limit, self.sim.knobs.largest_page or limit), number(asked, "offset", 0)
        fields = _fields(asked)
        cut = [(one, row) for one, row in wanted[offset : offset + limit] if one.id not in self.sim.knobs.hidden]
        result = [{name: row.get(name) for name in fields} if fields else row for _, row in cut]
        return JSONResponse({"data": {"result": result, "total": len(wanted)}})

    def write(self, asked: Asked) -> Response:
        """Create, update or attach: with `uuid` or `identifier` the incident that is meant, without them a new one."""
        named = asked.body.get("uuid") or asked.body.get("identifier")
        incident = self._named(str(named)) if named else None
        fields = {name: value for name, value in asked.body.items() if name not in ("uuid", "identifier")}
        self._check(incident, fields)
        if incident is None:
            incident = self._create(fields)
        elif fields:
            self._update(incident, fields)
        if asked.files:
            self._attach(incident, asked)
        return JSONResponse({"data": [{**self._row(incident), "uuid": incident.id, "identifier": incident.number}]})

    def comment(self, asked: Asked) -> Response:
        """Add a comment."""
        incident = self._named(str(asked.body.get("identifier") or ""))
        data = asked.body.get("data")
        if not isinstance(data, dict) or not data.get("comment"):
            raise Refused(400, "data.comment is required")
        self.sim.comment(incident, str(data["comment"]))
        return JSONResponse({"data": {"id": len(incident.comments)}})

    def comments(self, asked: Asked) -> Response:
        """List an incident's comments."""
        texts = self._named(asked.part("identifier")).comments
        return JSONResponse({"data": {"result": [{"comment": text} for text in texts]}})

    def files(self, asked: Asked) -> Response:
        """List an incident's files."""
        incident = self._named(asked.part("identifier"))
        rows = [{"id": f"{incident.number}:{at}", "name": file["name"]} for at, file in enumerate(incident.files)]
        return JSONResponse({"data": {"result": rows}})

    def download(self, asked: Asked) -> Response:
        """Give a file's bytes."""
        identifier, _, at = asked.part("id").rpartition(":")
        incident = self._named(identifier)
        if not at.isdigit() or int(at) >= len(incident.files):
            raise Refused(404, "file not found", "NotFoundError")
        return Response(incident.files[int(at)]["content"], media_type="application/octet-stream")

    def companies(self, asked: Asked) -> Response:
        """List the organisations; here it is `start`, not `offset`."""
        rows = [{"id": at, "name": name} for at, name in enumerate(self._values("company"), start=1)]
        chosen = [row for row in rows if self._matches(row, _conditions(asked))]
        start = number(asked, "start", 0)
        return JSONResponse({"data": {"result": chosen[start : start + number(asked, "limit", _LARGEST_PAGE)]}})

    def _create(self, fields: Json) -> Incident:
        incident = self.sim.create({"externalId": str(fields.get(KEY) or ""), **fields})
        if fields.get("status") == CLOSED:
            incident.status, incident.resolution = "closed", str(fields.get(RESOLUTION) or "")
        return incident

    def _update(self, incident: Incident, fields: Json) -> None:
        """Write fields; a closing is the status written, a reopening another one written over it."""
        if fields.get("status") == CLOSED and incident.status == "open":
            incident.fields.update(fields)
            self.sim.close(incident, {**fields, "reason": fields.get(RESOLUTION)})
            return
        if fields.get("status") is not None:
            incident.status = "closed" if fields["status"] == CLOSED else "open"
        if RESOLUTION in fields and incident.status == "closed":
            incident.resolution = str(fields[RESOLUTION] or "")
        self.sim.update(incident, fields)

    def _attach(self, incident: Incident, asked: Asked) -> None:
        for file in asked.files:
            if file.part != "files":
                raise Refused(400, f"there is no field {file.part}")
            incident.files.append({"name": file.name, "content": file.content})
            self.sim.add_events(incident, {"events": file.events()})

    def _check(self, incident: Incident | None, fields: Json) -> None:
        for name in DICTIONARIES.keys() | self.sim.knobs.dictionaries.keys():
            if fields.get(name) is not None and fields[name] not in self._values(name):
                raise Refused(200, f"{name}: there is no value {fields[name]!r}", "UnknownValue")
        for name in _DATES:
            if fields.get(name) is not None and moment(str(fields[name])) is None:
                raise Refused(400, f"{name} must be written as 2024-02-16T17:47:08.250Z")
        if fields.get("status") is not None:
            self.check_move(self._status(incident) if incident else FIRST_STATUS, str(fields["status"]))

    def _named(self, name: str) -> Incident:
        found = self.sim.by_id(name) or next((one for one in self.sim.incidents.values() if one.number == name), None)
        if found is None:
            raise Refused(200, f"incident {name} not found", "NotFoundError")
        return found

    def _values(self, name: str) -> list[str]:
        return [*DICTIONARIES.get(name, ()), *self.sim.knobs.dictionaries.get(name, ())]

    def _status(self, incident: Incident) -> str:
        told = str(incident.fields.get("status") or FIRST_STATUS)
        return CLOSED if incident.status == "closed" else FIRST_STATUS if told == CLOSED else told

    def _row(self, incident: Incident) -> Json:
        closed = incident.status == "closed"
        shown = {
            **incident.fields,
            "uuid": incident.id,
            "identifier": incident.number,
            KEY: self.sim.kept(incident.external_id),
            "status": self._status(incident),
            RESOLUTION: incident.resolution if closed else incident.fields.get(RESOLUTION),
            "creation": milliseconds(incident.created_at),
            "updated": milliseconds(incident.updated_at),
        }
        if closed:
            shown.setdefault("closure_date", milliseconds(incident.updated_at))
        catalogued = DICTIONARIES.keys() | self.sim.knobs.dictionaries.keys()
        return {name: self._read_back(name, value) if name in catalogued else value for name, value in shown.items()}

    def _read_back(self, name: str, value: object) -> object:
        """Show a value of a dictionary as the object that it is."""
        if value is None:
            return None
        values = self._values(name)
        return {"id": values.index(str(value)) + 1 if value in values else 0, "name": value}

    def _matches(self, row: Json, conditions: Iterable[Json]) -> bool:
        if self.sim.knobs.ignore_filters:
            return True
        return all(_holds(_plain(row.get(str(one.get("property")))), one) for one in conditions)


def _plain(value: object) -> object:
    return value.get("name") if isinstance(value, dict) else value


def _holds(value: object, condition: Json) -> bool:
    wanted: Any = condition.get("value")
    given, asked = moment(str(value)), moment(str(wanted))
    left: Any = given if given and asked else str(value)
    right: Any = asked if given and asked else str(wanted)
    match condition["operator"]:
        case "=":
            return bool(left == right)
        case "!=":
            return bool(left != right)
        case ">=":
            return value is not None and bool(left >= right)
        case _:
            return value is not None and bool(left <= right)


def _conditions(asked: Asked) -> list[Json]:
    """Read `filter`: [{"property": "level", "operator": "=", "value": "Высокий"}]."""
    conditions = _listed(asked, "filter")
    for one in conditions:
        if one.get("operator") not in ("=", "!=", ">=", "<="):
            raise Refused(400, f"filter: there is no operator {one.get('operator')!r}")
    return conditions


def _listed(asked: Asked, name: str) -> list[Json]:
    """Read a parameter that is a JSON list of objects."""
    found = _json(asked, name)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Refused(400, f"{name} must be a JSON list of objects")
    return found


def _fields(asked: Asked) -> list[str]:
    found = _json(asked, "fields")
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Refused(400, "fields must be a JSON list of names")
    return found


def _json(asked: Asked, name: str) -> object:
    try:
        return json.loads(asked.query.get(name, "[]"))
    except ValueError:
        raise Refused(400, f"{name} must be JSON") from None
