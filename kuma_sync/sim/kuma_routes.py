"""KUMA's HTTP face: listing, closing, whoami, with its checks in its order and its words. State lies in KumaSim."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from kuma_sync.sim.kuma_query import BadQuery, Query
from kuma_sync.sim.kuma_render import array, dressed, encoded, in_pieces, squeezed
from kuma_sync.sim.values import Json

if TYPE_CHECKING:
    from kuma_sync.sim.kuma import KumaSim

VERSIONS = frozenset({"v1", "v2", "v2.1", "v3"})
REASONS = frozenset({"responded", "incorrect data", "incorrect correlation rule"})


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
        Route("/api/{version}/users/whoami", face.whoami, methods=["GET"]),
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

    def _served(self, request: Request) -> bool:
        version = request.path_params["version"]
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
    """Read the body as an object, whatever its Content-Type says; anything else has no id and no reason."""
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
