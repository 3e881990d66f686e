"""One alert with its whole history, as `show` and the console tell it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kuma_sync.core.alert import Alert, AlertId
from kuma_sync.core.incident import Incident
from kuma_sync.core.link import Link
from kuma_sync.store.audit import AuditEntry
from kuma_sync.store.jobs import Job
from kuma_sync.store.read_models.overview import AlertState
from kuma_sync.store.read_models.waiting import Held
from kuma_sync.store.session import Tx

UNKNOWN = "unknown to KUMA's reads so far"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkView:
    """A link as it is shown: digests are counted, not listed."""

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
        link=view_of(link) if link else None,
        deliveries=tx.delivery.jobs(name),
        closes=tx.closes.jobs(name),
        parked_because=parked.reason if parked else "",
        parked_size=parked.size if parked else None,
        held=tx.waiting.held(name),
        unrouted=bool(tx.waiting.unrouted(name)),
        history=tx.audit.history(name),
    )


def view_of(link: Link) -> LinkView:
    """Return a link as it is shown."""
    flags = ("alert_closed", "incident_closed", "held_create", "held_close", "ignored", "dropped", "gone", "missed")
    return LinkView(
        target=link.target,
        incident=link.incident,
        doubt=link.doubt.value if link.doubt else None,
        events_sent=len(link.sent.events),
        close_origin=link.close_origin.value if link.close_origin else None,
        close_reason=link.close_reason,
        close_comment=link.close_comment,
        left_to_analysts=sorted(link.sent.theirs),
        comments_owed=len(link.owed),
        **{name: getattr(link, name) for name in flags},
    )
