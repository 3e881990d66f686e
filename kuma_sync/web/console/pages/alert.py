"""One alert: why it is where it is, both sides, its history, and behind a click its events and the requests for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from kuma_sync.core.alert import JsonObject, event_time
from kuma_sync.core.routing import IGNORE, NO_ROUTE
from kuma_sync.core.sentence import N_
from kuma_sync.core.text import cut, printable
from kuma_sync.irp.context import alert_url
from kuma_sync.web.console.console import Console
from kuma_sync.web.console.history import ACTORS, time_line
from kuma_sync.web.console.orders import NothingDone
from kuma_sync.web.console.source import Events
from kuma_sync.web.console.words import Words

MOST_EVENTS = 200
"""Events on the page; the newest of them."""

LONGEST_BODY = 200_000
"""Characters of a request's body that are shown."""

LONGEST_VALUE = 500
"""Characters of one value that are shown in a table."""

_JSON = json.JSONEncoder(ensure_ascii=False, indent=2)

COLUMNS: Mapping[str, Sequence[str]] = {
    N_("Time"): ("Timestamp",),
    N_("Event"): ("Name", "Message", "DeviceEventClassID"),
    N_("Source"): ("SourceHostName", "SourceAddress"),
    N_("Source user"): ("SourceUserName",),
    N_("Destination"): ("DestinationHostName", "DestinationAddress"),
    N_("Destination user"): ("DestinationUserName",),
    N_("Device"): ("DeviceHostName", "DeviceAddress", "DeviceProduct", "DeviceVendor"),
}
"""The columns of the event table (KUMA help 217941); each shows the first of its fields that an event has."""

NEXT = " (the next request)"

NOTES = frozenset(
    {
        N_("before the first request, and after one that was refused with 401"),
        N_("before a create that may have happened already"),
        N_("for an alert without an incident"),
        N_("nothing differs from what was sent: not sent now"),
        N_("when the alert changes; then only the fields that changed"),
        N_("when the alert changes; then all these fields"),
        N_("what differs from what was sent"),
        N_("what differs from what was sent: not sent now"),
        N_("what is beyond 500 events in one request"),
        N_("the words of a closing, before it"),
        N_("not sent: close.to_irp is off"),
        N_("when the alert is closed in KUMA, or by an operator"),
        N_("for `show --live`"),
    }
)
"""When a request is sent, as `render` says it; what else it says, of a profile of one's own, stays in English."""

LOOKS = ("events", "requests", "live")

NO_LOOK: Mapping[str, Any] = {
    "nothing": None,
    "rows": (),
    "columns": (),
    "count": 0,
    "requests": (),
    "live": None,
    "fields": (),
}


async def alert(request: Request, console: Console) -> Response:
    """Show the page."""
    alert_id = request.path_params["alert_id"]
    told = await console.source.told(alert_id)
    if told is None:
        raise HTTPException(404)
    wanted = request.query_params.get("show", "")
    story = told.story
    web_url = console.behind.settings().kuma.web_url
    values: dict[str, Any] = {
        "title": printable(story.alert.name) if story.alert is not None else story.id,
        "told": told,
        "story": story,
        "line": time_line(story),
        "actors": ACTORS,
        "nowhere": (NO_ROUTE, IGNORE),
        "kuma_url": alert_url(web_url, story.alert) if story.alert is not None else "",
        "irp_url": _web(story.link.incident.url) if story.link is not None and story.link.incident is not None else "",
        "wanted": wanted if wanted in LOOKS else "",
        "note_of": lambda note: _note(console.words(request), note),
        "look_at": {**NO_LOOK, **await _looked(console, wanted, alert_id)},
    }
    return console.page(request, "alert.html", N_("Alert"), values=values, refresh=not values["wanted"])


async def _looked(console: Console, wanted: str, alert_id: str) -> dict[str, Any]:
    """Return what was asked for by a click."""
    try:
        match wanted:
            case "events":
                return _events(await console.source.events(alert_id, MOST_EVENTS))
            case "requests":
                requests = await console.source.requests(alert_id)
                return {"requests": [(one, _body(one.body), one.note.endswith(NEXT)) for one in requests]}
            case "live":
                live = await console.source.live(alert_id)
                return {"live": live, "fields": [(one, _value(one.value)) for one in live.fields]}
    except NothingDone as nothing:
        return {"nothing": nothing.says}
    return {}


def _note(words: Words, note: str) -> str:
    said = note.removesuffix(NEXT)
    return words.text(said) if said in NOTES else said


def _events(found: Events) -> dict[str, Any]:
    return {
        "columns": list(COLUMNS),
        "rows": [[_cell(event, names) for names in COLUMNS.values()] for event in found.events],
        "count": found.count,
    }


def _cell(event: JsonObject, names: Sequence[str]) -> Any:
    if names == ("Timestamp",):
        return _moment(event_time(event))
    return next((cut(str(event[name]), LONGEST_VALUE) for name in names if event.get(name)), "")


def _moment(milliseconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
    except (ValueError, OverflowError, OSError):
        return None


def _body(body: Mapping[str, object] | str | None) -> str:
    if body is None:
        return ""
    pieces, length = list[str](), 0
    # Piece by piece: to write all of a large one would take seconds.
    for piece in [body] if isinstance(body, str) else _JSON.iterencode(body):
        pieces.append(piece)
        length += len(piece)
        if length > LONGEST_BODY:
            return "".join(pieces)[:LONGEST_BODY] + " …"
    return "".join(pieces)


def _value(value: object) -> str:
    return cut("" if value is None else str(value), LONGEST_VALUE)


def _web(address: str) -> str:
    """Return an address that may become a link."""
    return address if address.lower().startswith(("https://", "http://")) else ""
