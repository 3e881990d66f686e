"""Sign-in with a name and a password, and sign-out."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from kuma_sync.core.sentence import Sentence, sentence
from kuma_sync.settings.console import ConsoleSection
from kuma_sync.web.console.access import SIGN_IN, ConsoleLimits, NotDone, next_of, viewer_of
from kuma_sync.web.console.console import Console
from kuma_sync.web.console.passwords import verified
from kuma_sync.web.console.sessions import LOCAL, Known
from kuma_sync.web.console.words import N_
from kuma_sync.web.throttle import Throttle, peer_of

log = structlog.get_logger(__name__)

_LONGEST_PASSWORD = 1024


def _wanted(text: str) -> str:
    """Return the page to show after the sign-in, which is never the sign-in page."""
    wanted = next_of(text)
    return "/" if wanted.startswith(SIGN_IN) else wanted


def _key(request: Request, name: str) -> bytes:
    """Return what stands for a user at an address: a stranger chooses the name, and thousands of them are kept."""
    return hashlib.sha256(f"{peer_of(request)} {name}".encode()).digest()


class SignIn:
    """The sign-in page and what it sends."""

    def __init__(self, limits: ConsoleLimits, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._throttle = Throttle(
            most=limits.wrong, within=limits.wrong_within, remembered=limits.remembered, monotonic=monotonic
        )
        self._one = asyncio.Semaphore(1)
        self._waiting = 0
        self._most_waiting = limits.passwords_waiting

    async def show(self, request: Request, console: Console) -> Response:
        """Show the page."""
        wanted = _wanted(request.query_params.get("next", "/"))
        if viewer_of(request) is not None:
            return RedirectResponse(wanted, 303)
        return self.page(request, console, wanted)

    async def take(self, request: Request, console: Console) -> Response:
        """Sign somebody in who gives a name and its password."""
        form = await console.forms.received(request)
        rules, name = console.rules(), form.get("name").strip()
        wanted = _wanted(form.get("next"))
        key = _key(request, name)
        self._refuse_too_many(request, key)
        if not await self._is_right(rules, name, form.get("password")):
            user = name if name in rules.users else "unknown"
            log.info("sign_in_refused", address=peer_of(request), user=user, reason="the name or the password is wrong")
            why = sentence("The name or the password is wrong.")
            return self.page(request, console, wanted, name=name, why=why, status=403)
        self._throttle.right(key)
        response = RedirectResponse(wanted, 303)
        await console.sessions.begin(request, response, Known(name=name, source=LOCAL), form.spend)
        log.info("signed_in", user=name, address=peer_of(request))
        return response

    async def leave(self, request: Request, console: Console) -> Response:
        """Sign somebody out."""
        form, viewer = await console.forms.received(request), viewer_of(request)
        response = RedirectResponse(SIGN_IN, 303)
        if viewer is not None:
            await console.sessions.end(request, response, viewer, form.spend)
        return response

    def _refuse_too_many(self, request: Request, key: bytes) -> None:
        wait = self._throttle.tried(key)
        if wait is None:
            return
        if wait.first:
            log.warning("sign_in_throttled", address=peer_of(request))
        why = sentence("Too many wrong passwords. Wait %(seconds)s s, then try again.", seconds=int(wait.seconds) + 1)
        raise NotDone(429, N_("Not signed in"), why, retry_after=wait.seconds)

    async def _is_right(self, rules: ConsoleSection, name: str, password: str) -> bool:
        """Judge a password in a thread, one at a time: each takes 20 MB and a processor for a moment."""
        secret = rules.users.get(name)
        like = next(iter(rules.users.values()), None)
        async with self._turn():
            known = None if secret is None else secret.reveal()
            return await asyncio.to_thread(
                verified, known, password[:_LONGEST_PASSWORD], like=like.reveal() if like else ""
            )

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._waiting >= self._most_waiting:
            why = sentence("Many people sign in at this moment. Try again in a few seconds.")
            raise NotDone(503, N_("Not signed in"), why, retry_after=2)
        self._waiting += 1
        try:
            async with self._one:
                yield
        finally:
            self._waiting -= 1

    def page(  # what the page may have to say
        self,
        request: Request,
        console: Console,
        wanted: str,
        *,
        name: str = "",
        why: Sentence | None = None,
        status: int = 200,
    ) -> Response:
        """Make the sign-in page; `why` says why somebody is here again."""
        rules = console.rules()
        values: Mapping[str, object] = {
            "next": wanted,
            "name": name,
            "why": why,
            "local": bool(rules.users),
            "provider": bool(rules.oidc.issuer),
            "proxied": bool(rules.user_header),
        }
        return console.page(request, "sign_in.html", N_("Sign in"), status=status, values=values)
