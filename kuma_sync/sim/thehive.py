"""TheHive's API v1 as a dialect: alerts, as thehive4py 2 (endpoints/alert.py, types/alert.py) speaks to it.

Refusals follow TheHive-Project/TheHive: a create whose type, source and sourceRef exist is 400 with ConflictError and
an empty object (#1094, #1111), compared with case (#947); an observable that stands twice in one alert fails the whole
creation (#1514); a promoted alert is promoted no second time (#1631) and its status stays Imported (#2416). A closed
alert does not go back to an earlier stage (docs.strangebee.com, About Statuses). What is not documented answers 400.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kuma_sync.sim.dialect import Asked, Dialect, Handler, Refused
from kuma_sync.sim.thehive_query import Rows, filtered, ordered, page
from kuma_sync.sim.values import Json, milliseconds

if TYPE_CHECKING:
    from kuma_sync.sim.irp import Incident

ROOT = "/api/v1"
LAST_SEEN = "kuma-last-seen"

CUSTOM_FIELDS: dict[str, type] = {LAST_SEEN: int, "kuma-events": int, "kuma-tenant": str}
"""Custom fields that an administrator has made, with the type of their values (a date is epoch milliseconds)."""
STAGES = {
    "New": "New",
    "Updated": "New",
    "InProgress": "InProgress",
    "Pending": "InProgress",
    "Imported": "Imported",
    "Ignored": "Closed",
    "FalsePositive": "Closed",
    "Duplicate": "Closed",
}
"""The predefined statuses, each with its stage. What an analyst resolved in other words is a custom status: Closed."""
DATA_TYPES = frozenset(
    {"autonomous-system", "domain", "file", "filename", "fqdn", "hash", "hostname", "ip", "mail", "mail-subject"}
    | {"other", "regexp", "registry", "uri_path", "url", "user-agent"}
)
_REQUIRED = ("type", "source", "sourceRef", "title", "description")
_LABELS = ("", "LOW", "MEDIUM", "HIGH", "CRITICAL")
_TLP = ("CLEAR", "GREEN", "AMBER", "AMBER+STRICT", "RED")
_BACKWARDS = {"Closed": ("New", "InProgress"), "InProgress": ("New",), "Imported": ("New", "InProgress", "Closed")}


class TheHive(Dialect):
    """Speak as TheHive does: alerts by key and id, times in epoch milliseconds, lists by query."""

    name = "thehive"
    profile = "thehive-v1"
    path = ROOT + "/user/current"
    may_be_empty = True
    words = {  # noqa: RUF012  # never changed
        "title": "title",
        "severity": "severity",
        "lastSeenAt": f"customFields.{LAST_SEEN}",
    }

    def routes(self) -> list[Route]:
        """Give the routes of this API."""

        def at(path: str, method: str, handle: Handler) -> Route:
            return Route(ROOT + path, self.guarded(handle), methods=[method])

        return [
            at("/user/current", "GET", self.who_asks),
            at("/query", "POST", self.query),
            at("/alert", "POST", self.create),
            at("/alert/_bulk", "PATCH", self.update_many),
            at("/alert/delete/_bulk", "POST", self.delete_many),
            at("/alert/{id}", "GET", self.get),
            at("/alert/{id}", "PATCH", self.update),
            at("/alert/{id}", "DELETE", self.delete),
            at("/alert/{id}/case", "POST", self.promote),
            at("/alert/{id}/observable", "POST", self.add_observable),
            at("/alert/{id}/attachments", "POST", self.attach),
            at("/alert/{id}/comment", "POST", self.comment),
        ]

    def refusal(self, refused: Refused) -> Response:
        """Write a refusal as TheHive does: the error's name, a sentence; of a conflict an empty object."""
        empty: Json = {"object": {}} if refused.kind == "ConflictError" else {}
        body = {"type": refused.kind or "BadRequest", "message": refused.message, **empty}
        status = 400 if refused.kind in ("UnknownValue", "IllegalTransition") else refused.status
        return JSONResponse(body, status_code=status)

    def told(self, word: str, value: object) -> object:
        """Translate the severity's number and the time's milliseconds."""
        if word == "severity" and isinstance(value, int):
            return _LABELS[value].capitalize()
        if word == "lastSeenAt" and isinstance(value, int):
            return milliseconds(datetime.fromtimestamp(value / 1000, self.sim.clock().tzinfo))
        return value

    def new_id(self, random: Random) -> str:
        """Make an id as TheHive's database does."""
        return f"~{random.getrandbits(40)}"

    def who_asks(self, _asked: Asked) -> Response:
        """Tell whose key it is."""
        return JSONResponse({"_id": "~1", "_type": "User", "login": "kuma-sync@example.test", "profile": "analyst"})

    def create(self, asked: Asked) -> Response:
        """Make an alert: 201 with all of it."""
        body = asked.body
        for name in _REQUIRED:
            if not isinstance(body.get(name), str) or not body[name]:
                raise Refused(400, f"{name} is required", "AttributeCheckingError")
        there = [(one.fields.get("type"), one.fields.get("source")) for one in self.sim.by_key(body["sourceRef"])]
        if (body["type"], body["source"]) in there:
            raise Refused(self.sim.knobs.duplicate_status, "alert: document already exists", "ConflictError")
        found = _observables(body.get("observables") or [])
        fields = self._checked({name: value for name, value in body.items() if name != "observables"})
        self._check_status(None, fields)
        incident = self.sim.create({"externalId": body["sourceRef"], **fields})
        incident.observables.extend(found)
        if (status := fields.get("status")) is not None and self._stage(str(status)) == "Closed":
            incident.status, incident.resolution = "closed", str(status)
        return JSONResponse(self.row(incident), status_code=201)

    def get(self, asked: Asked) -> Response:
        """Show an alert."""
        return JSONResponse(self.row(self.known(asked.part("id"))))

    def update(self, asked: Asked) -> Response:
        """Change an alert; the answer has no body."""
        self._write(self.known(asked.part("id")), asked.body)
        return Response(status_code=204)

    def update_many(self, asked: Asked) -> Response:
        """Change several alerts alike."""
        fields = {name: value for name, value in asked.body.items() if name != "ids"}
        for incident in [self.known(id_) for id_ in asked.body.get("ids", [])]:
            self._write(incident, fields)
        return Response(status_code=204)

    def delete(self, asked: Asked) -> Response:
        """Delete an alert."""
        self.sim.delete(self.known(asked.part("id")).id)
        return Response(status_code=204)

    def delete_many(self, asked: Asked) -> Response:
        """Delete several alerts."""
        for incident in [self.known(id_) for id_ in asked.body.get("ids", [])]:
            self.sim.delete(incident.id)
        return Response(status_code=204)

    def promote(self, asked: Asked) -> Response:
        """Make a case of an alert, once; the alert becomes Imported."""
        incident = self.known(asked.part("id"))
        if "caseId" in incident.fields:
            raise Refused(400, "alert is already imported", "BadRequest")
        self.sim.numbers += 1
        case = {"_id": f"~{self.sim.numbers}", "_type": "Case", "number": self.sim.numbers, "status": "New"}
        shown = {name: incident.fields.get(name) for name in ("title", "description", "severity")}
        self.sim.update(incident, {"caseId": case["_id"], "status": "Imported"})
        return JSONResponse({**shown, **asked.body, **case}, status_code=201)

    def add_observable(self, asked: Asked) -> Response:
        """Add an observable to an alert; one that is there already is refused."""
        incident = self.known(asked.part("id"))
        found = _observables([asked.body], there=incident.observables)
        incident.observables.extend(found)
        self.sim.wrote("add_observable", incident, asked.body)
        return JSONResponse(found, status_code=201)

    def attach(self, asked: Asked) -> Response:
        """Add files to an alert: parts `attachments`."""
        incident = self.known(asked.part("id"))
        if not asked.files or any(file.part != "attachments" for file in asked.files):
            raise Refused(400, "attachments is required", "BadRequest")
        made = []
        for file in asked.files:
            incident.files.append({"name": file.name, "content": file.content})
            self.sim.add_events(incident, {"events": file.events()})
            made.append({"_id": f"~{len(incident.files)}", "_type": "Attachment", "name": file.name})
        return JSONResponse({"attachments": made}, status_code=201)

    def comment(self, asked: Asked) -> Response:
        """Add a comment to an alert."""
        incident = self.known(asked.part("id"))
        if not isinstance(asked.body.get("message"), str):
            raise Refused(400, "message is required", "AttributeCheckingError")
        self.sim.comment(incident, asked.body["message"])
        return JSONResponse(_comments(incident)[-1], status_code=201)

    def query(self, asked: Asked) -> Response:
        """Run a query: a list of steps, each over what the one before gave."""
        steps = asked.body.get("query")
        if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
            raise Refused(400, "query must be a list of steps", "BadRequest")
        given: Any = []
        try:
            for step in steps:
                given = self._step(given, step)
        except (KeyError, TypeError, AttributeError):
            raise Refused(400, "the query cannot be read", "BadRequest") from None
        return JSONResponse(given)

    def row(self, incident: Incident) -> Json:
        """Show an alert as OutputAlert."""
        status = self.status(incident)
        given = {name: value for name, value in incident.fields.items() if value is not None}
        severity, tlp, pap = (int(given.get(name, 2)) for name in ("severity", "tlp", "pap"))
        custom = {name[13:]: value for name, value in given.items() if name.startswith("customFields.")}
        plain = {name: value for name, value in given.items() if "." not in name and name not in _INPUT_ONLY}
        shown = {
            "follow": True,
            "tags": [],
            "date": _millis(incident.created_at),
            **plain,
            "_id": incident.id,
            "_type": "Alert",
            "_createdBy": "kuma-sync@example.test",
            "_createdAt": _millis(incident.created_at),
            "sourceRef": self.sim.kept(incident.external_id),
            "severity": severity,
            "severityLabel": _LABELS[severity],
            "tlp": tlp,
            "tlpLabel": _TLP[tlp],
            "pap": pap,
            "papLabel": _TLP[pap],
            "customFields": [_custom(at, name, value) for at, (name, value) in enumerate(custom.items())],
            "observableCount": len(incident.observables),
            "status": status,
            "stage": self._stage(status),
            "extraData": {},
            "newDate": _millis(incident.created_at),
            "timeToDetect": 0,
        }
        changed = {"_updatedAt": _millis(incident.updated_at), "_updatedBy": "analyst@example.test"}
        closed = {"closedDate": _millis(incident.updated_at)} if incident.status == "closed" else {}
        return shown | (changed if len(incident.history) > 1 else {}) | closed

    def status(self, incident: Incident) -> str:
        """Tell an alert's status."""
        told = str(incident.fields.get("status") or "New")
        if incident.status == "closed":
            return incident.resolution or "Ignored"
        return "New" if self._stage(told) == "Closed" else told

    def _step(self, given: Any, step: Json) -> Any:
        kind = step.get("_name")
        starts: dict[str, Callable[[], Rows]] = {
            "listAlert": lambda: [self.row(one) for one in self.sim.searchable(self.sim.incidents.values())],
            "getAlert": lambda: [self.row(self.known(str(step.get("idOrName"))))],
            "comments": lambda: [one for row in given for one in _comments(self.known(row["_id"]))],
            "observables": lambda: [one for row in given for one in self.known(row["_id"]).observables],
            "attachments": lambda: [{"name": f["name"]} for row in given for f in self.known(row["_id"]).files],
        }
        follows: dict[str, Callable[[], Any]] = {
            "filter": lambda: given if self.sim.knobs.ignore_filters else filtered(given, step),
            "sort": lambda: ordered(given, step),
            "page": lambda: [row for row in page(given, step) if row["_id"] not in self.sim.knobs.hidden],
            "count": lambda: len(given),
        }
        if kind not in starts | follows:
            raise Refused(400, f"there is no step {kind!r}", "BadRequest")
        return (starts | follows)[str(kind)]()

    def _write(self, incident: Incident, body: Json) -> None:
        fields = self._checked(body)
        self._check_status(incident, fields)
        added, removed = fields.pop("addTags", []), fields.pop("removeTags", [])
        if added or removed:
            kept = [tag for tag in incident.fields.get("tags") or [] if tag not in removed]
            fields["tags"] = [*kept, *(tag for tag in added if tag not in kept)]
        status = fields.get("status")
        if status is not None and self._stage(status) == "Closed" and incident.status == "open":
            incident.fields.update(fields)
            self.sim.close(incident, {**fields, "reason": status})
            return
        if status is not None:
            incident.status = "closed" if self._stage(status) == "Closed" else "open"
            incident.resolution = status if incident.status == "closed" else ""
        self.sim.update(incident, fields)

    def _check_status(self, incident: Incident | None, fields: Json) -> None:
        if fields.get("status") is None:
            return
        wanted, custom = fields["status"], self.sim.knobs.dictionaries.get("status", [])
        if wanted not in STAGES and wanted not in custom:
            raise Refused(400, f"there is no status {wanted!r}", "UnknownValue")
        before = self.status(incident) if incident else "New"
        self.check_move(before, wanted)
        if self._stage(wanted) in _BACKWARDS.get(self._stage(before), ()):
            raise Refused(400, f"illegal transition: {before} to {wanted}", "IllegalTransition")

    def _checked(self, body: Json) -> Json:
        """Check numbers and custom fields, and lay the latter out flat: customFields.<name>."""
        fields = {name: value for name, value in body.items() if name != "customFields"}
        for name, highest in (("severity", 4), ("tlp", 4), ("pap", 3)):
            value = fields.get(name)
            if value is not None and (type(value) is not int or not 0 <= value <= highest):
                raise Refused(400, f"{name} must be a number up to {highest}", "AttributeCheckingError")
        if fields.get("date") is not None and type(fields["date"]) is not int:
            raise Refused(400, "date must be epoch milliseconds", "AttributeCheckingError")
        given = body.get("customFields") or []
        pairs = given.items() if isinstance(given, dict) else ((one.get("name"), one.get("value")) for one in given)
        for name, value in pairs:
            if name not in CUSTOM_FIELDS:
                raise Refused(400, f"there is no custom field {name!r}", "UnknownValue")
            if value is not None and type(value) is not CUSTOM_FIELDS[name]:
                raise Refused(400, f"custom field {name} has a value of another type", "AttributeCheckingError")
            fields[f"customFields.{name}"] = value
        return fields

    def _stage(self, status: str) -> str:
        return STAGES.get(status, "Closed")


