"""Ids and keys that come back in another spelling than they went out: in capitals, with blanks, a UUID in braces.

Must not: look anything up. The exact spelling always wins; another one counts where the exact one is not there.
"""

from __future__ import annotations

import re

_UUID = re.compile(r"(?:urn:uuid:)?\{?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?")


def folded(text: str) -> str:
    """Return a text without case and outer blanks, for comparing."""
    return text.strip().casefold()


def uuid_of(text: str) -> str | None:
    """Return a UUID in its plain form, small letters and hyphens; None for what is none."""
    found = _UUID.fullmatch(folded(text))
    return "-".join(found.groups()) if found else None


def alert_spellings(alert_id: str) -> tuple[str, ...]:
    """Return how an alert's id may be stored here, the given spelling first. KUMA's ids are UUIDs (help 222254)."""
    plain = uuid_of(alert_id) or alert_id.strip()
    return tuple(dict.fromkeys((alert_id, plain, plain.lower(), plain.upper())))


def incident_spellings(incident_id: str) -> tuple[str, ...]:
    """Return how an incident's id may be stored here, the given spelling first.

    Only UUIDs are known to be the same in whatever case: many IRPs have ids in which `x7Q` and `X7q` are two.
    """
    plain = uuid_of(incident_id)
    return (incident_id,) if plain is None else tuple(dict.fromkeys((incident_id, plain, plain.upper())))


def same_incident_id(one: str, other: str) -> bool:
    """Tell whether two ids name one incident."""
    return one == other or (uuid_of(one) or one) == (uuid_of(other) or other)
