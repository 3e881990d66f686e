"""`GET /api/<version>/alerts`: KUMA's own call (KUMA help 222254, 269916), answered to an IRP that polls us.

Errors come in KUMA's order and words.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Protocol
from urllib.parse import parse_qs

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kuma_sync.core.errors import NotTheirs, StoreError
from kuma_sync.core.handout import STATUSES, Asked
from kuma_sync.core.moments import read_moment
from kuma_sync.settings.expressions import Expression
from kuma_sync.web.responses import CONNECTION, AccessRules, Connection, Refused, authenticated

log = structlog.get_logger(__name__)

_MOST_IDS = 1000
_LAST_BYTE = 1.0
"""Seconds in which the peer's system takes the last byte; who asks for the same target's alerts waits as long."""

_FIELDS = ("lastSeen", "firstSeen")
_LISTS = ("v3",)


class Answer(Protocol):
    """The answer to a query: its length, its bytes, and the note that it was sent whole."""

    @property
    def length(self) -> int:
        """Return the number of bytes."""

    def pieces(self) -> AsyncIterator[bytes]:
        """Yield the bytes. Raise StoreError."""

    async def end(self, finish: Callable[[], Awaitable[bool]]) -> None:
        """Let the last piece be sent by `finish`, which tells whether the peer took all, and note it."""


class Gives(Protocol):
    """Gives alerts to targets that poll us."""

    async def give(self, target: str, asked: Asked) -> Answer:
        """Return the answer to a target's query. Raise StoreError, or NotTheirs for the id of another's alert."""


async def list_alerts(request: Request, rules: AccessRules, gives: Gives, version: str) -> Response:
    """Check one query, and answer with the target's alerts."""
    who = authenticated(request, rules)
    if who.target is None:
        raise Refused(403, "access denied", "this token belongs to no target that polls")
    asked = read_query(request.scope["query_string"], lists=version in _LISTS)
    try:
        return WholeAnswer(await gives.give(who.target, asked))
    except NotTheirs as error:
        raise Refused(403, "access denied", str(error)) from None
    except StoreError as error:
        raise Refused(503, "store unavailable", str(error)) from None


class WholeAnswer(Response):
    """An answer of known length, sent piece by piece; it counts once the peer has taken it whole."""

    def __init__(self, given: Answer) -> None:
        super().__init__(media_type="application/json")
        self.headers["Content-Length"] = str(given.length)
        self._given = given

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # ASGI
        """Send it. One that breaks off changes nothing, and is shown again."""
        connection: Connection | None = scope.get("state", {}).get(CONNECTION)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body"})
            return
        try:
            last = await self._all_but_the_last(send, connection)
            if last is not None:
                await self._given.end(partial(_finish, last, send, connection))
            elif connection is not None:
                connection.end()
        except StoreError as error:
            log.warning("handout_broke_off", reason=str(error))
            if connection is not None:
                connection.end()

    async def _all_but_the_last(self, send: Send, connection: Connection | None) -> bytes | None:
        """Send the body without its last piece, and return that; None where the peer did not take the others."""
        last = b""
        async for piece in self._given.pieces():
            if last:
                await send({"type": "http.response.body", "body": last, "more_body": True})
            last = piece
            if connection is not None and not _goes_on(connection):
                return None
        # The last byte waits until the peer's system has taken all others.
        return last if connection is None or last == b"[]" or await connection.taken() else None


async def _finish(last: bytes, send: Send, connection: Connection | None) -> bool:
    """Send the last piece; tell whether the peer took it."""
    await send({"type": "http.response.body", "body": last})
    # A peer that closes at once has closed after the last byte, or the connection is broken.
    return connection is None or await connection.taken(within=_LAST_BYTE) or not connection.unsure


def _goes_on(connection: Connection) -> bool:
    connection.moves()
    return not connection.over


def read_query(raw: bytes, *, lists: bool) -> Asked:
    """Read KUMA's parameters; others are ignored, as KUMA ignores them. Raise Refused in KUMA's words."""
    try:
        given = parse_qs(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=2 * _MOST_IDS)
    except ValueError:
        raise Refused(400, "invalid query parameter value") from None
    if any("\x00" in value for values in given.values() for value in values):
        raise Refused(400, "invalid query parameter value")
    page = _page(_last(given.get("page")))
    ids = tuple(dict.fromkeys(one for one in given.get("id", []) if one))
    if len(ids) > _MOST_IDS:
        raise Refused(400, "invalid query parameter value", "id")
    statuses = frozenset(one for one in given.get("status", []) if one)
    if statuses - STATUSES:
        raise Refused(400, "invalid status", min(statuses - STATUSES))
    moment = _last(given.get("timestampField")) or _FIELDS[0]
    if moment not in _FIELDS:
        raise Refused(400, "invalid timestamp field", moment)
    since, until = _moment(given.get("from"), "from"), _moment(given.get("to"), "to")
    if since is not None and until is not None and since > until:
        raise Refused(400, "from cannot be greater than to")
    return Asked(
        page=page,
        ids=ids,
        tenants=frozenset(one for one in given.get("tenantID", []) if one),
        statuses=statuses,
        name=_pattern(_last(given.get("name"))),
        by_first_seen=moment == "firstSeen",
        since=since,
        until=until,
        with_events="withEvents" in given,
        with_affected="withAffected" in given,
        lists=lists,
    )


def _last(values: Sequence[str] | None) -> str:
    return values[-1] if values else ""


def _page(text: str) -> int:
    if not text:
        return 1
    if not (text.isascii() and text.isdigit() and len(text) < 10) or int(text) < 1:
        raise Refused(400, "invalid query parameter value", "page")
    return int(text)


def _moment(values: Sequence[str] | None, name: str) -> datetime | None:
    text = _last(values)
    if not text:
        return None
    # A plus sign that was not percent-encoded came as a space.
    moment = read_moment(text.replace(" ", "+") if "T" in text else text)
    if moment is None:
        raise Refused(400, f"cannot parse {name}", text[:100])
    return moment.astimezone(UTC)


def _pattern(text: str) -> Expression | None:
    try:
        return Expression(text, ignore_case=True) if text else None
    except ValueError as error:
        raise Refused(400, "invalid query parameter value", f"name: {error}") from None
