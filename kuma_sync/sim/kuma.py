"""A simulated KUMA: its alerts, what happens to them, and its public REST API with its checks in its order and words.

Everything runs in one event loop's thread; tests and stories change the state between two awaits.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from kuma_sync.sim.content import Content, tenant_id
from kuma_sync.sim.faults import Faults
from kuma_sync.sim.front import Front, SimRequest
from kuma_sync.sim.knobs import KumaKnobs
from kuma_sync.sim.kuma_listing import BadQuery, Query, array, dressed, encoded, in_pieces, squeezed
from kuma_sync.sim.values import Clock, Json, SimError, moment, utc_now, whole_second

DEFAULT_TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105  # the simulator's own, meant to be known
EMPTY_ALERT: Json = {
    "tenantID": "",
    "tenantName": "",
    "name": "",
    "correlationRuleID": "",
    "priority": "low",
    "status": "new",
    "firstSeen": "1970-01-01T00:00:00Z",
    "lastSeen": "1970-01-01T00:00:00Z",
    "assignee": "",
    "closingReason": "",
    "overflow": False,
    "events": [],
    "affectedAssets": [],
    "affectedAccounts": [],
}

VERSIONS = frozenset({"v1", "v2", "v2.1", "v3"})
REASONS = frozenset({"responded", "incorrect data", "incorrect correlation rule"})


class KumaSim:
    """Be KUMA: hold alerts, serve its public REST API on `app`, let tests and stories play analysts and correlators."""

    def __init__(
        self, *, token: str = DEFAULT_TOKEN, seed: int = 0, clock: Clock | None = None, knobs: KumaKnobs | None = None
    ) -> None:
        self.token = token
        self.knobs = knobs or KumaKnobs()
        self.clock = clock or utc_now
        self.faults = Faults(seed=seed)
        self.alerts: dict[str, Json] = {}
        self.closes: list[tuple[str, str]] = []
        self.comments: list[tuple[str, str]] = []
        self.close_calls: list[CloseCall] = []
        self.requests: list[SimRequest] = []
        self.shown: set[str] = set()
        """Ids of alerts in complete answers that were new then, or were asked for by id or status."""
        self._content = Content(seed)
        self.app: ASGIApp = Front(self, kuma_app(self))

    def load(self, alerts: list[Json]) -> None:
        """Take alerts as they stand in a JSON file, odd values and all; missing keys are filled. No id: SimError."""
        for alert in alerts:
            if not isinstance(alert, dict) or alert.get("id") in (None, ""):
                raise SimError("every loaded alert must be an object with an id")
            self.alerts[str(alert["id"])] = {**EMPTY_ALERT, **alert}

    def raise_alert(
        self,
        *,
        id: str | None = None,
        name: str | None = None,
        priority: str | None = None,
        events: int = 3,
        tenant: str | None = None,
        seen: datetime | str | None = None,
    ) -> str:
        """Let a correlation rule fire: a new alert with so many correlation events. `tenant` is a name. Give the id."""
        at = self._when(seen)
        alert = self._content.alert(seen=at, name=name, priority=priority, tenant=tenant)
        alert["id"] = id or alert["id"]
        if alert["id"] in self.alerts:
            raise SimError(f"there is an alert {alert['id']} already")
        alert["events"] = [self._content.correlation_event(alert, at) for _ in range(events)]
        self.alerts[alert["id"]] = alert
        return str(alert["id"])

    def grow(self, id: str, events: int = 1, *, move_last_seen: bool = True) -> list[str]:
        """Add correlation events to an alert that is not closed; lastSeen moves to now, never back. Give their ids."""
        alert = self._open(id)
        last = moment(str(alert["lastSeen"])) or self.clock()
        at = max(last, self.clock()) if move_last_seen else last
        new = [self._content.correlation_event(alert, at) for _ in range(events)]
        alert["events"] = [*(alert["events"] or []), *new]
        alert["lastSeen"] = whole_second(at)
        return [event["ID"] for event in new]

    def edit(self, id: str, **fields: object) -> None:
        """Change fields by hand, as an analyst may with all but id and name: lastSeen stays (KUMA help 224487)."""
        self._known(id).update(fields)

    def assign(self, id: str, who: str = "i.petrova") -> None:
        """Give an alert to an analyst: it leaves `status=new`."""
        self._open(id).update(status="assigned", assignee=who)

    def escalate(self, id: str) -> None:
        """Link an alert to an incident of KUMA's own."""
        self._open(id).update(status="escalated")

    def unescalate(self, id: str) -> None:
        """Unlink it again: it is back in `new` with the same id (KUMA help 304498)."""
        self._open(id).update(status="new", assignee="")

    def close(self, id: str, reason: str = "responded") -> None:
        """Close an alert inside KUMA, for any reason text: an analyst, or a closed KUMA incident."""
        self._open(id).update(status="closed", closingReason=reason)

    def delete(self, id: str) -> None:
        """Let retention remove an alert."""
        self._known(id)
        del self.alerts[id]

    def actions(self) -> Mapping[str, Callable[..., object]]:
        """Name what `POST /_sim/act` can do."""
        doing = (self.raise_alert, self.grow, self.edit, self.assign, self.escalate, self.unescalate)
        return {call.__name__: call for call in (*doing, self.close, self.delete, self.load)}

    def state(self) -> Json:
        """Count for `GET /_sim/state`."""
        by_status = Counter(str(alert["status"]) for alert in self.alerts.values())
        return {"alerts": dict(by_status), "closes": len(self.closes), "shown": len(self.shown)}

    def tenants(self) -> dict[str, str]:
        """Tell the tenants the token sees: id → name."""
        everyone = {tenant_id("Main"): "Main"}
        everyone |= {str(alert["tenantID"]): str(alert["tenantName"]) for alert in self.alerts.values()}
        limit = self.knobs.tenants
        return {id_: name for id_, name in everyone.items() if limit is None or id_ in limit}

    def _when(self, seen: datetime | str | None) -> datetime:
        when = moment(seen) if isinstance(seen, str) else seen or self.clock()
        if when is None or when.tzinfo is None:
            raise SimError("seen must be an aware datetime or RFC 3339 text")
        return when

    def _known(self, id_: str) -> Json:
        if id_ not in self.alerts:
            raise SimError(f"there is no alert {id_}")
        return self.alerts[id_]

    def _open(self, id_: str) -> Json:
        alert = self._known(id_)
        if alert["status"] == "closed":
            raise SimError(f"alert {id_} is closed: closed is final in KUMA")
        return alert


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseCall:
    """Remember one call of `alerts/close` that reached the application, and the status it was answered with."""

    id: str
    reason: str
    status: int


