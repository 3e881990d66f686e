"""`[auth.login]`: the request that opens a session, and what its answer gives.

Must not put anything that was sent or answered into an error: all of it is secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus

import httpx

from kuma_sync.core.errors import AccessDenied, RemoteError, Transient
from kuma_sync.irp.bounds import CutOff, patiently
from kuma_sync.irp.context import LOGIN
from kuma_sync.irp.encoding import outgoing
from kuma_sync.irp.errors import Unrenderable
from kuma_sync.irp.expressions import AnswerTest, Expression, compiled_places, text_of, told
from kuma_sync.irp.profile import Auth, Login, Profile
from kuma_sync.irp.rendering import Draft, Rendering
from kuma_sync.irp.responses import REMOTE
from kuma_sync.transport import Answer, RemoteClient, Session, header_text, refusal
from kuma_sync.transport.auth import UnusableToken

_OPERATION = "login"
_SHORTEST_COOKIE = 8
"""Characters of a cookie that is taken for a secret; a shorter one says `ru` or `light`."""


class LoginRequest:
    """A login, compiled. Raises Unrenderable for templates and expressions that are none."""

    def __init__(self, auth: Auth, login: Login, profile: Profile) -> None:
        self._auth = auth
        self._login = login
        self.rendering = Rendering(LOGIN, login, profile.maps)
        self._ok_when = Expression(login.ok_when, f"{LOGIN}.ok_when")
        self._retry_when = AnswerTest(login.retry_when, f"{LOGIN}.retry_when")
        self._extract = compiled_places(login.extract, f"{LOGIN}.extract")

    async def open(self, client: RemoteClient, values: Mapping[str, object], secrets: Mapping[str, object]) -> Session:
        """Log in. Raise AccessDenied where that is refused, Transient where nobody knows."""
        answer = await client.aside(outgoing(self._draft(values, secrets)), operation=_OPERATION)
        address = f"{self._login.method} {client.endpoint.url}{self._login.path}"
        try:
            return await patiently(lambda: self._read(answer, address))
        except CutOff as cut:
            problem = cut.problem
        raise _refused(problem, answer.status)

    def _read(self, answer: Answer, address: str) -> Session:
        self._judge(answer, address)
        with suppress(UnusableToken):
            return self._cookies(answer) if self._auth.cookie else self._token(answer)
        raise _refused("answered with what no HTTP header can carry", answer.status)

    def _draft(self, values: Mapping[str, object], secrets: Mapping[str, object]) -> Draft:
        try:
            return self.rendering.draft(values, secrets)
        except Unrenderable as error:
            where = error.where
        # What failed may quote a secret.
        raise _refused(f"the template {where} failed")

    def _judge(self, answer: Answer, address: str) -> None:
        if self._retry_when.holds(answer):
            raise Transient(
                remote=REMOTE,
                operation=_OPERATION,
                summary=f"answered {answer.status}, which is to be tried again by retry_when",
                status=answer.status,
                retry_after=answer.retry_after,
            )
        accepted = answer.status in self._login.ok_status
        if not accepted:
            raise _unwelcome(answer, address)
        # The way on to another page is how a form for people is left, and then the cookies tell.
        leads_on = self._auth.cookie and httpx.codes.is_redirect(answer.status)
        if answer.is_page and not leads_on:
            raise _refused("answered with a page for people", answer.status)
        if self._ok_when.given and not self._ok_when.holds(told(answer)):
            raise _refused("refused by ok_when", answer.status)

    def _token(self, answer: Answer) -> Session:
        tree = told(answer)
        token = text_of(self._extract["token"].found(tree, answer))
        if not token:
            raise _refused(f"answered {answer.status} without the token", answer.status)
        prefix = "Bearer " if self._auth.prefix is None else self._auth.prefix
        headers = {self._auth.header or "Authorization": prefix + header_text(token)}
        return Session(headers=headers, secrets=(token,), expires_in=self._lasts(tree, answer))

    def _cookies(self, answer: Answer) -> Session:
        cookies = _set_by(answer)
        if not cookies:
            raise _refused(f"answered {answer.status} without a cookie", answer.status)
        header = "; ".join(f"{name}={value}" for name, value in cookies.items())
        secrets = tuple(value for value in cookies.values() if len(value) >= _SHORTEST_COOKIE)
        lasts = self._lasts(told(answer), answer)
        return Session(headers={"Cookie": header_text(header)}, secrets=secrets, expires_in=lasts)

    def _lasts(self, tree: object, answer: Answer) -> float | None:
        found = self._extract["expires_in"].found(tree, answer)
        try:
            seconds = float(found) if isinstance(found, str | int | float) and found is not True else 0.0
        except (ValueError, OverflowError):
            return None
        return seconds if seconds > 0 else None


def compile_login(profile: Profile) -> LoginRequest | None:
    """Compile the login of a profile, if it has one. Raises Unrenderable."""
    auth = profile.auth
    return LoginRequest(auth, auth.login, profile) if auth.login is not None else None


def _unwelcome(answer: Answer, address: str) -> RemoteError:
    """Return what a status means: whatever is no trouble of the moment is a refusal."""
    error = refusal(answer)
    error.detail = ""
    if isinstance(error, Transient) and not httpx.codes.is_redirect(answer.status):
        return error
    nowhere = answer.status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.GONE)
    hint = f" at {address}: is the profile's path right?" if nowhere else ""
    return _refused(error.summary + hint, answer.status)


def _refused(summary: str, status: int | None = None) -> AccessDenied:
    return AccessDenied(remote=REMOTE, operation=_OPERATION, summary=f"the login {summary}", status=status)


def _set_by(answer: Answer) -> dict[str, str]:
    """Return the cookies that an answer sets; one that it takes back is none."""
    cookies: dict[str, str] = {}
    for line in httpx.Headers(answer.headers).get_list("Set-Cookie"):
        pair, _, attributes = line.partition(";")
        name, _, value = pair.strip().partition("=")
        gone = not value or any(one.strip().lower() in ("max-age=0", "max-age=-1") for one in attributes.split(";"))
        cookies.pop(name, None)
        if name and not gone:
            cookies[name] = value
    return cookies
