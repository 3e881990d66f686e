"""KUMA's own words for a refusal (help 217974, 222250, 222255, 269917), turned into errors that can be shown.

Must not: send. Only texts that KUMA documents go into a summary; any other stays in `detail`.
"""

from __future__ import annotations

from kuma_sync.core.errors import AccessDenied, Permanent, RemoteError
from kuma_sync.transport import Answer, refusal

ALREADY_CLOSED = "alert already closed"
_BAD_HEADER = "invalid authorization header"
_DOCUMENTED = frozenset(
    {
        "id required",
        "reason required",
        "invalid reason",
        "alert not found",
        "tenant disabled",
        "service not paired",
        "invalid query parameter value",
    }
)


def kuma_refusal(answer: Answer, *, operation: str, api_version: str) -> RemoteError:
    """Translate an answer that is no success; 400 `invalid authorization header` is a refused token, too."""
    error = refusal(answer, remote=answer.remote, operation=operation)
    if not isinstance(error, Permanent):
        return error
    said = answer.message.casefold()
    if said == _BAD_HEADER:
        summary = f"{_BAD_HEADER} (is the token whole?)"
        return AccessDenied(remote=answer.remote, operation=operation, summary=summary, status=answer.status)
    if said in _DOCUMENTED:
        return Permanent(
            remote=answer.remote, operation=operation, summary=said, status=answer.status, detail=_details(error, said)
        )
    if answer.status == 404 and api_version != "v3":
        summary = f"{error.summary}: is kuma.url right? KUMA 4.x serves only v3 (kuma.api_version)"
        return Permanent(
            remote=answer.remote, operation=operation, summary=summary, status=answer.status, detail=error.detail
        )
    return error


def _details(error: RemoteError, said: str) -> str:
    return "" if error.detail.casefold() == said else error.detail
