"""A receiver of notifications as a real server on loopback, which can fail in every way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from addresses import somewhere
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from kuma_sync.sim.server import SimServer

SECRET_PATH = "/hook/canary-9f31"


@dataclass(kw_only=True)
class Received:
    """What came, and how it is answered: by `status` and what it `says`, or never while it `hangs`."""

    url: str = ""
    status: int = 200
    hangs: bool = False
    says: bytes = b""
    asked: list[str] = field(default_factory=list)
    told: list[dict[str, Any]] = field(default_factory=list)

    def events(self) -> list[tuple[str, str, str]]:
        """Return event, severity and target of what was taken."""
        return [(one["event"], one["severity"], one["target"]) for one in self.told]

    def switched(self) -> int:
        """Count how often it was asked, as a dead man's switch is."""
        return sum(one.startswith("GET ") for one in self.asked)

    async def answer(self, request: Request) -> Response:
        body = await request.body()
        self.asked.append(f"{request.method} {request.url.path}?{request.url.query}")
        if self.hangs:
            await asyncio.sleep(3600)
        if 200 <= self.status < 300 and request.method == "POST":
            self.told.append(json.loads(body))
        if 300 <= self.status < 400:
            return RedirectResponse("/elsewhere", status_code=self.status)
        return Response(self.says, status_code=self.status)


@asynccontextmanager
async def receiver() -> AsyncIterator[Received]:
    """Serve one; its address holds a secret."""
    received = Received()
    app = Starlette(routes=[Route("/{path:path}", received.answer, methods=["GET", "POST"])])
    async with SimServer(app, listen=somewhere()) as server:
        received.url = f"{server.url}{SECRET_PATH}?key=canary-77a2"
        yield received
