"""The part that all dialects of the simulated IRP share: who is let in, how a request is read, how one is refused."""

from __future__ import annotations

import asyncio
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, ClassVar

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from kuma_sync.sim.access import LOGIN, bearer
from kuma_sync.sim.bodies import BadBody, Body, File, read_body
from kuma_sync.sim.values import Json

if TYPE_CHECKING:
    from kuma_sync.sim.irp import Incident, IrpSim


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request that was let in: its fields, its files, and the rest as Starlette has it."""

    request: Request
    body: Json
    files: list[File]

    @property
    def query(self) -> Mapping[str, str]:
        """Give the query's parameters."""
        return self.request.query_params

    def part(self, name: str) -> str:
        """Give a parameter of the path."""
        return str(self.request.path_params[name])

    @property
    def base(self) -> str:
        """Give the address that was asked, up to the path."""
        return f"{self.request.url.scheme}://{self.request.url.netloc}"


class Refused(Exception):
    """A refusal, raised by a handler. `kind` is the error's name, where a dialect tells one."""

    def __init__(self, status: int, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind


Handler = Callable[[Asked], Response]


class Dialect(ABC):
    """One product's API over the incidents of an IrpSim.

    `words` names, for `title`, `severity` and `lastSeenAt`, the field of the product that holds it; `path` is what a
    GET may try, `profile` the built-in one for it. With `may_be_empty` a request that changes something needs no body.
    """

    name: ClassVar[str]
    profile: ClassVar[str]
    path: ClassVar[str]
    words: ClassVar[Mapping[str, str]]
    token_header: ClassVar[str] = ""
    may_be_empty: ClassVar[bool] = False

    def __init__(self, sim: IrpSim) -> None:
        self.sim = sim

    @abstractmethod
    def routes(self) -> list[Route]:
        """Give the routes of this API."""

    def refusal(self, refused: Refused) -> Response:
        """Write a refusal as this product does."""
        return JSONResponse({"message": refused.message}, status_code=refused.status)

    def told(self, word: str, value: object) -> object:  # noqa: ARG002  # the others translate by it
        """Translate a field's value into the default dialect's."""
        return value

    def new_id(self, random: Random) -> str:
        """Make an id for a new incident."""
        return str(uuid.UUID(int=random.getrandbits(128), version=4))

    def common(self, incident: Incident) -> Json:
        """Give title, severity and lastSeenAt in the default dialect's words, less what analysts edited."""
        fields = {word: name for word, name in self.words.items() if name not in incident.edited}
        return {word: self.told(word, incident.fields.get(name)) for word, name in fields.items()}

    def app(self) -> ASGIApp:
        """Make the application that serves this API, with the login that a knob may demand."""
        app = Starlette(routes=[Route(LOGIN, self._log_in, methods=["POST"]), *self.routes()])
        app.router.redirect_slashes = False
        return app

    def guarded(self, handle: Handler) -> Callable[[Request], Awaitable[Response]]:
        """Check who asks, size and body, wait the latency, then handle the request in one go."""

        async def endpoint(request: Request) -> Response:
            raw = await request.body()
            await asyncio.sleep(self.sim.knobs.latency)
            try:
                self._let_in(request)
                body = self._read(request, raw)
                return handle(Asked(request=request, body=body.fields, files=body.files))
            except Refused as refused:
                return self.refusal(refused)

        return endpoint

    def check_dictionaries(self, fields: Json) -> None:
        """Refuse a value that is not in the dictionary of its field."""
        for name, values in self.sim.knobs.dictionaries.items():
            if fields.get(name) is not None and fields[name] not in values:
                raise Refused(422, f"{name}: there is no value {fields[name]!r}", "UnknownValue")

    def check_move(self, before: str, after: str) -> None:
        """Refuse a change of status that the process does not have."""
        allowed = self.sim.knobs.transitions.get(before)
        if allowed is not None and before != after and after not in allowed:
            raise Refused(422, f"illegal transition: {before} to {after}", "IllegalTransition")

    def known(self, id: str) -> Incident:
        """Give an incident by its id, or refuse with 404."""
        found = self.sim.by_id(id)
        if found is None:
            raise Refused(404, "incident not found", "NotFoundError")
        return found

    def _let_in(self, request: Request) -> None:
        header = self.sim.knobs.token_header or self.token_header
        token = request.headers.get(header, "") if header else bearer(request)
        if not self.sim.access.admits(request, token):
            raise Refused(self.sim.knobs.denied_status, "access denied", "AuthenticationError")

    def _read(self, request: Request, raw: bytes) -> Body:
        if self.sim.knobs.max_body and len(raw) > self.sim.knobs.max_body:
            raise Refused(413, "request body is too large", "TooLarge")
        if request.method in ("GET", "DELETE") or (self.may_be_empty and not raw):
            return Body()
        try:
            return read_body(raw, request.headers.get("content-type", ""))
        except BadBody as error:
            raise Refused(400, str(error), "BadRequest") from error

    async def _log_in(self, request: Request) -> Response:
        if not self.sim.knobs.login:
            return self.refusal(Refused(404, "there is no such address", "NotFoundError"))
        try:
            body = self._read(request, await request.body())
        except Refused as refused:
            return self.refusal(refused)
        wrong = Refused(self.sim.knobs.denied_status, "wrong username or password", "AuthenticationError")
        return self.sim.access.log_in(body.fields) or self.refusal(wrong)


def number(asked: Asked, name: str, default: int) -> int:
    """Read a number of the query; what is none is refused."""
    text = asked.query.get(name, str(default))
    if not text.isascii() or not text.isdigit():
        raise Refused(400, f"{name} must be a number", "BadRequest")
    return int(text)
