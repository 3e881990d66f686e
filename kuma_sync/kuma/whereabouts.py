"""What listens at `kuma.url` where KUMA's alerts are not as asked: a KUMA that serves only v3, or Kaspersky XDR.

Only answers that nothing else gives count; a guess is left to the error that led here.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import urlsplit

import httpx

from kuma_sync.core.errors import Permanent, RemoteError
from kuma_sync.kuma.refusal import KumaRefusal
from kuma_sync.kuma.whoami import read_whoami
from kuma_sync.transport import Answer, Outgoing, RemoteClient

ONLY_V3 = 'it serves only v3, as KUMA 4.x does: set kuma.api_version = "v3"'
XDR = (
    "this is Kaspersky XDR (OSMP), whose alerts are another API: kuma-sync reads KUMA's own REST API, "
    "by default at port 7223 of KUMA's Core"
)
REMEMBERED = 60.0
"""Seconds for which an answer counts: a poll that fails again need not ask again."""

_PUZZLING = frozenset(
    {None, HTTPStatus.OK, HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}
)
_KUMAS_WORDS = frozenset({"access denied", "invalid authorization header"})


class Whereabouts:
    """Explains refusals that a wrong version or another product may be the reason of."""

    def __init__(self, client: RemoteClient, auth: httpx.Auth, *, version: str) -> None:
        self._client = client
        self._auth = auth
        self._version = version
        self._known = ""
        self._asked_at = float("-inf")

    async def explained(self, error: RemoteError) -> RemoteError:
        """Return the error with what is there instead, where that can be told."""
        documented = isinstance(error, KumaRefusal) and error.documented
        if not isinstance(error, Permanent) or documented or error.status not in _PUZZLING:
            return error
        now = asyncio.get_running_loop().time()
        if now - self._asked_at > REMEMBERED:
            self._known, self._asked_at = await self._look(), now
        if not self._known:
            return error
        told = f"answered {error.status}: {self._known}" if error.status is not None else self._known
        return replace(error, summary=told)

    async def _look(self) -> str:
        try:
            if self._version != "v3" and _speaks_kuma(await self._ask("/api/v3/users/whoami")):
                return ONLY_V3
            under = "" if urlsplit(self._client.endpoint.url).path.rstrip("/").endswith("/xdr") else "/xdr"
            return XDR if _speaks_xdr(await self._ask(f"{under}/api/v1/alerts")) else ""
        except RemoteError:
            return ""

    async def _ask(self, path: str) -> Answer:
        request = Outgoing(method="GET", path=path)
        return await self._client.send(request, operation="read", changes=False, auth=self._auth)


def _speaks_kuma(answer: Answer) -> bool:
    """Tell whether this is KUMA's answer to `users/whoami` (KUMA help 269936, 217974)."""
    if answer.status == HTTPStatus.OK:
        user = None if answer.is_page else read_whoami(answer.json())
        return user is not None and bool(user.login)
    return answer.message.casefold() in _KUMAS_WORDS


def _speaks_xdr(answer: Answer) -> bool:
    """Tell whether this is XDR's answer to its list of alerts: an object with `Total`, or the wish for `tenantID`.

    Source: XDR help 269296, 250604.
    """
    if answer.status == HTTPStatus.OK:
        found = None if answer.is_page else answer.json()
        return isinstance(found, dict) and "total" in {str(key).casefold() for key in found}
    asks = answer.status == HTTPStatus.BAD_REQUEST
    return asks and "tenantid" in f"{answer.message} {answer.details}".casefold()
