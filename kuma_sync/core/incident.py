"""The desk's side as values: the incident, the link that joins it to an alert, and what was sent for it.

Must not: decide what comes next (that is delivery), or know how an IRP is spoken to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from kuma_sync.core.alert import AlertId, EventDigest, Fingerprint
from kuma_sync.core.spelling import folded, same_incident_id


def external_key(instance: str, alert_id: AlertId) -> str:
    """Return the key an incident carries in the IRP: `kuma:<instance>:<alert id>`."""
    return f"kuma:{instance}:{alert_id}"


def alert_of(key: str, instance: str) -> AlertId | None:
    """Return the alert that an incident's key names, in the spelling of the key; None where the key is not ours."""
    prefix = external_key(instance, AlertId(""))
    if key.startswith(prefix):
        return AlertId(key.removeprefix(prefix))
    # The IRP may have changed the case of the whole key, and some letters change their number with their case.
    shown = folded(key)
    return AlertId(shown.removeprefix(folded(prefix))) if shown.startswith(folded(prefix)) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """An incident as the IRP names it."""

    id: str
    number: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """An incident the IRP says is closed, and how; `key` or `incident_id` may be missing, not both."""

    incident_id: str = ""
    key: str = ""
    resolution: str = ""
    updated: datetime | None = None

    @property
    def identity(self) -> tuple[str, str]:
        """Return what tells this incident from others."""
        return (self.incident_id, "" if self.incident_id else self.key)

    @property
    def resolved(self) -> bool:
        """Tell whether it says how the incident was resolved. Some servers say so in a second step only."""
        return bool(self.resolution.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One answer of `find`."""

    incident: Incident
    closed: bool = False
    resolution: str = ""

    @property
    def resolved(self) -> bool:
        """Tell whether it says how the incident was resolved."""
        return bool(self.resolution.strip())


class Origin(StrEnum):
    """Where a closing came from; it is never sent back there."""

    KUMA = "kuma"
    IRP = "irp"
    OPERATOR = "operator"


class Doubt(StrEnum):
    """Why `find` must come before anything else is written for a link."""

    UNKNOWN = "unknown"  # first seen before this process's first complete sweep: the store may be new or restored
    AMBIGUOUS = "ambiguous"  # a create may have happened
    DUPLICATE = "duplicate"  # the IRP refused a create as existing already
    MISSING = "missing"  # the IRP no longer knows the incident
    UNCLOSED = "unclosed"  # the IRP did not know the incident that was to be closed
    UNSHOWN = "unshown"  # made by a profile of which nobody knows yet whether find shows what create made
    RESYNC = "resync"  # an operator asked


_THERE_ALL_THE_TIME = (Doubt.MISSING, Doubt.UNCLOSED)
"""Doubts that are over, with nothing to be sent anew, where `find` shows the same incident at once."""

UNSURE = "?"
"""Stands for the digest of what may be anything: no field's, and no alert's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What the incident holds by our hand: digests of its top-level fields, and the events."""

    fingerprint: Fingerprint | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    events: frozenset[EventDigest] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """A create that was decided and perhaps sent, committed before it went out."""

    sent: Sent
    at: datetime
    unidentified: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One alert joined to its incident, and everything that decides what comes next for the two.

    `alert_closed` and `incident_closed` say what is known to be closed; `held_*` are the brake's marks;
    an alert that is `missed` is ignored because it had left the statuses asked for before it was ever read.
    `not_found_at` is when `find` first came back empty in the present doubt; `spent_until` until when the alert's
    budget of updates is spent (core/budget); `unresolved_at` when the incident was first seen closed without a
    resolution, which is looked at once more before a default stands in.
    """

    alert_id: AlertId
    incident: Incident | None = None
    sent: Sent = Sent()
    intent: Intent | None = None
    doubt: Doubt | None = None
    not_found_at: datetime | None = None
    alert_closed: bool = False
    incident_closed: bool = False
    close_origin: Origin | None = None
    close_reason: str = ""
    close_comment: str = ""
    held_create: bool = False
    held_close: bool = False
    ignored: bool = False
    dropped: bool = False
    gone: bool = False
    missed: bool = False
    spent_until: datetime | None = None
    unresolved_at: datetime | None = None

    def bound_to(self, incident: Incident, *, doubt: Doubt | None = None) -> bool:
        """Tell whether this incident was written down before: then only the answer to that was lost."""
        return self.incident == incident and self.intent is None and self.doubt is doubt

    def sent_to(self, found: Incident) -> Sent:
        """Return what an incident that `find` shows holds by our hand, as far as that is certain."""
        known = self.incident is not None and same_incident_id(self.incident.id, found.id)
        if known and self.doubt in _THERE_ALL_THE_TIME and self.intent is None and self.not_found_at is None:
            return self.sent
        # Where something may have been sent before the intent, nobody knows which of the two it is.
        surely_ours = self.doubt is Doubt.AMBIGUOUS and not self.sent.fields
        return self.intent.sent if self.intent and surely_ours else self.forgotten

    @property
    def forgotten(self) -> Sent:
        """Return what a full update goes by: only which fields are ours, so that cleared ones are cleared there too.

        An open intent's count: its create may have happened.
        """
        names = {*self.sent.fields, *(self.intent.sent.fields if self.intent else ())}
        return Sent(fields=dict.fromkeys(sorted(names), UNSURE))
