"""An IRP on a real socket that lets in whoever logged in, and keeps what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from builders import NOW
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kuma_sync.irp.auth import Credentials
from kuma_sync.irp.client import IrpClient
from kuma_sync.irp.load import parse_profile
from kuma_sync.irp.profile import Profile
from kuma_sync.settings.secret import Secret
from kuma_sync.sim.server import SimServer
from kuma_sync.transport import Endpoint, RemoteClient

PASSWORD = "canary-password"
APP_KEY = "canary-app-key"
TOKEN = "canary-session-token-"

OPERATIONS = """
[probe]
method = "GET"
path = "/incidents"

[create]
method = "POST"
path = "/incidents"
[create.body]
title = "x"
[create.extract]
id = "id"
"""

BY_TOKEN = """
[profile]
name = "by-token"
verified = true
[auth]
kind = "login"
prefix = "Session "
[auth.login]
method = "POST"
path = "/login"
encoding = "form"
headers = { X-App = "{{ secrets.app_key }}" }
body = { user = "{{ username }}", password = "{{ password }}" }
[auth.login.extract]
token = "data.token"
expires_in = "data.expires"
"""

BY_COOKIE = """
[profile]
name = "by-cookie"
verified = true
[auth]
kind = "login"
cookie = true
[auth.login]
method = "POST"
path = "/login"
encoding = "form"
ok_status = [302]
headers = { X-App = "{{ secrets.app_key }}" }
body = { user = "{{ username }}", password = "{{ password }}" }
"""


@dataclass(kw_only=True)
class SessionIrp:
    """Opens a session at each right login; only the last one is valid. `waits` holds logins up until it is set.

    `expires` is what a login says of the session's time, `answers` what logins are answered with instead, in turn. A
    request for incidents `takes` so many seconds; `refusal` is the answer to one without a session, if not a plain 401.
    """

    by_cookie: bool = False
    password: str = PASSWORD
    expires: object = None
    answers: list[Response] = field(default_factory=list)
    takes_none: bool = False
    refusal: Response | None = None
    logins: int = 0
    asked: int = 0
    made: int = 0
    refused: int = 0
    valid: str = ""
    login_headers: list[Mapping[str, str]] = field(default_factory=list)
    shown: list[Mapping[str, str]] = field(default_factory=list)
    takes: float = 0.0
    waits: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.waits.set()

    def end_session(self) -> None:
        """End the session, as a restart does."""
        self.valid = ""

    async def log_in(self, request: Request) -> Response:
        self.asked += 1
        self.login_headers.append(dict(request.headers))
        body = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        await self.waits.wait()
        if self.answers:
            return self.answers.pop(0)
        if (body.get("user"), body.get("password")) != ("sync", self.password):
            return JSONResponse({"message": f"wrong password {body.get('password')}"}, 401)
        self.logins += 1
        self.valid = f"{TOKEN}{self.logins}"
        if self.by_cookie:
            page = Response("<html>Redirecting", 302, {"Location": "/home"})
            page.set_cookie("sid", self.valid, httponly=True, path="/")
            page.set_cookie("old", "", max_age=0)
            page.set_cookie("lang", "ru")
            return page
        return JSONResponse({"data": {"token": self.valid, "expires": self.expires}})

    async def incidents(self, request: Request) -> Response:
        self.shown.append(dict(request.headers))
        await asyncio.sleep(self.takes)
        shown = request.headers.get("authorization", "")
        wanted = f"Session {self.valid}"
        if self.by_cookie:
            shown, wanted = request.headers.get("cookie", ""), f"sid={self.valid}; lang=ru"
        if self.takes_none or not self.valid or shown != wanted:
            self.refused += 1
            return self.refusal or JSONResponse({"message": f"who is {shown}?"}, 401)
        if request.method == "GET":
            return JSONResponse([])
        self.made += 1
        return JSONResponse({"id": str(self.made)}, 201)

    @asynccontextmanager
    async def client(
        self,
        *,
        credentials: Credentials | None = None,
        profile: Profile | None = None,
        deadline: float = 60,
        connections: int = 8,
    ) -> AsyncIterator[IrpClient]:
        """Serve, and give a client that is configured for it."""
        routes = [
            Route("/login", self.log_in, methods=["POST"]),
            Route("/incidents", self.incidents, methods=["GET", "POST"]),
        ]
        async with SimServer(Starlette(routes=routes)) as server:
            endpoint = Endpoint(remote="irp", url=server.url, deadline=deadline, connections=connections)
            remote = RemoteClient(endpoint, clock=lambda: NOW)
            try:
                yield IrpClient(
                    client=remote,
                    profile=profile or login_profile(by_cookie=self.by_cookie),
                    secrets=credentials or known(),
                    options={},
                    clock=lambda: NOW,
                    most_pages=10,
                )
            finally:
                await remote.aclose()


def login_profile(*changes: tuple[str, str], by_cookie: bool = False) -> Profile:
    """Return the profile of this IRP, with pieces of its text replaced."""
    text = (BY_COOKIE if by_cookie else BY_TOKEN) + OPERATIONS
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_profile(text, source="login.toml")


def known(password: Secret | None = None) -> Credentials:
    """Return the credentials that this IRP knows."""
    return Credentials(
        token=Secret(), username="sync", password=password or Secret(PASSWORD), named={"app_key": Secret(APP_KEY)}
    )


async def create(client: IrpClient) -> str:
    """Make an incident; return its id."""
    return (await client.create(client.draft("create", {}))).id
