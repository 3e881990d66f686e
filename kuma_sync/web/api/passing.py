"""What `[web.passthrough] allow` lists: other calls of KUMA's, passed on with our token and answered as KUMA did."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from kuma_sync.core.errors import NotAsked, RemoteError, StoreError
from kuma_sync.transport import Outgoing
from kuma_sync.web.responses import CONNECTION, AccessRules, Connection, Refused, authenticated, hangs_up, read_body

log = structlog.get_logger(__name__)

LARGEST_ANSWER = 64 * 1024 * 1024
LARGEST_BODY = 1024 * 1024

_SENT = ("content-type", "content-encoding", "accept")
"""What of the caller's headers KUMA gets: never the token, which is ours to choose."""

_SHOWN = ("content-type", "content-disposition", "retry-after")


class Given(Protocol):
    """KUMA's answer, as it comes."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]

    def raw(self, names: Collection[str]) -> list[tuple[bytes, bytes]]:
        """Return these headers, named in small letters, as they came: no encoding is agreed on for their bytes."""


class Passes(Protocol):
    """Passes calls on to KUMA."""

    def passed(self, who: str, request: Outgoing) -> AbstractAsyncContextManager[Given]:
        """Send a call. Raise NotAsked, StoreError or RemoteError."""


async def pass_on(scope: Scope, receive: Receive, send: Send, *, rules: AccessRules, passes: Passes | None) -> None:
    """Answer a call that no other door takes: 404 unless it is listed."""
    request = Request(scope, receive)
    path = scope.get("raw_path", b"").decode("ascii", "replace")
    if not any(one.matches(scope["method"], path) for one in rules.allow):
        raise HTTPException(404)
    try:
        who = authenticated(request, rules)
    except Refused:
        await read_body(request, 0)  # so that its sender gets the answer; none of it is kept
        raise
    if passes is None:
        raise Refused(503, "KUMA is not asked now", "the daemon is starting", retry_after=1)
    outgoing = await _outgoing(request, path)
    try:
        async with passes.passed(who.name, outgoing) as given:
            await _hand_over(given, send, scope.get("state", {}).get(CONNECTION))
    except NotAsked as error:
        raise Refused(503, "KUMA is not asked now", str(error), retry_after=error.seconds) from None
    except StoreError as error:
        raise Refused(503, "store unavailable", str(error)) from None
    except RemoteError as error:
        raise Refused(502, "KUMA gave no answer", error.summary) from None


async def _outgoing(request: Request, path: str) -> Outgoing:
    """Return the call as KUMA gets it; raise Refused where its body is too large, or did not come whole."""
    body = await read_body(request, LARGEST_BODY)
    if body is None:
        raise Refused(413, "request body too large", f"at most {LARGEST_BODY} bytes")
    if hangs_up(request):
        raise Refused(408, "request body incomplete", "nothing was passed on")
    return Outgoing(
        method=request.method,
        path=path,
        query=request.scope["query_string"].decode("ascii", "replace"),
        headers={name: value for name in _SENT if (value := request.headers.get(name))},
        body=body or None,
    )


async def _hand_over(given: Given, send: Send, connection: Connection | None) -> None:
    """Send KUMA's answer on; raise Refused or RemoteError where nothing of it was sent yet."""
    if 300 <= given.status < 400 and given.status != 304:
        raise Refused(502, "KUMA redirects this call", "is the path right?")
    if _length(given.headers) > LARGEST_ANSWER:
        raise Refused(502, "KUMA's answer is too large", f"at most {LARGEST_ANSWER >> 20} MB")
    first = await anext(given.chunks, b"")
    await send({"type": "http.response.start", "status": given.status, "headers": given.raw(_SHOWN)})
    try:
        whole = await _rest_sent(first, given.chunks, send, connection)
    except RemoteError as error:
        log.warning("passing_broke_off", reason=error.summary)
        whole = False
    if whole:
        await send({"type": "http.response.body"})
    elif connection is not None:
        connection.end()


async def _rest_sent(first: bytes, rest: AsyncIterator[bytes], send: Send, connection: Connection | None) -> bool:
    """Send the body's pieces; tell whether all of them went."""
    size, piece = 0, first
    while piece:
        size += len(piece)
        if size > LARGEST_ANSWER:
            log.warning("passing_broke_off", reason=f"KUMA's answer is larger than {LARGEST_ANSWER >> 20} MB")
            return False
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        if connection is not None:
            if connection.over:
                return False
            connection.moves()
        piece = await anext(rest, b"")
    return True


def _length(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 20 else 0
