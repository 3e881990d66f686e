"""All doors as one ASGI application: /livez /healthz /readyz /metrics, and KUMA's calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from kuma_sync.core.handout import user
from kuma_sync.telemetry.health import Health
from kuma_sync.web.api.alerts import Gives, list_alerts
from kuma_sync.web.api.close import Intake, close_alert
from kuma_sync.web.api.passing import Passes, pass_on
from kuma_sync.web.responses import (
    AccessRules,
    Refused,
    TokenLimits,
    WrongTokens,
    answer,
    authenticated,
    bearer_token,
    matches,
    on_http_error,
    on_refused,
    wrong_token,
)

API_VERSIONS = ("v1", "v2", "v2.1", "v3")
Pages = ASGIApp
"""The console, as the doors see it."""

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def build_app(  # noqa: PLR0913  # what each door answers from
    *,
    rules: Callable[[], AccessRules],
    intake: Intake,
    health: Health,
    render_metrics: Callable[[], Awaitable[bytes]],
    gives: Gives | None = None,
    passes: Callable[[], Passes | None] = lambda: None,
    serves: Callable[[], str] = str,
    console: Callable[[], Pages | None] = lambda: None,
    wrong_tokens: WrongTokens | None = None,
) -> Starlette:
    """Build the application; `rules` and `serves`, which identifies KUMA and the IRPs, are called at every request.

    `passes` is called where a call may be passed on to KUMA, `console` for what is no call of KUMA's (None: it is off).
    """

    async def livez(_request: Request) -> Response:
        stuck = health.stuck()
        return JSONResponse({"state": "stuck" if stuck else "ok", "stuck": stuck}, status_code=503 if stuck else 200)

    async def readyz(_request: Request) -> Response:
        return _readiness(health, serves())

    async def metrics(request: Request) -> Response:
        refusal = _metrics_refusal(request, rules())
        return refusal or Response(await render_metrics(), media_type=_METRICS_TYPE)

    async def close(request: Request) -> Response:
        return await close_alert(request, rules(), intake)

    app = Starlette(
        routes=[
            *(Route(path, livez, methods=["GET"]) for path in ("/livez", "/healthz")),
            Route("/readyz", readyz, methods=["GET"]),
            Route("/metrics", metrics, methods=["GET"]),
            *(Route(f"/api/{version}/alerts/close", close, methods=["POST"]) for version in API_VERSIONS),
            *_asked(rules, gives),
        ],
        exception_handlers={Refused: on_refused, HTTPException: on_http_error},
    )
    app.state.wrong_tokens = wrong_tokens or WrongTokens(TokenLimits())
    app.router.redirect_slashes = False
    app.router.default = _anything_else(rules, passes, console)
    return app


def _anything_else(
    rules: Callable[[], AccessRules], passes: Callable[[], Passes | None], console: Callable[[], Pages | None]
) -> ASGIApp:
    """Return the door for every path that no other one takes."""

    async def anything_else(scope: Scope, receive: Receive, send: Send) -> None:
        pages = None if scope["path"].startswith("/api/") else console()
        if pages is not None:
            await pages(scope, receive, send)
            return
        await pass_on(scope, receive, send, rules=rules(), passes=passes())

    return anything_else


def _asked(rules: Callable[[], AccessRules], gives: Gives | None) -> list[Route]:
    """Return the calls of KUMA's that an IRP which polls us makes."""

    async def alerts(version: str, request: Request) -> Response:
        if gives is None:
            raise HTTPException(404)
        return await list_alerts(request, rules(), gives, version)

    async def whoami(version: str, request: Request) -> Response:
        name = authenticated(request, rules()).name
        return JSONResponse(user(name, str(uuid5(NAMESPACE_URL, name)), roles=version != "v1"))

    return [
        Route(f"/api/{version}/{path}", partial(call, version), methods=["GET"])
        for version in API_VERSIONS
        for path, call in (("alerts", alerts), ("alerts/", alerts), ("users/whoami", whoami))
    ]


def _readiness(health: Health, serves: str) -> Response:
    readiness = health.ready()
    state = "ready" if readiness.ready else "starting" if readiness.starting else "not ready"
    parts = {
        name: {"state": part.state, "age_seconds": part.age_seconds, "reason": part.reason}
        for name, part in readiness.parts.items()
    }
    body: dict[str, Any] = {
        "state": state,
        "parts": parts,
        "parked": readiness.parked,
        "held": readiness.held,
        "serves": serves,
    }
    if readiness.refused:
        body["configuration_refused"] = readiness.refused
    return JSONResponse(body, status_code=200 if readiness.ready else 503)


def _metrics_refusal(request: Request, rules: AccessRules) -> Response | None:
    if rules.metrics_public:
        return None
    token = bearer_token(request)
    if token is None:
        refusal = answer(401, "token required")
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal
    if not matches(token, [rules.metrics_token, *rules.tokens.values()]):
        raise wrong_token(request)
    return None
