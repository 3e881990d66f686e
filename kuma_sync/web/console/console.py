"""What every page of the console has: who looks, words in their language, forms, and the store's read models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from kuma_sync.settings import Settings
from kuma_sync.settings.console import ConsoleSection
from kuma_sync.store import Store, Tx
from kuma_sync.telemetry.health import Health
from kuma_sync.web.console.access import ConsoleLimits, NotDone, viewer_of
from kuma_sync.web.console.forms import TOKEN, Form, Forms
from kuma_sync.web.console.orders import ConsoleActions
from kuma_sync.web.console.rendering import nonce_of, rendered
from kuma_sync.web.console.sessions import PROXY, Sessions
from kuma_sync.web.console.source import ConsoleSource
from kuma_sync.web.console.words import Words, preferences_of, shown

T = TypeVar("T")

REFRESHED_EVERY = 10
"""Seconds after which a page that asks for it is fetched again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuItem:
    """A page in the navigation; `title` is a msgid."""

    path: str
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What stands behind the console. `settings` and `ready` are called at every request."""

    settings: Callable[[], Settings]
    ready: Callable[[], bool]
    store: Store
    health: Health
    source: ConsoleSource
    actions: ConsoleActions
    clock: Callable[[], datetime]
    limits: ConsoleLimits = field(default_factory=ConsoleLimits)


class Console:
    """Makes pages, for whoever looks at them."""

    def __init__(self, behind: Behind, menu: Sequence[MenuItem]) -> None:
        self.behind = behind
        self._menu = menu
        self.sessions = Sessions(behind.store, rules=self.rules, clock=behind.clock)
        self.forms = Forms(self.sessions, rules=self.rules, clock=behind.clock, limits=behind.limits)

    @property
    def source(self) -> ConsoleSource:
        """Return what else can be shown."""
        return self.behind.source

    @property
    def actions(self) -> ConsoleActions:
        """Return what can be ordered."""
        return self.behind.actions

    async def read(self, look: Callable[[Tx], T]) -> T:
        """Read from the store: `await console.read(lambda tx: …)`. Whatever it takes, work goes on meanwhile."""
        return await self.behind.store.read(look, long=True)

    def rules(self) -> ConsoleSection:
        """Return who may sign in, and how, as the configuration says now."""
        return self.behind.settings().web.console

    def words(self, request: Request) -> Words:
        """Return what writes for whoever looks at a page."""
        return Words(preferences_of(request), self.behind.clock())

    def page(
        self,
        request: Request,
        template: str,
        title: str,
        *,
        values: Mapping[str, Any] | None = None,
        status: int = 200,
        refresh: bool = False,
    ) -> Response:
        """Render a page. `title` is a msgid; with `refresh` the page is fetched again in place every 10 seconds.

        Besides `values` a template has `viewer`, `orders` (may this viewer order?), `csrf(path)` (the hidden field of a
        form sent there), `when`, `ago`, `span`, `lasting`, `number`, `sentence`, `state`, `shown`, `nonce`, and `_`,
        `ngettext`.

        Only texts that stand in the template itself go through `_`, which takes them for HTML: others are `translated`.
        """
        words, viewer = self.words(request), viewer_of(request)
        shared = {
            **self._frame(request, words),
            "title": words.text(title),
            "refresh": REFRESHED_EVERY if refresh else 0,
            "viewer": viewer,
            "orders": viewer is not None and viewer.orders,
            "csrf": lambda path: self._hidden(request, path),
        }
        text = rendered(words.preferences.language, template, {**shared, **(values or {})})
        return HTMLResponse(text, status_code=status)

    async def received(self, request: Request) -> Form:
        """Read a form that orders something; raise NotDone where it may not be obeyed."""
        return await self.forms.received(request)

    def turned_away(self, request: Request, reason: NotDone) -> Response:
        """Say in words why something was not shown or not done."""
        values = {"why": reason.why, "sign_in": reason.sign_in}
        response = self.page(request, "refused.html", reason.title, values=values, status=reason.status)
        if reason.retry_after is not None:
            response.headers["Retry-After"] = str(int(reason.retry_after) + 1)
        return response

    def _hidden(self, request: Request, path: str) -> Markup:
        token = self.forms.token(viewer_of(request), path)
        return Markup('<input type="hidden" name="{}" value="{}">').format(TOKEN, token)

    def _frame(self, request: Request, words: Words) -> dict[str, Any]:
        """Return what the frame around every page needs, and what writes in the viewer's words."""
        viewer = viewer_of(request)
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return {
            "menu": self._menu if viewer is not None else (),
            "here": request.url.path,
            "address": "/" if viewer is None or request.method != "GET" else asked,
            "leaves": viewer is not None and not viewer.key.startswith(f"{PROXY}:"),
            "preferences": words.preferences,
            "nonce": nonce_of(request),
            "when": words.when,
            "at": words.at,
            "ago": words.ago,
            "span": words.span,
            "lasting": words.lasting,
            "exactly": words.exactly,
            "hour": words.hour,
            "number": words.number,
            "sentence": words.sentence,
            "reason": words.reason,
            "refusal": words.refusal,
            "state": words.state,
            "shown": shown,
            "translated": words.text,
        }
