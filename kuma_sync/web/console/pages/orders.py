"""The orders: first a page that names what will happen and to how many, then, by its button, the deed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from kuma_sync.core.closing import Reason, parse_reason
from kuma_sync.core.sentence import N_, Cause, Sentence, sentence
from kuma_sync.settings import types
from kuma_sync.telemetry.health import PartState, State, split_part
from kuma_sync.web.console.access import NotDone, next_of
from kuma_sync.web.console.console import Console
from kuma_sync.web.console.orders import (
    Changed,
    Choice,
    Close,
    Drop,
    Forecast,
    NothingDone,
    Order,
    Pause,
    Release,
    Resume,
    Resync,
    Retry,
    Signed,
)
from kuma_sync.web.console.pages.waiting import target_named

NOTHING = N_("Nothing was done")
LONGEST_COMMENT = 4000

PAUSES = {
    "15m": timedelta(minutes=15),
    "30m": timedelta(minutes=30),
    "1h": timedelta(hours=1),
    "2h": timedelta(hours=2),
    "4h": timedelta(hours=4),
    "8h": timedelta(hours=8),
    "24h": timedelta(hours=24),
}
"""How long a part may be paused; any other length by the command."""

REASONS = {
    Reason.RESPONDED: N_("responded"),
    Reason.INCORRECT_DATA: N_("incorrect data"),
    Reason.INCORRECT_RULE: N_("incorrect correlation rule"),
}

BACK = {
    "/alerts/": N_("Back to the alert"),
    "/alerts": N_("Back to the alerts"),
    "/waiting": N_("Back to what is parked and held"),
    "/closings": N_("Back to the closings"),
}
"""Where the button after an order leads, by how its address begins; elsewhere to the overview."""

Get = Callable[[str], Sequence[str]]
"""Returns all values of a parameter or field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One kind of order: its title and its button (msgids), and how it is read from an address or a form."""

    title: str
    button: str
    read: Callable[[Get, Console], Order]
    grave: bool = False
    """Whether it cannot be undone."""
    keeps: Sequence[str] = ("alert", "group", "all")
    """The parameters that the form carries on."""


async def orders(request: Request, console: Console) -> Response:
    """Ask before an order, or carry it out."""
    verb = VERBS.get(request.path_params["verb"])
    if verb is None:
        raise HTTPException(404)
    if request.method != "POST":
        return await _asked(request, console, verb, request.query_params.getlist)
    form = await console.received(request)
    signed = Signed(
        order=verb.read(form.all, console),
        by=form.by,
        token=form.digest,
        until=form.until,
        agreed=form.get("agreed"),
    )
    try:
        said = await console.actions.carry_out(signed)
    except NothingDone as nothing:
        raise NotDone(409, NOTHING, nothing.says) from None
    except Changed:
        return await _asked(request, console, verb, form.all, changed=True)
    back = next_of(_first(form.all, "back"))
    return console.page(request, "ordered.html", verb.title, values={**_after(signed.order, back), "said": said})


def _after(order: Order, back: str) -> dict[str, str]:
    """Return where a page leads once an order was given: back to where it was ordered, and to the alert."""
    path = back.partition("?")[0]
    words = next((words for start, words in BACK.items() if path.startswith(start)), N_("Back to the overview"))
    choice = getattr(order, "choice", None)
    one = order.alert_id if isinstance(order, Close) else choice.ids[0] if choice and len(choice.ids) == 1 else ""
    return {"back": back, "back_to": words, "about": one}


async def _asked(request: Request, console: Console, verb: Verb, get: Get, *, changed: bool = False) -> Response:
    order = verb.read(get, console)
    try:
        forecast = await console.actions.foresee(order)
    except NothingDone as nothing:
        raise NotDone(409, NOTHING, nothing.says) from None
    values = {
        "verb": verb,
        "order": order,
        "kind": type(order).__name__.lower(),
        "grave": verb.grave or (isinstance(order, Resync) and order.choice.everything),
        "forecast": forecast,
        "changed": changed,
        "away": away(console.behind.health.ready().parts) if isinstance(order, Retry | Release | Resync) else [],
        "action": request.url.path,
        "fields": _fields(verb, get, forecast),
        "back": next_of(_first(get, "back")),
        "reasons": REASONS,
        "pauses": PAUSES,
    }
    return console.page(request, "order.html", verb.title, values=values, status=409 if changed else 200)


def _fields(verb: Verb, get: Get, forecast: Forecast) -> list[tuple[str, str]]:
    kept = [(name, value) for name in verb.keeps for value in get(name)]
    return [*kept, ("agreed", forecast.agreed), ("back", next_of(_first(get, "back")))]


def _first(get: Get, name: str) -> str:
    return next(iter(get(name)), "")


def _choice(get: Get) -> Choice:
    choice = Choice(ids=tuple(get("alert")), group=_first(get, "group"), everything=_first(get, "all") == "1")
    if not (choice.ids or choice.group or choice.everything):
        _refuse(sentence("The address does not say what it is about."))
    return choice


def _resync(get: Get, console: Console) -> Order:
    choice, since = _choice(get), _first(get, "since")
    if not since:
        return Resync(choice=choice)
    try:
        return Resync(choice=choice, since=console.behind.clock() - types.duration(since))
    except (ValueError, OverflowError):
        _refuse(sentence("%(length)s is no length of time, such as 2h.", length=since))


def _close(get: Get, _console: Console) -> Order:
    comment = _first(get, "comment").strip()[:LONGEST_COMMENT]
    return Close(alert_id=_first(get, "alert"), reason=parse_reason(_first(get, "reason")), comment=comment)


def _pause(get: Get, _console: Console) -> Order:
    length = _first(get, "for")
    if length and length not in PAUSES:
        _refuse(sentence("%(length)s is no length of time, such as 2h.", length=length))
    return Pause(part=_first(get, "part"), length=PAUSES.get(length))


def _refuse(why: Sentence) -> NoReturn:
    raise NotDone(400, NOTHING, why)


VERBS: Mapping[str, Verb] = {
    "retry": Verb(title=N_("Try again"), button=N_("Try again"), read=lambda get, _: Retry(choice=_choice(get))),
    "drop": Verb(title=N_("Give up"), button=N_("Give up"), read=lambda get, _: Drop(choice=_choice(get)), grave=True),
    "release": Verb(
        title=N_("Release"), button=N_("Release"), read=lambda get, _: Release(choice=_choice(get)), grave=True
    ),
    "resync": Verb(title=N_("Send anew"), button=N_("Send anew"), read=_resync, keeps=("alert", "all", "since")),
    "close": Verb(title=N_("Close an alert"), button=N_("Close"), read=_close, grave=True, keeps=("alert",)),
    "pause": Verb(title=N_("Pause"), button=N_("Pause"), read=_pause, keeps=("part",)),
    "resume": Verb(
        title=N_("Resume"), button=N_("Resume"), read=lambda get, _: Resume(part=_first(get, "part")), keeps=("part",)
    ),
}


def away(parts: Mapping[str, PartState]) -> list[Sentence]:
    """Say which IRPs are out of reach: what is ordered for them waits."""
    return [
        sentence(
            "%(where)s is out of reach now: %(why)s. What you order waits until it is back.",
            where=target_named(split_part(name)[1]),
            why=Cause(state.reason or state.state.value),
        )
        for name, state in parts.items()
        if split_part(name)[0] == "irp" and state.state in (State.FAILING, State.PAUSED)
    ]
