"""Closings towards KUMA and the IRPs: those on their way, those that failed, and those of the last day."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from kuma_sync.core.plan import CLOSING_HELD
from kuma_sync.store.jobs import JobState
from kuma_sync.web.console.console import Console
from kuma_sync.web.console.words import N_

PAGE = 50

ACTIONS = {
    "closed_in_kuma": N_("Alert closed in KUMA"),
    "close_refused": N_("KUMA refused the closing"),
    "incident_closed": N_("Incident closed"),
    "alert_closed": N_("Alert was closed in KUMA"),
}
"""What the history says of closings."""

SIDES = {"kuma": N_("To KUMA"), "irp": N_("To the IRP")}


async def closings(request: Request, console: Console) -> Response:
    """Show them."""
    found = await console.store.read(lambda tx: tx.closings.all(limit=PAGE))
    totals = {side: sum(counts.values()) for side, counts in found.counts.items()}
    section = console.behind.settings().close
    values = {
        "found": found,
        "totals": totals,
        "sides": SIDES,
        "actions": ACTIONS,
        "held": CLOSING_HELD,
        "shown": {side: sum(job.towards == side for job in found.waiting) for side in SIDES},
        "parked": sum(counts.get(JobState.PARKED, 0) for counts in found.counts.values()),
        "off": {"kuma": not section.to_kuma, "irp": not section.to_irp},
        "more": len(found.done) == PAGE,
    }
    return console.page(request, "closings.html", N_("Closings"), values=values, refresh=True)
