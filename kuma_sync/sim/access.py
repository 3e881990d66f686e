"""Who is let in by a simulated IRP: a fixed token, or a session that a login opened and that ends by itself."""

from __future__ import annotations

from collections.abc import Callable
from http.cookies import SimpleCookie
from random import Random

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kuma_sync.sim.knobs import IrpKnobs
from kuma_sync.sim.values import Json

LOGIN = "/login"
COOKIE = "session"


class Access:
    """Knows the open sessions. `logins` counts those that were opened."""

    def __init__(self, *, knobs: Callable[[], IrpKnobs], token: Callable[[], str], random: Random) -> None:
        self.logins = 0
        self._knobs = knobs
        self._token = token
        self._random = random
        self._left: dict[str, int] = {}

    def log_in(self, body: Json) -> Response | None:
        """Open a session for the right username and password (the simulator's token); None for wrong ones."""
        knobs = self._knobs()
        if (body.get("username"), body.get("password")) != (knobs.username, self._token()):
            return None
        self.logins += 1
        session = f"session-{self.logins}-{self._random.getrandbits(64):016x}"
        self._left[session] = knobs.session_requests or 10**9
        if knobs.login == "cookie":
            answer = Response(status_code=204)
            answer.set_cookie(COOKIE, session, httponly=True)
            return answer
        expires = {"expires_in": knobs.session_seconds} if knobs.session_seconds else {}
        return JSONResponse({"token": session, **expires})

    def admits(self, request: Request, token: str) -> bool:
        """Tell whether a request may pass. `token` is what it carries where the API has a fixed token."""
        login = self._knobs().login
        if not login:
            return token == self._token()
        session = _cookie(request) if login == "cookie" else bearer(request)
        if self._left.get(session, 0) <= 0:
            return False
        self._left[session] -= 1
        return True

    def end_sessions(self) -> None:
        """End all sessions now, as a restart of the IRP does."""
        self._left.clear()


def bearer(request: Request) -> str:
    """Return the token of `Authorization: Bearer`, "" without one."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token if kind == "Bearer" else ""


def _cookie(request: Request) -> str:
    found = SimpleCookie(request.headers.get("cookie", "")).get(COOKIE)
    return found.value if found else ""
