"""One alert with its whole history, as `show` and the console tell it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kuma_sync.core.alert import Alert, AlertId
from kuma_sync.core.handout import HandedOut
from kuma_sync.core.incident import Incident
from kuma_sync.core.link import Link, Offered
from kuma_sync.store.audit import AuditEntry
from kuma_sync.store.jobs import Job
from kuma_sync.store.read_models.overview import AlertState
from kuma_sync.store.read_models.waiting import Held
from kuma_sync.store.session import Tx

UNKNOWN = "unknown to KUMA's reads so far"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkView:
    """A link as it is shown: digests are counted, not listed.

    `handed_out` is of an alert for an IRP that polls us; before that took it `events_sent` is 0.
    """

    target: str
    incident: Incident | None
    doubt: str | None
    events_sent: int
    alert_closed: bool
    incident_closed: bool
    close_origin: str | None
    close_reason: str
    close_comment: str
    held_create: bool
    held_close: bool
    ignored: bool
    dropped: bool
    gone: bool
    missed: bool
    left_to_analysts: list[str]
    comments_owed: int
    handed_out: HandedOut | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertView:
    """All facts about one alert; of a parked piece only `parked_because`."""

    id: str
    now: datetime
    state: str
    alert: Alert | None = None
    events_seen: int = 0
    oversize: bool = False
    link: LinkView | None = None
    deliveries: list[Job]
    closes: list[Job]
    parked_because: str = ""
    parked_size: int | None = None
    held: list[Held]
    unrouted: bool
    history: list[AuditEntry]


def story(tx: Tx, name: str) -> AlertView:
    """Tell all that is known of a subject: an alert, a parked piece of KUMA's answer, a closing of an unknown id."""
    alert_id = AlertId(name)
    snapshot = tx.alerts.snapshots([alert_id]).get(alert_id)
    link = tx.links.get(alert_id)
    # Something without a link may be parked, too: a piece of KUMA's answer, or a closing of an unknown id.
    parked = next(iter(tx.waiting.parked(name)), None)
    return AlertView(
        id=name,
        now=tx.now,
        state=tx.overview.state(alert_id) or (AlertState.PARKED if parked else UNKNOWN),
        alert=snapshot.alert if snapshot else None,
        events_seen=len(snapshot.event_ids) if snapshot else 0,
        oversize=snapshot.oversize if snapshot else False,
        link=_view_of(tx, link) if link else None,
        deliveries=tx.delivery.jobs(name),
        closes=tx.closes.jobs(name),
        parked_because=parked.reason if parked else "",
        parked_size=parked.size if parked else None,
        held=tx.waiting.held(name),
        unrouted=bool(tx.waiting.unrouted(name)),
        history=tx.audit.history(name),
    )


def _view_of(tx: Tx, link: Link) -> LinkView:
    out = tx.handouts.handed_out(link.alert_id) if isinstance(link.live, Offered) else None
    flags = ("alert_closed", "incident_closed", "held_create", "held_close", "ignored", "dropped", "gone", "missed")
    return LinkView(
        target=link.target,
        incident=link.incident,
        doubt=link.doubt.value if link.doubt else None,
        events_sent=0 if out is not None and out.first_at is None else len(link.sent.events),
        close_origin=link.close_origin.value if link.close_origin else None,
        close_reason=link.close_reason,
        close_comment=link.close_comment,
        left_to_analysts=sorted(link.sent.theirs),
        comments_owed=len(link.owed),
        handed_out=out,
        **{name: getattr(link, name) for name in flags},
    )
