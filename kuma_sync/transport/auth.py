"""How a request proves who sends it: httpx.Auth flows. Each takes its secret at the moment of sending."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, Collection
from typing import cast
from urllib.parse import quote

import httpx

from kuma_sync.settings.secret import Secret
from kuma_sync.telemetry.redact import hide


class UnusableToken(Exception):
    """The token holds what no HTTP header can carry."""


class SecretAuth(httpx.Auth):
    """Carries what is made of `secrets`.

    Where the answer's status is in `refused`, and a file holds another secret by now, the request is sent once more: a
    write, too, for one that was refused did not happen. Raises UnusableToken.
    """

    def __init__(self, *secrets: Secret, refused: Collection[int] = (401, 403)) -> None:
        self._secrets = secrets
        self._refused = refused

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send with the secrets, and once more if another one is in its file by now."""
        used = self._value()
        self._put(request, used)
        answer = yield request
        if answer.status_code in self._refused:
            # Compared with what this request carried: another one may have read the new file meanwhile.
            read_again(*self._secrets)
            if (fresh := self._value()) != used:
                await leave_unread(answer)
                self._put(request, fresh)
                yield request

    def _value(self) -> str:
        """Return what goes out now."""
        raise NotImplementedError

    def _put(self, request: httpx.Request, value: str) -> None:
        raise NotImplementedError


class TokenAuth(SecretAuth):
    """Carries a token in one header, behind `prefix`."""

    def __init__(
        self,
        token: Secret,
        *,
        header: str = "Authorization",
        prefix: str = "Bearer ",
        refused: Collection[int] = (401, 403),
    ) -> None:
        super().__init__(token, refused=refused)
        self._token = token
        self._header = header
        self._prefix = prefix

    def _value(self) -> str:
        return self._prefix + header_text(self._token.reveal())

    def _put(self, request: httpx.Request, value: str) -> None:
        request.headers[self._header] = value


class QueryAuth(SecretAuth):
    """Carries a token as a parameter of the address."""

    def __init__(self, token: Secret, *, name: str) -> None:
        super().__init__(token)
        self._token = token
        self._name = quote(name, safe="")

    def _value(self) -> str:
        return f"{self._name}={quote(self._token.reveal(), safe='')}"

    def _put(self, request: httpx.Request, value: str) -> None:
        # A redirect, or the try before this one, may have left one there.
        others = [pair for pair in request.url.query.decode().split("&") if pair.partition("=")[0] != self._name]
        request.url = request.url.copy_with(query="&".join([*filter(None, others), value]).encode())


class BasicAuth(SecretAuth):
    """Carries a username and a password, as HTTP's own way is."""

    def __init__(self, username: str, password: Secret) -> None:
        super().__init__(password)
        self._username = username
        self._password = password
        self._hidden = ""

    def _value(self) -> str:
        value = b64encode(f"{self._username}:{self._password.reveal()}".encode()).decode()
        if value != self._hidden:
            hide(value)
            self._hidden = value
        return f"Basic {value}"

    def _put(self, request: httpx.Request, value: str) -> None:
        request.headers["Authorization"] = value


def header_text(secret: str) -> str:
    """Return a secret that a header can carry. Raise UnusableToken."""
    if not (secret.isascii() and secret.isprintable()):
        # A file with a stray line in it: the side pauses until the file is right, nothing is parked for it.
        raise UnusableToken
    return secret


async def leave_unread(answer: httpx.Response) -> None:
    """Close an answer. httpx would read all of its body before the next request, however large that is."""
    await cast("httpx.AsyncByteStream", answer.stream).aclose()
    answer.stream = httpx.ByteStream(b"")
    answer.headers.pop("Content-Encoding", None)


def read_again(*secrets: Secret) -> bool:
    """Read secrets that come from files again, and keep them out of all logs; tell whether one changed."""
    changed = [secret.reload() for secret in secrets]
    hide(*(secret.reveal() for secret in secrets))
    return any(changed)
