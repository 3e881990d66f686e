"""Parts of every call: the caller's token, the body, and refusals in KUMA's words."""

from __future__ import annotations

import asyncio
import hmac
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response

from kuma_sync.settings import Secret
from kuma_sync.settings.passthrough import Passage
from kuma_sync.web.throttle import Throttle, network_of, peer_of

log = structlog.get_logger(__name__)

LARGEST_BODY = 64 * 1024
_DRAINED = 1024 * 1024
_SECONDS = 30.0
CONNECTION = "connection"
"""The name under which a request's state has its connection."""

_BEARER = re.compile(r"Bearer ([!-~]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRules:
    """`tokens` by name open everything but the alerts, `metrics_token` only /metrics; an empty secret opens nothing.

    `pulls` are the tokens of targets that poll us: each opens its target's alerts, and closings of these. `allow` are
    the other calls of KUMA's that both kinds of tokens open.
    """

    to_kuma: bool
    tokens: Mapping[str, Secret] = field(default_factory=dict)
    pulls: Mapping[str, Secret] = field(default_factory=dict)
    allow: Sequence[Passage] = ()
    metrics_token: Secret = field(default_factory=Secret)
    metrics_public: bool = False


class Connection(Protocol):
    """The connection of a request, as far as it tells whether the peer took an answer."""

    @property
    def unsure(self) -> bool:
        """Tell whether the peer may not have taken all: it goes on, or it was broken off."""

    @property
    def over(self) -> bool:
        """Tell whether it ended."""

    def moves(self) -> None:
        """Note that the answer goes on."""

    async def taken(self, *, within: float | None = None) -> bool:
        """Wait until the peer's system has taken all that was sent; false where it ended before, or not in time."""

    def end(self) -> None:
        """Break it off: what was sent must not look like a whole answer."""


async def read_body(request: Request, limit: int = LARGEST_BODY) -> bytes | None:
    """Read a body of at most `limit` bytes; None where it is larger. After 30 s the part that has arrived is returned.

    A larger body is read up to 1 MB, so that its sender gets the answer. If we stop before its end, `hangs_up` is true
    afterwards.
    """
    body, size = bytearray(), 0
    request.state.hangs_up = True
    try:
        async with asyncio.timeout(_SECONDS):
            async for piece in request.stream():
                size += len(piece)
                if size <= limit:
                    body += piece
                elif size > _DRAINED:
                    return None
    except (TimeoutError, ClientDisconnect):
        return bytes(body)
    request.state.hangs_up = False
    return bytes(body) if size <= limit else None


def hangs_up(request: Request) -> bool:
    """Tell whether to close the connection; else the server reads the rest of the body, which may never end."""
    return bool(getattr(request.state, "hangs_up", False))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenLimits:
    """How many wrong tokens an address may show; a right one is always taken."""

    most: int = 30
    within: timedelta = timedelta(minutes=1)
    remembered: int = 1000
    """Addresses that are counted; then the oldest are forgotten."""


class WrongTokens:
    """Counts the wrong tokens that callers show."""

    def __init__(self, limits: TokenLimits, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._throttle = Throttle(
            most=limits.most, within=limits.within, remembered=limits.remembered, monotonic=monotonic
        )

    def refusal(self, request: HTTPConnection) -> Refused:
        """Return the answer to a wrong token: 403, or 429 after too many from this address."""
        peer = peer_of(request)
        wait = self._throttle.tried(network_of(peer))
        if wait is None:
            return Refused(403, "access denied")
        if wait.first:
            log.warning("wrong_tokens", address=peer)
        return Refused(429, "too many wrong tokens", "from this address", retry_after=wait.seconds)


class Refused(Exception):  # it is an answer, not a fault
    """An answer that ends the request at once."""

    def __init__(self, status: int, message: str, details: Any = None, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.status = status
        self.message = message
        self.details = details


def answer(status: int, message: str, details: Any = None) -> Response:
    """Write KUMA's error body."""
    return JSONResponse({"message": message, "details": details}, status_code=status)


async def on_refused(request: Request, refused: Exception) -> Response:
    """Answer a Refused, as an exception handler."""
    assert isinstance(refused, Refused)  # noqa: S101  # registered for this type only
    response = answer(refused.status, refused.message, refused.details)
    if refused.retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(refused.retry_after))
    if hangs_up(request):
        response.headers["Connection"] = "close"
    return response


async def on_http_error(_request: Request, error: Exception) -> Response:
    """Answer 404 and 405 in the same shape, as an exception handler."""
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this type only
    return JSONResponse(
        {"message": error.detail.lower(), "details": None}, status_code=error.status_code, headers=error.headers
    )


def bearer_token(request: Request) -> str | None:
    """Return the token of `Authorization: Bearer …`; None where the header is missing or something else."""
    match = _BEARER.fullmatch(request.headers.get("authorization", ""))
    return match[1] if match else None


def caller(token: str, known: Mapping[str, Secret]) -> str | None:
    """Return the name that has this token. All are compared, in constant time, so that timing reveals nothing."""
    found = None
    for name, secret in known.items():
        if matches(token, [secret]):
            found = name
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The holder of a token, by its name; with a token of a target that polls us, `target` is that one."""

    name: str
    target: str | None = None


def wrong_token(request: Request) -> Refused:
    """Return the answer to a request with a wrong token."""
    counted: WrongTokens = request.app.state.wrong_tokens
    return counted.refusal(request)


def authenticated(request: Request, rules: AccessRules) -> Caller:
    """Return who calls; raise Refused in KUMA's words (KUMA help 217974), 429 where too many wrong tokens came."""
    token = bearer_token(request)
    if token is None:
        raise Refused(400, "invalid authorization header", "Example: Bearer <token>")
    name, target = caller(token, rules.tokens), caller(token, rules.pulls)
    if target is not None:
        return Caller(name=target, target=target)
    if name is None:
        raise wrong_token(request)
    return Caller(name=name)


def matches(token: str, secrets: Iterable[Secret]) -> bool:
    """Tell whether a token is one of these; an empty secret opens nothing."""
    found = False
    for secret in secrets:
        same = hmac.compare_digest(token.encode(), secret.reveal().encode())
        found = (same and bool(secret)) or found
    return found
