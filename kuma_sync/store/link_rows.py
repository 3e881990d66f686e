"""A link as a row of the table links, and back: rows of every earlier version are read as the states of today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

from kuma_sync.core.alert import CLOSED, AlertId, EventDigest, Fingerprint
from kuma_sync.core.incident import Incident, Origin
from kuma_sync.core.link import (
    BeingMade,
    Closing,
    DeliveredState,
    Doubt,
    Doubted,
    Dropped,
    Ignored,
    InKuma,
    Intent,
    Link,
    Linked,
    Live,
    NotMade,
    Offered,
    Sought,
    State,
    of_anything,
)
from kuma_sync.store.types import same_named

_same_named = same_named(
    "target",
    "not_found_at",
    "alert_closed",
    "incident_closed",
    "close_reason",
    "close_comment",
    "held_create",
    "held_close",
    "ignored",
    "dropped",
    "gone",
    "missed",
    "spent_until",
    "unresolved_at",
)


def as_row(link: Link, now: datetime) -> dict[str, Any]:
    """Return the row of a link that changed now."""
    incident, intent, sent, doubt = link.incident, link.intent, link.sent, link.doubt
    return {
        "alert_id": link.alert_id,
        "incident_id": incident.id if incident else None,
        "incident_number": incident.number if incident else "",
        "incident_url": incident.url if incident else "",
        "sent_fingerprint": sent.fingerprint,
        "sent_fields": dict(sent.fields),
        "sent_events": sent.events,
        "intent": _intent_row(intent) if intent else None,
        "intent_events": intent.sent.events if intent else frozenset[EventDigest](),
        "doubt": doubt.value if doubt else None,
        "offered": _put_out(link),
        "ownership": _ownership_row(sent),
        "owed": list(link.owed) or None,
        "close_commented": link.closing is not None and link.closing.commented,
        "close_origin": link.close_origin.value if link.close_origin else None,
        **_same_named(link),
        "changed_at": now,
    }


def as_link(row: Any) -> Link:
    """Return the link of a row."""
    return Link(
        alert_id=AlertId(row.alert_id),
        target=row.target,
        state=_state(row),
        closing=_closing(row),
        gone=row.gone,
        spent_until=row.spent_until,
        unresolved_at=row.unresolved_at,
        owed=tuple(row.owed or ()),
    )


def _state(row: Any) -> State:
    live = _offered(row) if row.offered else _unmade(row) if row.incident_id is None else _made(row)
    state = _ignored(live, missed=row.missed) if row.ignored else live
    return Dropped(was=state) if row.dropped else state


def _put_out(link: Link) -> str | None:
    live = link.live
    return None if not isinstance(live, Offered) else CLOSED if live.closed else "open"


def _offered(row: Any) -> Offered:
    known = row.incident_id is not None
    return Offered(
        sent=_sent(row),
        incident=Incident(id=row.incident_id, number=row.incident_number, url=row.incident_url) if known else None,
        closed=row.offered == CLOSED,
    )


def _sent(row: Any) -> DeliveredState:
    fingerprint = Fingerprint(row.sent_fingerprint) if row.sent_fingerprint else None
    return _owned(row, DeliveredState(fingerprint=fingerprint, fields=row.sent_fields, events=row.sent_events))


def _owned(row: Any, sent: DeliveredState) -> DeliveredState:
    """Return the content with what is known of whose its fields are."""
    if not row.ownership:
        return sent
    return replace(sent, ours=_sets(row.ownership["ours"]), theirs=frozenset(row.ownership["theirs"]))


def _ownership_row(sent: DeliveredState) -> dict[str, Any] | None:
    return {"ours": _lists(sent.ours), "theirs": sorted(sent.theirs)} if sent.ours or sent.theirs else None


def _lists(sets: Mapping[str, frozenset[str]]) -> dict[str, list[str]]:
    return {name: sorted(values) for name, values in sets.items()}


def _sets(lists: Mapping[str, list[str]]) -> dict[str, frozenset[str]]:
    return {name: frozenset(values) for name, values in lists.items()}


def _ignored(live: Live, *, missed: bool) -> Live | Ignored:
    # An incident that may exist is not ignored, and held goes before ignored.
    match live:
        case NotMade(held=False, carried=carried):
            return Ignored(missed=missed, unknown=bool(carried))
        case Sought(held=False, doubt=Doubt.UNKNOWN | Doubt.RESYNC):
            return Ignored(missed=missed, unknown=True)
        case _:
            return live


def _made(row: Any) -> Live:
    incident = Incident(id=row.incident_id, number=row.incident_number, url=row.incident_url)
    sent = _sent(row)
    match _doubt(row):
        case None if row.intent is None and not row.ignored:
            return Linked(incident=incident, sent=sent)
        case (Doubt.MISSING | Doubt.UNCLOSED | Doubt.UNSHOWN | Doubt.RESYNC) as doubt if row.intent is None:
            return Doubted(incident=incident, doubt=doubt, sent=sent, not_found_at=row.not_found_at)
        case _:
            sent = _owned(row, of_anything(_carried(row)))
            return Doubted(incident=incident, doubt=Doubt.RESYNC, sent=sent, not_found_at=row.not_found_at)


def _unmade(row: Any) -> Live:
    doubt = _doubt(row)
    if row.intent is not None and not row.held_create:
        return BeingMade(
            intent=_intent(row),
            resync=doubt is not Doubt.AMBIGUOUS,
            carried=frozenset(row.sent_fields),
            not_found_at=row.not_found_at,
        )
    sought: Literal[Doubt.UNKNOWN, Doubt.DUPLICATE, Doubt.RESYNC]
    match doubt:
        case None if row.intent is None and not row.incident_closed:
            return NotMade(held=row.held_create, carried=_carried(row))
        case None | Doubt.UNKNOWN if row.intent is None:
            sought = Doubt.UNKNOWN
        case Doubt.RESYNC if row.intent is None:
            sought = Doubt.RESYNC
        case _:
            sought = Doubt.DUPLICATE  # an incident may exist: if `find` does not show it, a human decides
    return Sought(doubt=sought, held=row.held_create, carried=_carried(row), not_found_at=row.not_found_at)


def _doubt(row: Any) -> Doubt | None:
    return Doubt(row.doubt) if row.doubt else None


def _carried(row: Any) -> frozenset[str]:
    return frozenset(row.sent_fields).union(row.intent["fields"] if row.intent else ())


def _closing(row: Any) -> Closing | None:
    incident = row.incident_closed and (row.incident_id is not None or row.offered is not None)
    origin = Origin(row.close_origin) if row.close_origin else None
    if origin is None and (row.alert_closed or incident):
        origin = Origin.KUMA if row.alert_closed else Origin.IRP
    if origin is None:
        return None
    # The brake holds the closing of an incident only after its alert was closed.
    closed = InKuma.HELD if row.held_close else InKuma.CLOSED
    return Closing(
        origin=origin,
        reason=row.close_reason,
        comment=row.close_comment,
        alert=closed if row.alert_closed else InKuma.OPEN,
        incident=incident,
        commented=row.close_commented,
    )


def _intent_row(intent: Intent) -> dict[str, Any]:
    ours = {"ours": _lists(intent.sent.ours)} if intent.sent.ours else {}
    return {
        "fingerprint": intent.sent.fingerprint,
        "fields": dict(intent.sent.fields),
        "at": intent.at.isoformat(),
        "unidentified": intent.unidentified,
    } | ours


def _intent(row: Any) -> Intent:
    return Intent(
        sent=DeliveredState(
            fingerprint=Fingerprint(row.intent["fingerprint"]),
            fields=row.intent["fields"],
            events=row.intent_events,
            ours=_sets(row.intent.get("ours", {})),
        ),
        at=datetime.fromisoformat(row.intent["at"]),
        unidentified=row.intent["unidentified"],
    )
