"""A session that a login opens: an httpx.Auth flow that logs in when there is none, and once more after a 401."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

import httpx

from kuma_sync.core.errors import AccessDenied, RemoteError
from kuma_sync.telemetry.redact import forget, hide
from kuma_sync.transport.auth import leave_unread

DEADLINE = "deadline"
"""The extension of a request that holds its `asyncio.Timeout`: it stands still while somebody logs in."""

_REMEMBERED = 8
"""Sessions whose secrets stay masked: an answer may still repeat one that is over."""

_REFUSED_FOR = 1.0
"""Seconds for which a refused login is not tried again: the probe follows it at once, and accounts get locked."""

_EARLY, _EARLIEST = 0.1, 30.0
"""A session is renewed after nine tenths of its time, at most 30 seconds before its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a login gave: headers for every request, the secrets in them, and how many seconds it lasts, if told."""

    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    expires_in: float | None = None


class LoginAuth(httpx.Auth):
    """Carries the session that `login` opens; one login serves all requests that wait for it.

    A request that is refused with 401 is sent once more with another session, which is opened unless somebody did so
    meanwhile. `login` raises RemoteError, and so does the request then: nothing of it was done.

    `works` and `in_doubt` are told what an answer says of the session, for it may be told otherwise than by 401.
    """

    def __init__(self, login: Callable[[], Awaitable[Session]]) -> None:
        self._login = login
        self._lock = asyncio.Lock()
        self._session: Session | None = None
        self._renew_at = float("inf")
        self._worked = False
        self._tries = 0
        self._failed: RemoteError | None = None
        self._failed_at = float("-inf")
        self._known: deque[Session] = deque()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send with the session, and once more with a new one if that is refused."""
        opened = self._tries
        session = await self._in_time(request, None)
        # Whoever was refused with a session of its own making would be refused again.
        fresh = self._tries != opened
        request.headers.update(session.headers)
        answer = yield request
        if answer.status_code == httpx.codes.UNAUTHORIZED and not fresh:
            await leave_unread(answer)
            session = await self._in_time(request, session)
            request.headers.update(session.headers)
            yield request

    def works(self) -> None:
        """Note that a request was accepted."""
        self._worked = True

    def in_doubt(self) -> None:
        """Let the next request open another session, for this one may be over; one that never worked is not."""
        if self._worked:
            self._renew_at = float("-inf")

    async def _in_time(self, request: httpx.Request, refused: Session | None) -> Session:
        """Return a session that was not refused; the login has its own time, not that of the request."""
        now = _clock()
        if refused is None and self._session is not None and now < self._renew_at:
            return self._session
        limit = request.extensions.get(DEADLINE)
        until = limit.when() if isinstance(limit, asyncio.Timeout) else None
        if not isinstance(limit, asyncio.Timeout) or until is None:
            return await self._other_than(refused)
        limit.reschedule(None)
        try:
            return await self._other_than(refused)
        finally:
            limit.reschedule(until + _clock() - now)

    async def _other_than(self, refused: Session | None) -> Session:
        tries = self._tries
        async with self._lock:
            valid = self._session is not None and _clock() < self._renew_at
            if self._session is not None and valid and self._session is not refused:
                return self._session
            if self._failed is not None and (self._tries != tries or self._just_refused):
                raise replace(self._failed)
            self._tries += 1
            self._failed = None
            try:
                opened = await self._login()
            except RemoteError as error:
                self._session, self._failed, self._failed_at = None, error, _clock()
                raise
            self._take(opened)
            return opened

    @property
    def _just_refused(self) -> bool:
        return isinstance(self._failed, AccessDenied) and _clock() - self._failed_at < _REFUSED_FOR

    def _take(self, opened: Session) -> None:
        self._session, self._failed, self._worked = opened, None, False
        lasts = opened.expires_in
        self._renew_at = float("inf") if lasts is None else _clock() + lasts - min(lasts * _EARLY, _EARLIEST)
        hide(*opened.secrets)
        self._known.append(opened)
        if len(self._known) > _REMEMBERED:
            forget(*self._known.popleft().secrets)


def _clock() -> float:
    return asyncio.get_running_loop().time()
