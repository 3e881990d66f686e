"""Alerts that KUMA closed: their links are marked, their incidents queued to be closed, or held by the brake."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

import structlog

from kuma_sync.core import transitions
from kuma_sync.core.alert import AlertId
from kuma_sync.core.incident import Origin
from kuma_sync.core.plan import Brake, Plan, check
from kuma_sync.store import Lane, Put, Tx
from kuma_sync.store.locks import lock

log = structlog.get_logger(__name__)


def note_closings(
    tx: Tx, closings: Mapping[AlertId, str], *, brake: Brake, open_before: int | None, to_irp: Collection[str]
) -> None:
    """Mark the links of a round's closed alerts (with KUMA's reason) and queue the closing of their incidents.

    `to_irp` names the targets whose incidents are closed because of it. The brake measures by their links that were not
    closed when the round began: `open_before`, or as many as there are now where the round has changed nothing.
    """
    if not closings:
        return
    open_links = tx.links.open_count(to_irp) if open_before is None else open_before
    links = lock(tx, links=closings).links
    ours = [alert_id for alert_id in closings if alert_id in links and not links[alert_id].incident_closed]
    followed = [alert_id for alert_id in ours if links[alert_id].target in to_irp]
    plan = check(Plan(closings=followed), brake, open_links=open_links)
    if plan.held_closings:
        log.error("brake_holds_closings", towards="irp", held=len(plan.held_closings), open=open_links)
    for alert_id, reason in closings.items():
        held = alert_id in plan.held_closings
        become = partial(transitions.alert_closed, origin=Origin.KUMA, reason=reason, held=held)
        tx.links.change(alert_id, become, now=tx.now)
        tx.audit.note("kuma", "alert_closed", alert_id, f"{reason}; held by the brake" if held else reason)
    tx.delivery.put([Put(subject=key, lane=Lane.CLOSE, target=links[key].target) for key in ours])
