"""KUMA's own words for a refusal (help 217974, 222250, 222255, 269917), turned into errors that can be shown.

Only texts that KUMA documents go into a summary; any other stays in `detail`.
"""

from __future__ import annotations

from dataclasses import dataclass

from kuma_sync.core.closing import KumaAnswer
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


@dataclass(kw_only=True, eq=False, repr=False)
class KumaRefusal(Permanent):
    """KUMA will not do this; `answer` is how it said so, for whoever asked through us.

    `documented` tells whether it said so in words of its own: else anything on the way may have answered.
    """

    answer: KumaAnswer
    documented: bool = False


def kuma_refusal(answer: Answer, *, api_version: str) -> RemoteError:
    """Translate an answer that is no success; 400 `invalid authorization header` is a refused token, too."""
    error = refusal(answer)
    if not isinstance(error, Permanent):
        return error
    said, summary, detail = answer.message.casefold(), error.summary, error.detail
    if said == _BAD_HEADER:
        return AccessDenied(
            remote=answer.remote,
            operation=answer.operation,
            summary=f"{_BAD_HEADER} (is the token whole?)",
            status=answer.status,
        )
    if said in _DOCUMENTED:
        summary, detail = said, answer.details
    elif answer.status in (404, 405):
        summary += ": is kuma.url right?" + (" KUMA 4.x serves only v3 (kuma.api_version)" * (api_version != "v3"))
    return KumaRefusal(
        remote=answer.remote,
        operation=answer.operation,
        summary=summary,
        status=answer.status,
        detail=detail,
        documented=said in _DOCUMENTED,
        answer=KumaAnswer(status=answer.status, message=answer.message or summary, details=answer.details),
    )
