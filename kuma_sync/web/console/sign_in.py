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

from kuma_sync.core.sentence import N_, Sentence, sentence
from kuma_sync.settings.console import ConsoleSection
from kuma_sync.store import Tx
from kuma_sync.web.console.access import SIGN_IN, ConsoleLimits, NotDone, next_of, viewer_of
from kuma_sync.web.console.console import Console
from kuma_sync.web.console.lockouts import Lockouts
from kuma_sync.web.console.passwords import verified
from kuma_sync.web.console.sessions import LOCAL, Known
from kuma_sync.web.throttle import peer_of

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
        self._limits = limits
        self._lockouts = Lockouts(limits.remembered, monotonic=monotonic)
        self._one = asyncio.Semaphore(1)
        self._waiting = 0

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
        async with self._turn(key):
            await self._count(request, console, key)
            right = await _is_right(rules, name, form.get("password"))
        if not right:
            user = name if name in rules.users else "unknown"
            log.info("sign_in_refused", address=peer_of(request), user=user, reason="the name or the password is wrong")
            why = sentence("The name or the password is wrong.")
            return self.page(request, console, wanted, name=name, why=why, status=403)
        response = RedirectResponse(wanted, 303)

        def known(tx: Tx) -> None:
            form.spend(tx)
            tx.console.forget_tries(key)

        await console.sessions.begin(request, response, Known(name=name, source=LOCAL), known)
        log.info("signed_in", user=name, address=peer_of(request))
        return response

    async def leave(self, request: Request, console: Console) -> Response:
        """Sign somebody out."""
        form, viewer = await console.forms.received(request), viewer_of(request)
        response = RedirectResponse(SIGN_IN, 303)
        if viewer is not None:
            await console.sessions.end(request, response, viewer, form.spend)
        return response

    async def _count(self, request: Request, console: Console, key: bytes) -> None:
        """Count a try, before it is judged: many may come at once, and to several copies."""
        most, within = self._limits.wrong, self._limits.wrong_within
        wait = await console.behind.store.write(lambda tx: tx.console.tried(key, most=most, within=within))
        if wait is not None:
            log.warning("sign_in_throttled", address=peer_of(request))
            self._lockouts.stop(key, wait.total_seconds())
            self._refuse_too_many(key)

    def _refuse_too_many(self, key: bytes) -> None:
        if seconds := self._lockouts.wait(key):
            why = sentence("Too many wrong passwords. Wait %(seconds)s s, then try again.", seconds=int(seconds) + 1)
            raise NotDone(429, N_("Not signed in"), why, retry_after=seconds)

    @asynccontextmanager
    async def _turn(self, key: bytes) -> AsyncIterator[None]:
        """Wait for a turn: one password is counted and judged at a time. Raise NotDone for whoever must wait longer."""
        self._refuse_too_many(key)
        if self._waiting >= self._limits.passwords_waiting:
            why = sentence("Many people sign in at this moment. Try again in a few seconds.")
            raise NotDone(503, N_("Not signed in"), why, retry_after=2)
        self._waiting += 1
        try:
            async with self._one:
                self._refuse_too_many(key)
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


async def _is_right(rules: ConsoleSection, name: str, password: str) -> bool:
    """Judge a password in a thread: it takes 20 MB and a processor for a moment."""
    secret, like = rules.users.get(name), next(iter(rules.users.values()), None)
    known = None if secret is None else secret.reveal()
    return await asyncio.to_thread(verified, known, password[:_LONGEST_PASSWORD], like=like.reveal() if like else "")
