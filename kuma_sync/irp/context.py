"""What templates see: the values of every operation, made from the core's types.

A name that is added here is a promise to everyone who writes a profile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from kuma_sync.core.alert import Alert, AlertSnapshot, Contents, JsonObject
from kuma_sync.core.incident import Incident
from kuma_sync.core.moments import rfc3339
from kuma_sync.irp.observables import KEYS, observables

UNKNOWN = "unknown"
"""Beside the values, hidden from templates: the names of values that are empty only because nobody knows them now."""

LOGIN = "auth.login"

SECRETS = "secrets"
"""Known in headers and queries only, and wherever a login needs them; a body could come back in an answer."""

_ALWAYS = frozenset({"options", "now"})
_ALERT = _ALWAYS | {"key", "alert", "events", "events_total", "assets", "accounts", "observables"}
_INCIDENT = _ALERT | {"incident"}

NAMES: Mapping[str, frozenset[str]] = {
    "probe": _ALWAYS,
    "find": _ALWAYS | {"key"},
    "create": _ALERT,
    "update": _INCIDENT,
    "add_events": _INCIDENT,
    "get": _INCIDENT,
    "comment": _INCIDENT | {"reason", "comment"},
    "close": _INCIDENT | {"reason", "comment"},
    "list_closed": _ALWAYS | {"since", "offset", "limit", "page"},
    LOGIN: frozenset({"username", "password", "token", "options", SECRETS}),
}
"""The values each operation's templates may name."""

CURRENT = "current"
"""What `get` read of the incident: known to the operations below where the profile has `get`."""

FOLLOW_GET = frozenset({"update", "add_events", "comment", "close"})
"""The writes before which the incident may be read."""

SHAPES: Mapping[str, frozenset[str]] = {
    "alert": frozenset(
        {"id", "tenant_id", "tenant_name", "name", "rule_id", "priority", "status", "first_seen", "last_seen"}
        | {"assignee", "closing_reason", "overflow", "url", "contents", "raw"}
    ),
    "incident": frozenset({"id", "number", "url"}),
    "observables": frozenset(KEYS),
}
"""The keys of the values that have a fixed set of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a request is about. `events` are those it carries; `contents` is None where they are not at hand."""

    snapshot: AlertSnapshot
    key: str
    contents: Contents | None = None
    events: Sequence[JsonObject] = ()
    incident: Incident | None = None
    reason: str = ""
    comment: str = ""


def values(subject: Subject, *, web_url: str, options: Mapping[str, str], now: datetime) -> dict[str, object]:
    """Return the template values of create, update, add_events and close.

    Times are RFC 3339 UTC text ending in Z, None where unknown. `events_total` is None where it is not known: contents
    never read, or the alert above the size limit.
    """
    snapshot, contents, incident = subject.snapshot, subject.contents, subject.incident
    total = len(snapshot.event_ids) if snapshot.contents_known else None
    return {
        "key": subject.key,
        "alert": _alert(snapshot, web_url) | {"contents": _state(snapshot, contents), "raw": _raw(contents)},
        "events": list(subject.events),
        "events_total": total,
        "assets": list(contents.assets) if contents else [],
        "accounts": list(contents.accounts) if contents else [],
        "observables": observables(contents),
        "incident": {"id": incident.id, "number": incident.number, "url": incident.url} if incident else None,
        "reason": subject.reason,
        "comment": subject.comment,
        "options": dict(options),
        "now": rfc3339(now),
        UNKNOWN: _unknown(contents, total),
    }


def alert_url(web_url: str, alert: Alert) -> str:
    """Return the address of an alert in KUMA's web interface, "" where its base is not configured."""
    return f"{web_url.rstrip('/')}/alerts/{quote(alert.id, safe='')}" if web_url else ""


def _alert(snapshot: AlertSnapshot, web_url: str) -> dict[str, object]:
    alert = snapshot.alert
    return {
        "id": alert.id,
        "tenant_id": alert.tenant_id,
        "tenant_name": alert.tenant_name,
        "name": alert.name,
        "rule_id": alert.rule_id,
        "priority": alert.priority,
        "status": alert.status,
        "first_seen": rfc3339(alert.first_seen) if alert.first_seen else None,
        "last_seen": rfc3339(alert.last_seen) if alert.last_seen else None,
        "assignee": alert.assignee,
        "closing_reason": alert.closing_reason,
        "overflow": alert.overflow,
        "url": alert_url(web_url, alert),
    }


class _Unlisted(dict[str, object]):
    """Fields that nobody promised: one that is not there is null, as one that KUMA sent empty."""

    def __missing__(self, key: str) -> None:
        return None


def _raw(contents: Contents | None) -> dict[str, object]:
    return _Unlisted(contents.raw if contents else {})


def _state(snapshot: AlertSnapshot, contents: Contents | None) -> str:
    """Say why an alert comes without events: `oversize` (above the size limit) or `absent` (KUMA has none left)."""
    return "oversize" if snapshot.oversize else "absent" if contents is None else "complete"


def _unknown(contents: Contents | None, total: int | None) -> frozenset[str]:
    missing = frozenset({"assets", "accounts", "observables", "alert.raw"}) if contents is None else frozenset()
    return missing | ({"events_total"} if total is None else set())
