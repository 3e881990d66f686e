"""How a request proves who sends it: httpx.Auth flows. Each takes its secret at the moment of sending."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from typing import cast

import httpx

from kuma_sync.settings.secret import Secret
from kuma_sync.telemetry.redact import hide


class UnusableToken(Exception):
    """The token holds what no HTTP header can carry."""


class TokenAuth(httpx.Auth):
    """Carries a token in one header, behind `prefix`.

    Where the answer's status is in `refused`, and the token's file holds another one by now, the request is sent once
    more: a write, too, for one that was refused did not happen. Raises UnusableToken.
    """

    def __init__(
        self,
        token: Secret,
        *,
        header: str = "Authorization",
        prefix: str = "Bearer ",
        refused: Collection[int] = (401, 403),
    ) -> None:
        self._token = token
        self._header = header
        self._prefix = prefix
        self._refused = refused

    def headers(self) -> Mapping[str, str]:
        """Return the header as it would be sent now."""
        return {self._header: self._value()}

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send with the token, and once more if another one is in its file by now."""
        request.headers[self._header] = used = self._value()
        answer = yield request
        if answer.status_code in self._refused:
            # Compared with what this request carried: another one may have read the new file meanwhile.
            read_again(self._token)
            if (fresh := self._value()) != used:
                await _leave_unread(answer)
                request.headers[self._header] = fresh
                yield request

    def _value(self) -> str:
        token = self._token.reveal()
        if not (token.isascii() and token.isprintable()):
            # A file with a stray line in it: the side pauses until the file is right, nothing is parked for it.
            raise UnusableToken
        return self._prefix + token


async def _leave_unread(answer: httpx.Response) -> None:
    """Close an answer. httpx would read all of its body before the next request, however large that is."""
    await cast("httpx.AsyncByteStream", answer.stream).aclose()
    answer.stream = httpx.ByteStream(b"")
    answer.headers.pop("Content-Encoding", None)


def read_again(*secrets: Secret) -> bool:
    """Read secrets that come from files again, and keep them out of all logs; tell whether one changed."""
    changed = [secret.reload() for secret in secrets]
    hide(*(secret.reveal() for secret in secrets))
    return any(changed)
