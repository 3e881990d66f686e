"""The page Configuration: what is in force, secrets masked, and where each value comes from."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from itertools import groupby

from starlette.requests import Request
from starlette.responses import Response

from kuma_sync.core.sentence import N_, sentence
from kuma_sync.settings.origins import Key, Source, keys_of
from kuma_sync.web.console.console import Console

SOURCES = {Source.FILE: N_("file"), Source.ENVIRONMENT: N_("environment"), Source.DEFAULT: N_("default")}

RESTART = sentence(
    "kuma-sync can be restarted at any time: work under way is finished first or done after the start, and nothing is "
    "lost. If the file was changed since, `kuma-sync config check` on the server says whether it will be taken."
)


async def configuration(request: Request, console: Console) -> Response:
    """Show the configuration; with `all` also what has its default value."""
    settings, everything = console.behind.settings(), request.query_params.get("all") == "1"
    keys = keys_of(settings)
    shown = [key for key in keys if everything or key.source is not Source.DEFAULT]
    words, readiness = console.words(request), console.behind.health.ready()
    values = {
        "sections": list(_by_section(shown)),
        "sources": {source: words.text(msgid) for source, msgid in SOURCES.items()},
        "everything": everything,
        "left_out": len(keys) - len(shown),
        "file": str(settings.file or ""),
        "warnings": settings.warnings,
        "broken": settings.broken,
        "restart": RESTART,
        "refused": readiness.refused,
        "since": console.behind.clock() - timedelta(seconds=readiness.refused_seconds),
    }
    return console.page(request, "configuration.html", N_("Configuration"), values=values)


def _by_section(keys: Iterable[Key]) -> Iterable[tuple[str, list[Key]]]:
    for section, found in groupby(keys, key=lambda key: key.name.rpartition(".")[0]):
        yield section, list(found)
