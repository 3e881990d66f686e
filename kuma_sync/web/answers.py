"""Refusals in KUMA's words (KUMA help 222250: `{"message", "details"}`), and who is calling.

Must not: say more than the words; no answer holds a secret.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from kuma_sync.settings import Secret
from kuma_sync.web.body import hangs_up

_BEARER = re.compile(r"Bearer ([!-~]+)")


class Refused(Exception):  # it is an answer, not a fault
    """An answer that ends the request at once."""

    def __init__(self, status: int, message: str, details: Any = None) -> None:
        super().__init__(message)
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
    """Return the name whose token this is. All are compared, each in constant time, so that time tells nothing."""
    found = None
    for name, secret in known.items():
        if matches(token, [secret]):
            found = name
    return found


def matches(token: str, secrets: Iterable[Secret]) -> bool:
    """Tell whether a token is one of these; an empty secret opens nothing."""
    found = False
    for secret in secrets:
        same = hmac.compare_digest(token.encode(), secret.reveal().encode())
        found = (same and bool(secret)) or found
    return found
