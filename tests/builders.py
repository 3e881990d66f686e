"""Values for tests: every test names only what matters to it, the rest is plausible and always the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from kuma_sync.core.alert import Alert, AlertId, JsonObject, Observation, take_contents
from kuma_sync.core.incident import Incident
from kuma_sync.core.link import BeingMade, Link, Linked, State
from kuma_sync.store.link_rows import as_link, as_row

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
ALERT_ID = AlertId("5c0de1a4-0000-4000-8000-000000000001")


def seconds(number: float) -> timedelta:
    """Return a duration; shorter to read in a table."""
    return timedelta(seconds=number)


def an_alert(**fields: Any) -> Alert:
    """Return an alert of KUMA, seen just now; `fields` are those of `Alert`."""
    plausible: dict[str, Any] = {
        "id": ALERT_ID,
        "tenant_id": "7e0a0000-0000-4000-8000-000000000001",
        "tenant_name": "Main",
        "name": "Подбор пароля",
        "rule_id": "a11e0000-0000-4000-8000-000000000001",
        "priority": "high",
        "status": "new",
        "first_seen": NOW - timedelta(minutes=10),
        "last_seen": NOW,
    }
    return Alert(**plausible | fields)


def an_event(**fields: Any) -> dict[str, Any]:
    """Return an event as KUMA sends it; `fields` are KUMA's own names (`ID`, `Timestamp`, …)."""
    plausible = {
        "ID": "e0000000-0000-4000-8000-000000000001",
        "Timestamp": int(NOW.timestamp() * 1000),
        "Type": 1,
        "Name": "Logon failed",
        "SourceAddress": "10.0.0.7",
        "DestinationUserName": "ivanov",
    }
    return plausible | fields


def events(*ids: str) -> list[dict[str, Any]]:
    """Return one event per id, each a second younger than the one before."""
    first = int(NOW.timestamp() * 1000)
    return [an_event(ID=event_id, Timestamp=first + 1000 * position) for position, event_id in enumerate(ids)]


def an_asset(**fields: Any) -> dict[str, Any]:
    """Return an affected asset as KUMA sends it."""
    return {"id": "a55e7000-0000-4000-8000-000000000001", "name": "ws-17", "ipAddresses": ["10.0.0.7"]} | fields


def an_account(**fields: Any) -> dict[str, Any]:
    """Return an affected account as KUMA sends it."""
    return {"displayName": "Иванов", "sAMAccountName": "ivanov", "upn": "ivanov@example.com"} | fields


def seen(
    *,
    events: Iterable[JsonObject] | None = None,
    assets: Sequence[JsonObject] = (),
    accounts: Sequence[JsonObject] = (),
    oversize: bool = False,
    **fields: Any,
) -> Observation:
    """Return an alert as a read showed it: a listing unless contents are named; `fields` are those of `Alert`."""
    listing = events is None and not assets and not accounts
    contents = None if listing else take_contents(events or (), assets=assets, accounts=accounts, max_events=0)
    return Observation(alert=an_alert(**fields), contents=contents, oversize=oversize)


def an_incident(**fields: Any) -> Incident:
    """Return an incident as the IRP names it."""
    plausible = {"id": "1001", "number": "INC-1001", "url": "https://sv.example.com/incidents/1001"}
    return Incident(**plausible | fields)


def a_link(**fields: Any) -> Link:
    """Return a link without an incident, nothing known of it yet; `fields` are what can be read from one.

    Raise ValueError where no link can be all of that.
    """
    return changed(Link(alert_id=ALERT_ID), **fields)


def changed(link: Link, **fields: Any) -> Link:
    """Return a link as this one, but for these fields."""
    row = as_row(link, NOW) | {key: value for key, value in fields.items() if key not in _PARTS}
    row["close_origin"] = fields.get("close_origin", row["close_origin"])
    row["doubt"] = fields.get("doubt", row["doubt"])
    for name, part in _PARTS.items():
        if name in fields:
            row |= part(fields[name])
    made = as_link(SimpleNamespace(**row))
    wrong = [name for name, value in fields.items() if getattr(made, name) != value]
    if wrong:
        raise ValueError(f"no link is all of {fields}: {', '.join(wrong)} cannot be")
    return made


_PARTS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "incident": lambda one: {
        "incident_id": one and one.id,
        "incident_number": one.number if one else "",
        "incident_url": one.url if one else "",
    },
    "sent": lambda sent: {
        "sent_fingerprint": sent.fingerprint,
        "sent_fields": sent.fields,
        "sent_events": sent.events,
        "ownership": _row(Linked(incident=an_incident(), sent=sent))["ownership"],
    },
    "intent": lambda intent: {
        "intent": intent and _row(BeingMade(intent=intent))["intent"],
        "intent_events": intent.sent.events if intent else frozenset(),
    },
}


def _row(state: State) -> dict[str, Any]:
    return as_row(Link(alert_id=ALERT_ID, state=state), NOW)
