"""Closings towards KUMA and the IRPs: those on their way, those that failed, and those of the last day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response

from kuma_sync.core.plan import CLOSING_HELD
from kuma_sync.core.sentence import N_, Cause, Sentence, Value, sentence
from kuma_sync.store.jobs import JobState
from kuma_sync.store.read_models.closings import OURS, ClosingDone
from kuma_sync.telemetry.health import PartState, State, split_part
from kuma_sync.web.console.console import Console
from kuma_sync.web.console.history import ACTORS
from kuma_sync.web.console.pages.waiting import target_named

PAGE = 50

ACTIONS = {
    "closed_in_kuma": N_("Alert closed in KUMA"),
    "close_refused": N_("KUMA refused the closing"),
    "incident_closed": N_("Incident closed"),
    "alert_closed": N_("Alert was closed in KUMA"),
}
"""What the history says of closings."""

FROM_KUMA, FROM_IRP, TO_KUMA, TO_IRP = N_("From KUMA"), N_("From the IRP"), N_("To KUMA"), N_("To the IRP")

SIDES = {"kuma": TO_KUMA, "irp": TO_IRP}


async def closings(request: Request, console: Console) -> Response:
    """Show them."""
    found = await console.read(lambda tx: tx.closings.all(limit=PAGE))
    totals = {side: sum(counts.values()) for side, counts in found.counts.items()}
    section = console.behind.settings().close
    values = {
        "standing": await console.source.overall() if found.waiting else None,
        "now": console.behind.clock(),
        "found": found,
        "totals": totals,
        "sides": SIDES,
        "actions": ACTIONS,
        "held": CLOSING_HELD,
        "shown": {side: sum(job.towards == side for job in found.waiting) for side in SIDES},
        "parked": sum(counts.get(JobState.PARKED, 0) for counts in found.counts.values()),
        "off": {"kuma": not section.to_kuma, "irp": not section.to_irp},
        "more": len(found.done) == PAGE,
        "direction": direction,
        "actors": ACTORS,
        "unknown": unknown(console.behind.health.ready().parts),
    }
    return console.page(request, "closings.html", N_("Closings"), values=values, refresh=True)


def direction(one: ClosingDone) -> str:
    """Return which way a closing went (a msgid)."""
    match one.action:
        case "alert_closed":
            return FROM_KUMA
        case "incident_closed":
            return TO_IRP if one.actor == OURS else FROM_IRP
        case _:
            return TO_KUMA


def unknown(parts: Mapping[str, PartState]) -> list[Sentence]:
    """Say of which sides the newest closings are not known, for they cannot be asked now."""
    found = []
    for name, state in parts.items():
        side, target = split_part(name)
        if side not in ("kuma", "irp") or state.state not in (State.FAILING, State.PAUSED):
            continue
        where = sentence("KUMA") if side == "kuma" else target_named(target)
        values: dict[str, Value] = {"where": where, "why": _why(state)}
        if state.age_seconds is None:
            found.append(sentence("What was closed in %(where)s is not known: %(why)s", **values))
        else:
            away = timedelta(seconds=state.age_seconds)
            found.append(
                sentence("What was closed in %(where)s is not known for %(away)s: %(why)s", **values, away=away)
            )
    return found


def _why(state: PartState) -> Value:
    return sentence("an operator paused it") if state.maintenance else Cause(state.reason or state.state.value)