def kuma_app(sim: KumaSim) -> ASGIApp:
    """Make the application that speaks for a KumaSim."""
    face = _Face(sim)
    routes = [
        Route("/api/{version}/alerts", face.alerts, methods=["GET"]),
        Route("/api/{version}/alerts/", face.alerts, methods=["GET"]),
        Route("/api/{version}/alerts/close", face.close, methods=["POST"]),
        Route("/api/{version}/alerts/comment", face.comment, methods=["POST"]),
        Route("/api/{version}/users/whoami", face.whoami, methods=["GET"]),
        Route("/xdr/api/v1/alerts", face.xdr_alerts, methods=["GET"]),
        Route("/xdr/api/v1/alerts/", face.xdr_alerts, methods=["GET"]),
    ]
    app = Starlette(routes=routes, exception_handlers={404: _not_found})
    app.router.redirect_slashes = False
    return app


class _Face:
    """Answer for one KumaSim."""

    def __init__(self, sim: KumaSim) -> None:
        self._sim = sim

    async def alerts(self, request: Request) -> Response:
        """List one page: a bare array, streamed."""
        if not self._served(request):
            return _not_found()
        if elsewhere := self._redirect(request):
            return elsewhere
        if refused := self._refused(request, "GET /alerts"):
            return refused
        try:
            query = Query.parse(request.url.query)
        except BadQuery as error:
            return _error(400, error.message, error.details)
        page = query.cut(self._sim.alerts, self._sim.knobs)
        request.scope["state"]["sim.shown"].update(str(alert["id"]) for alert in page if query.means(alert))
        return self._listing(request, query, page)

    async def close(self, request: Request) -> Response:
        """Close one alert. Order: id, reason, token, existence, tenant, tenant enabled, closed already, correlator."""
        if not self._served(request):
            return _not_found()
        body = await _json_object(request)
        id_, reason = _text(body, "id"), _text(body, "reason")
        answer = self._unasked(id_, reason) or self._refused(request, "POST /alerts/close") or self._close(id_, reason)
        self._sim.close_calls.append(CloseCall(id=id_, reason=reason, status=answer.status_code))
        return answer

    async def comment(self, request: Request) -> Response:
        """Give an alert a comment; v3 alone can (seen in PyPI's kuma-api)."""
        if not self._served(request) or request.path_params["version"] != "v3":
            return _not_found()
        body = await _json_object(request)
        if refused := self._refused(request, "POST /alerts/comment"):
            return refused
        id_, text = _text(body, "alertID"), _text(body, "comment")
        if id_ not in self._sim.alerts:
            return _error(404, "alert not found")
        self._sim.comments.append((id_, text))
        return Response(status_code=204)

    async def whoami(self, request: Request) -> Response:
        """Tell the token's owner: tenants with roles in v1, roles with tenants later (KUMA help 269936)."""
        if not self._served(request):
            return _not_found()
        if refused := self._refused(request, "GET /users/whoami"):
            return refused
        tenants = [{"id": id_, "name": name} for id_, name in self._sim.tenants().items()]
        owner: Json = {"id": "c0ffee00-0000-4000-8000-000000000001", "name": "kuma-sync", "login": "kuma-sync"}
        owner["email"] = "kuma-sync@example.test"
        if request.path_params["version"] == "v1":
            owner["tenants"] = [{**tenant, "role": "Tier 2 analyst"} for tenant in tenants]
        else:
            role = {"id": "c0ffee00-0000-4000-8000-000000000002", "name": "Tier 2 analyst", "tenants": tenants}
            owner["roles"] = [role] if tenants else []
        return Response(encoded(owner, self._sim.knobs), media_type="application/json")

    async def xdr_alerts(self, request: Request) -> Response:
        """List alerts as XDR does: an object, for the tenants named (XDR help 269296)."""
        if not self._sim.knobs.xdr:
            return _not_found()
        if refused := self._refused(request, "GET /alerts"):
            return refused
        if not request.query_params.get("tenantID"):
            return _error(400, "invalid query parameter value", "tenantID required")
        return Response(encoded({"Total": 0, "Alerts": []}, self._sim.knobs), media_type="application/json")

    def _served(self, request: Request) -> bool:
        version = request.path_params["version"]
        if self._sim.knobs.xdr:
            return False
        return version == "v3" or (version in VERSIONS and not self._sim.knobs.only_v3)

    def _redirect(self, request: Request) -> Response | None:
        wanted, has = self._sim.knobs.slash_redirect, request.url.path.endswith("/")
        if not wanted or has == (wanted == "add"):
            return None
        path = f"{request.url.path}/" if wanted == "add" else request.url.path.rstrip("/")
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(path + query, status_code=self._sim.knobs.redirect_status)

    def _refused(self, request: Request, operation: str) -> Response | None:
        knobs = self._sim.knobs
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not token or " " in token:
            return _error(400, "invalid authorization header", "Example: Bearer 00000000000000000000000000000000")
        if knobs.expired or token != self._sim.token or operation in knobs.denied_operations:
            return _error(knobs.denied_status, "access denied", "")
        return None

    def _listing(self, request: Request, query: Query, page: list[Json]) -> Response:
        knobs = self._sim.knobs
        first = query.page == 1 and not query.ids
        head = [encoded(stray, knobs) for stray in knobs.strays] if first else []

        def write(alert: Json) -> bytes:
            item = dressed(alert, knobs, with_events=query.with_events, with_affected=query.with_affected)
            return encoded(item, knobs)

        def finish() -> None:
            if knobs.after_page and not query.ids:
                knobs.after_page(query.page)

        if not page and not head and knobs.past_end_null:
            finish()
            return Response(b"null", media_type=knobs.content_type)
        chunks, headers = array(page, write, head, finish), {}
        if knobs.gzip and "gzip" in request.headers.get("accept-encoding", ""):
            chunks, headers = squeezed(chunks), {"content-encoding": "gzip"}
        if knobs.piece:
            chunks = in_pieces(chunks, knobs.piece)
        return StreamingResponse(chunks, headers=headers, media_type=knobs.content_type)

    def _unasked(self, id_: str, reason: str) -> Response | None:
        if not id_:
            return _error(400, "id required")
        if not reason:
            return _error(400, "reason required")
        known = reason.lower() if self._sim.knobs.any_case_reason else reason
        return None if known in REASONS else _error(400, "invalid reason")

    def _close(self, id_: str, reason: str) -> Response:
        sim = self._sim
        id_ = _canonical(id_) if sim.knobs.any_id_spelling else id_
        alert = sim.alerts.get(id_)
        if alert is None:
            return _error(404, "alert not found")
        if sim.knobs.tenants is not None and alert["tenantID"] not in sim.knobs.tenants:
            return _error(sim.knobs.denied_status, "access denied", "")
        if alert["tenantID"] in sim.knobs.disabled_tenants:
            return _error(406, "tenant disabled")
        if alert["status"] == "closed":
            return _error(406, "alert already closed")
        if sim.knobs.correlator_down:
            return _error(500, "correlator API request failed", "dial tcp 127.0.0.1:7231: connect: connection refused")
        sim.close(id_, reason.lower())
        sim.closes.append((id_, reason.lower()))
        return Response(status_code=204)


def _error(status: int, message: str, details: Any = None) -> Response:
    """Write KUMA's error body (KUMA help 222250)."""
    return Response(json.dumps({"message": message, "details": details}), status, media_type="application/json")


def _not_found(_request: Request | None = None, _error: Exception | None = None) -> Response:
    return PlainTextResponse("404 page not found\n", 404)


async def _json_object(request: Request) -> Json:
    """Read the body as a JSON object, with any Content-Type; `{}` for anything else."""
    try:
        body = json.loads(await request.body())
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _canonical(id_: str) -> str:
    try:
        return str(UUID(id_))
    except ValueError:
        return id_


def _text(body: Json, key: str) -> str:
    value = body.get(key)
    return value if isinstance(value, str) else ""
