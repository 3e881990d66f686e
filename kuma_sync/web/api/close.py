"""`POST /api/<version>/alerts/close`: KUMA's own call (KUMA help 222255, 269917), made durable.

Errors come in the contract's order.
"""

from __future__ import annotations

import json
import math
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, KumaAnswer, parse_reason
from kuma_sync.core.errors import NotTheirs, StoreError, TooManyWait
from kuma_sync.core.incident import Origin
from kuma_sync.web.responses import LARGEST_BODY, AccessRules, Caller, Refused, answer, authenticated, read_body

LONGEST_WAIT = 30.0
LONGEST_ID = 200


class Intake(Protocol):
    """Takes closings for the durable queue."""

    async def take(self, request: CloseRequest, wait: float | None) -> KumaAnswer | None:
        """Put a closing on the durable queue, and return 204.

        With `wait`, stay up to that many seconds for KUMA's final answer; None when it did not come. Raise StoreError
        or TooManyWait when nothing was stored, NotTheirs where the alert belongs to another target.
        """


async def close_alert(request: Request, rules: AccessRules, intake: Intake) -> Response:
    """Check one call in the contract's order, hand it to the closing intake, and answer in KUMA's words."""
    body = await read_body(request)
    who = authenticated(request, rules)
    if body is None:
        raise Refused(413, "request body too large", f"at most {LARGEST_BODY} bytes")
    closing = _closing(body, who)
    wait = _wait(request)
    if not rules.to_kuma:
        raise Refused(406, "closing is switched off")
    try:
        said = await intake.take(closing, wait)
    except NotTheirs as error:
        raise Refused(403, "access denied", str(error)) from None
    except StoreError as error:
        raise Refused(503, "store unavailable", str(error)) from None
    except TooManyWait as error:
        raise Refused(503, "too many wait", f"{error}; nothing was stored, call again without wait") from None
    if said is None:
        return answer(202, "accepted", "no final answer of KUMA yet; the queue goes on")
    return Response(status_code=204) if said.status == 204 else answer(said.status, said.message, said.details or None)


def _closing(body: bytes, who: Caller) -> CloseRequest:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "invalid request body") from None
    if not isinstance(fields, dict):
        raise Refused(400, "invalid request body")
    alert_id, reason = _text(fields, "id"), _text(fields, "reason")
    comment, incident = _text(fields, "comment"), _text(fields, "incident")
    if not alert_id:
        raise Refused(400, "id required")
    if len(alert_id) > LONGEST_ID:
        raise Refused(400, "invalid request body", "id")
    if not reason:
        raise Refused(400, "reason required")
    parsed = parse_reason(reason)
    if parsed is None:
        raise Refused(400, "invalid reason")
    return CloseRequest(
        alert_id=AlertId(alert_id),
        reason=parsed,
        origin=Origin.IRP,
        by=who.name,
        comment=comment,
        incident=incident,
        target=who.target,
    )


def _text(fields: dict[str, Any], name: str) -> str:
    """Read an optional text; a number becomes text. Refuse what no database stores (NUL, half a surrogate pair)."""
    value = fields.get(name)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Refused(400, "invalid request body", name)
    text = str(value).strip()
    if any(sign == "\x00" or "\ud800" <= sign <= "\udfff" for sign in text):
        raise Refused(400, "invalid request body", name)
    return text


def _wait(request: Request) -> float | None:
    given = request.query_params.get("wait")
    if given is None:
        return None
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= LONGEST_WAIT:
        raise Refused(400, "invalid query parameter value", "wait")
    return seconds
