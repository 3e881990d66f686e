"""The alerts: searched by a form whose filters stand in the address, sorted, page by page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from kuma_sync.core.sentence import N_
from kuma_sync.store.read_models.overview import AlertState
from kuma_sync.store.read_models.search import COUNTED, PRIORITIES, Asked, Filter, Sort
from kuma_sync.web.console.console import Console

PAGE = 50
LONGEST_TEXT = 200

SORTS = {
    Sort.LAST_SEEN: N_("last seen"),
    Sort.FIRST_SEEN: N_("first seen"),
    Sort.NAME: N_("name"),
    Sort.PRIORITY: N_("priority"),
    Sort.STATE: N_("state"),
}

TIMES = {
    "1h": (timedelta(hours=1), N_("the last hour")),
    "8h": (timedelta(hours=8), N_("the last 8 hours")),
    "24h": (timedelta(hours=24), N_("the last 24 hours")),
    "7d": (timedelta(days=7), N_("the last 7 days")),
    "30d": (timedelta(days=30), N_("the last 30 days")),
}

FIELDS = ("q", "state", "target", "tenant", "priority", "seen", "sort", "order")
"""The filter's parameters in an address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The filter as the address has it, every value one that we know, and the page that is asked for."""

    fields: Mapping[str, str]
    asked: Asked

    @property
    def chooses(self) -> bool:
        """Tell whether it leaves out others than those seen before some time."""
        return bool(self.fields.keys() - {"seen", "sort", "order"})

    def address(self, **more: str | None) -> str:
        """Return the address of this filter, with other values for some of its parameters."""
        chosen = {name: value for name, value in {**self.fields, **more}.items() if value}
        return "/alerts" + (f"?{urlencode(chosen)}" if chosen else "")


async def alerts(request: Request, console: Console) -> Response:
    """Show a page of them."""
    targets = list(console.behind.settings().named)
    wanted = read(request.query_params, targets, now=console.behind.clock())
    try:
        page = await console.read(lambda tx: tx.search.page(wanted.asked))
    except ValueError:  # a position that somebody wrote by hand
        return RedirectResponse(wanted.address(), 303)
    values = {
        "page": page,
        "wanted": wanted,
        "fields": {name: wanted.fields.get(name, "") for name in FIELDS},
        "targets": targets,
        "states": [state.value for state in AlertState],
        "priorities": PRIORITIES,
        "times": {name: words for name, (_length, words) in TIMES.items()},
        "sorts": SORTS,
        "counted": COUNTED,
        "older": wanted.address(after=page.next) if page.next else "",
        "newer": wanted.address(before=page.previous) if page.previous else "",
    }
    first = not (wanted.asked.after or wanted.asked.before)
    return console.page(request, "alerts.html", N_("Alerts"), values=values, refresh=first)


def read(query: QueryParams, targets: list[str], *, now: datetime) -> Wanted:
    """Read a filter from an address; a value that we do not know counts as none."""
    known = {
        "state": [state.value for state in AlertState],
        "target": targets,
        "priority": PRIORITIES,
        "seen": TIMES,
        "sort": [sort.value for sort in Sort],
        "order": ["up"],
    }
    fields = {name: query.get(name, "").strip()[:LONGEST_TEXT] for name in FIELDS}
    fields = {name: text for name, text in fields.items() if text and (name not in known or text in known[name])}
    seen = fields.get("seen")
    return Wanted(
        fields=fields,
        asked=Asked(
            filter=Filter(
                text=fields.get("q", ""),
                state=AlertState(fields["state"]) if "state" in fields else None,
                target=fields.get("target"),
                tenant=fields.get("tenant", ""),
                priority=fields.get("priority", ""),
                since=None if seen is None else now - TIMES[seen][0],
            ),
            sort=Sort(fields.get("sort", Sort.LAST_SEEN)),
            descending="order" not in fields,
            after=query.get("after", ""),
            before=query.get("before", ""),
            limit=PAGE,
        ),
    )
