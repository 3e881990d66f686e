"""The console as one ASGI application: which address is answered by which page, and who may see it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from kuma_sync.core.errors import StoreError, UsedAlready
from kuma_sync.core.sentence import N_, Cause, sentence
from kuma_sync.web.console.access import SIGN_IN, NotDone, Role
from kuma_sync.web.console.console import Behind, Console, MenuItem
from kuma_sync.web.console.forms import used_already
from kuma_sync.web.console.pages.alert import alert
from kuma_sync.web.console.pages.alerts import alerts
from kuma_sync.web.console.pages.closings import closings
from kuma_sync.web.console.pages.configuration import configuration
from kuma_sync.web.console.pages.orders import orders
from kuma_sync.web.console.pages.overview import overview
from kuma_sync.web.console.pages.passes import passes
from kuma_sync.web.console.pages.waiting import group, waiting
from kuma_sync.web.console.preferences import choose, show_choices
from kuma_sync.web.console.provider_sign_in import BACK, THERE, ProviderSignIn
from kuma_sync.web.console.rendering import guarded, static
from kuma_sync.web.console.sign_in import SignIn
from kuma_sync.web.responses import on_http_error

Answer = Callable[[Request, Console], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One address: the function that answers, and the smallest role that may have it.

    `menu` is its title (a msgid) in the navigation; "" for a page that is not in it.
    """

    path: str
    answer: Answer
    menu: str = ""
    role: Role = Role.VIEWER
    methods: Sequence[str] = ("GET",)


PAGES: Sequence[Page] = (
    Page(path="/", answer=overview, menu=N_("Overview")),
    Page(path="/alerts", answer=alerts, menu=N_("Alerts")),
    Page(path="/alerts/{alert_id:path}", answer=alert),
    Page(path="/waiting", answer=waiting, menu=N_("Parked and held")),
    Page(path="/waiting/{key}", answer=group),
    Page(path="/orders/{verb}", answer=orders, role=Role.OPERATOR, methods=("GET", "POST")),
    Page(path="/closings", answer=closings, menu=N_("Closings")),
    Page(path="/passes", answer=passes, menu=N_("Passes")),
    Page(path="/configuration", answer=configuration, menu=N_("Configuration")),
)


def console_app(behind: Behind, pages: Sequence[Page] = PAGES) -> ASGIApp:
    """Build the console. Everything about it that a configuration says is looked up at every request."""
    console = Console(behind, [MenuItem(path=page.path, title=page.menu) for page in pages if page.menu])
    sign_in = SignIn(behind.limits)
    provider = ProviderSignIn(sign_in)
    app = Starlette(
        routes=[
            Route("/static/{name}", static, methods=["GET"]),
            _open(console, SIGN_IN, sign_in.show, "GET"),
            _open(console, SIGN_IN, sign_in.take, "POST"),
            _open(console, THERE, provider.go, "GET"),
            _open(console, BACK, provider.back, "GET"),
            _open(console, "/sign-out", sign_in.leave, "POST"),
            _open(console, "/preferences", show_choices, "GET"),
            _open(console, "/preferences", choose, "POST"),
            *(_closed(console, page) for page in pages),
        ],
        exception_handlers=_handlers(console),
    )
    app.router.redirect_slashes = False
    return guarded(app)


def _open(console: Console, path: str, answer: Answer, method: str) -> Route:
    """Return the route of an address that strangers may have, too."""

    async def answered(request: Request) -> Response:
        await _find_viewer(request, console)
        return await answer(request, console)

    return Route(path, answered, methods=[method])


def _closed(console: Console, page: Page) -> Route:
    """Return the route of a page that only its viewers may have."""

    async def answered(request: Request) -> Response:
        await _find_viewer(request, console)
        viewer = request.state.viewer
        if viewer is None and request.method in ("GET", "HEAD"):
            wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"{SIGN_IN}?next={quote(wanted)}", 303)
        if viewer is None:
            why = sentence("You are no longer signed in.")
            raise NotDone(403, N_("Nothing was done"), why, sign_in=True)
        if page.role is Role.OPERATOR and not viewer.orders:
            why = sentence("You are signed in as a viewer. Viewers look; only operators order something.")
            raise NotDone(403, N_("Nothing was done"), why)
        return await page.answer(request, console)

    return Route(page.path, answered, methods=list(page.methods))


async def _find_viewer(request: Request, console: Console) -> None:
    if not console.behind.ready():
        why = sentence("kuma-sync is starting, or waits for its store. This page works as soon as it is there.")
        raise NotDone(503, N_("Not yet"), why, retry_after=5)
    await console.sessions.ready()
    request.state.viewer = await console.sessions.viewer(request)


def _handlers(console: Console) -> dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]:
    """Return what answers where a page could not be made, in words: a browser never sees a traceback."""

    async def not_done(request: Request, error: Exception) -> Response:
        assert isinstance(error, NotDone)  # noqa: S101  # registered for this type only
        return console.turned_away(request, error)

    async def used(request: Request, _error: Exception) -> Response:
        return console.turned_away(request, used_already())

    async def no_store(request: Request, error: Exception) -> Response:
        why = sentence("The store cannot be used now: %(reason)s.", reason=Cause(str(error)))
        lost = sentence(
            "Nothing is lost: alerts and closings wait until it is back. This page can be opened again then."
        )
        return console.turned_away(request, NotDone(503, N_("The store is out of reach"), why, lost, retry_after=10))

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101  # registered for this type only
        if "text/html" not in request.headers.get("accept", ""):
            return await on_http_error(request, error)
        with suppress(NotDone, StoreError):  # the page has the menu for whoever is signed in
            await _find_viewer(request, console)
        known = {404: (N_("No such page"), sentence("There is nothing at this address."))}
        other = (N_("Nothing was done"), sentence("This address cannot be used in this way."))
        title, why = known.get(error.status_code, other)
        return console.turned_away(request, NotDone(error.status_code, title, why))

    async def bug(request: Request, _error: Exception) -> Response:
        why = sentence("A mistake in kuma-sync kept this page from being made. The log has the details.")
        return console.turned_away(request, NotDone(500, N_("This page could not be made"), why))

    return {NotDone: not_done, UsedAlready: used, StoreError: no_store, HTTPException: http_error, Exception: bug}
