"""The page Alerts."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from kuma_sync.web.console.console import Console
from kuma_sync.web.console.words import N_


async def alerts(request: Request, console: Console) -> Response:
    """Show the page."""
    return console.page(request, "empty.html", N_("Alerts"))