_INPUT_ONLY = frozenset({"caseTemplate", "procedures", "flag", "lastSyncDate"})


def _observables(given: list[Json], there: list[Json] | None = None) -> list[Json]:
    """Read observables; `data` may be a list. One that stands twice, or is there already, fails them all."""
    made: list[Json] = []
    seen = {(one["dataType"], one.get("data")) for one in there or []}
    for one in given:
        kind, data = one.get("dataType"), one.get("data")
        if kind not in DATA_TYPES:
            raise Refused(400, f"there is no observable type {kind!r}", "UnknownValue")
        for value in data if isinstance(data, list) else [data]:
            if value is not None and (kind, value) in seen:
                raise Refused(400, "Observable already exists", "CreateError")
            seen.add((kind, value))
            made.append({"ioc": False, "sighted": False, "tlp": 2, **one, "_type": "Observable", "data": value})
    return [{**one, "_id": f"~{at + 1 + len(there or [])}"} for at, one in enumerate(made)]


def _comments(incident: Incident) -> list[Json]:
    return [
        {"_id": f"~{at}", "_type": "Comment", "message": text, "isEdited": False, "external": False, "extraData": {}}
        for at, text in enumerate(incident.comments, start=1)
    ]


def _custom(at: int, name: str, value: object) -> Json:
    kind = "date" if name == LAST_SEEN else "integer" if isinstance(value, int) else "string"
    return {"_id": f"~{at}", "name": name, "type": kind, "value": value, "order": at}


def _millis(when: datetime) -> int:
    return int(when.timestamp() * 1000)
