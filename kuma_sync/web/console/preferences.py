"""The choice of language, time zone and colours, kept in cookies."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from kuma_sync.core.sentence import N_
from kuma_sync.web.console.access import next_of
from kuma_sync.web.console.console import Console
from kuma_sync.web.console.sessions import is_secure
from kuma_sync.web.console.words import LANGUAGE, LANGUAGES, THEME, THEMES, ZONE, zones

_YEAR = 365 * 86400


async def show_choices(request: Request, console: Console) -> Response:
    """Show what can be chosen."""
    words = console.words(request)
    themes = dict(zip(THEMES, map(words.text, (N_("As the system"), N_("Light"), N_("Dark"))), strict=True))
    values = {
        "next": next_of(request.query_params.get("next", "/")),
        "languages": LANGUAGES,
        "themes": themes,
        "zones": sorted(zones()),
    }
    return console.page(request, "preferences.html", N_("Language, time zone, colours"), values=values)


async def choose(request: Request, console: Console) -> Response:
    """Keep a choice. It orders nothing, so its form may be sent again."""
    form = await console.received(request)
    response = RedirectResponse(next_of(form.get("next")), 303)
    secure = is_secure(request, console.rules())
    for cookie, field, known in ((LANGUAGE, "language", LANGUAGES), (ZONE, "zone", zones()), (THEME, "theme", THEMES)):
        value = form.get(field)
        if value in known:
            # Quoted by the library where it holds a slash; the script reads the zone's cookie, so it is not HttpOnly.
            response.set_cookie(cookie, value, max_age=_YEAR, path="/", secure=secure, samesite="lax")
    return response
