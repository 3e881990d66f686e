"""Elements set aside: parked pieces, and alerts that are not ours. None is written or reported at every poll."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from kuma_sync.core.alert import AlertId, Contents, Observation
from kuma_sync.core.comparison import Rejected
from kuma_sync.core.errors import ValueRefused
from kuma_sync.core.moments import rfc3339
from kuma_sync.core.privacy import Privacy
from kuma_sync.kuma.client import Element
from kuma_sync.store import Tx

REMEMBERED = 10_000


def too_large(element: Element, privacy: Privacy) -> Rejected:
    """Return the rejection of a listing's element that is too large even without its events."""
    reason = f"too {'many values' if element.crowded else 'large'} even without events: {element.size} bytes"
    return Rejected.piece(f"sha256:{element.digest.hex()}", reason, element.head, privacy)


REFUSED = "refused:"
"""How the parked piece of an alert begins that the database does not take; its id follows: there is one an alert."""


def refused(alert_id: AlertId, raw: bytes, error: ValueRefused) -> Rejected:
    """Return the piece to park for an alert that the database refuses."""
    return Rejected(digest=f"{REFUSED}{alert_id}", reason=str(error), raw=raw)


def as_read(seen: Observation) -> bytes:
    """Return an alert as JSON in KUMA's form. Its own bytes are not kept after they are parsed."""
    alert, contents = seen.alert, seen.contents or Contents()
    item = {
        **contents.raw,
        "id": alert.id,
        "tenantID": alert.tenant_id,
        "tenantName": alert.tenant_name,
        "name": alert.name,
        "correlationRuleID": alert.rule_id,
        "priority": alert.priority,
        "status": alert.status,
        "firstSeen": alert.first_seen and rfc3339(alert.first_seen),
        "lastSeen": alert.last_seen and rfc3339(alert.last_seen),
        "assignee": alert.assignee,
        "closingReason": alert.closing_reason,
        "overflow": alert.overflow,
        "events": contents.events,
        "affectedAssets": contents.assets,
        "affectedAccounts": contents.accounts,
    }
    return json.dumps(item, ensure_ascii=False).encode("utf-8", "surrogatepass")


class KnownRejects:
    """Digests of rejected pieces. If there are too many, all are forgotten, and each is written once more."""

    def __init__(self) -> None:
        self._digests: set[str] = set()

    def fresh(self, rejected: Iterable[Rejected]) -> list[Rejected]:
        """Return those that are not parked yet as far as is known here."""
        return [item for item in rejected if item.digest not in self._digests]

    def note(self, rejected: Sequence[Rejected]) -> None:
        """Remember rejected pieces that are parked now."""
        if len(self._digests) > REMEMBERED:
            self._digests.clear()
        self._digests |= {item.digest for item in rejected}


class RefusedAlerts:
    """Alerts that the database did not take, so that they are not tried at every poll, and forgotten once it does."""

    def __init__(self) -> None:
        self._by_bytes: dict[bytes, AlertId] = {}
        self._parked: set[AlertId] | None = None

    def recall(self, tx: Tx) -> None:
        """Learn once which are parked since earlier."""
        if self._parked is None:
            pieces = tx.rejects.waiting()
            self._parked = {
                AlertId(piece.digest.removeprefix(REFUSED)) for piece in pieces if piece.digest.startswith(REFUSED)
            }

    def among(self, digests: Iterable[bytes]) -> dict[bytes, AlertId]:
        """Return those of these elements that were refused before, with their alerts."""
        return {digest: self._by_bytes[digest] for digest in digests if digest in self._by_bytes}

    def note(self, alert_id: AlertId, digest: bytes) -> None:
        """Remember an alert by the bytes that were refused."""
        if len(self._by_bytes) > REMEMBERED:
            self._by_bytes.clear()
        self._by_bytes[digest] = alert_id
        self._parked = (self._parked or set()) | {alert_id}

    def taken(self, tx: Tx, ids: Iterable[AlertId]) -> None:
        """Forget the parked pieces of alerts that this transaction writes; they stay known until it is committed."""
        for alert_id in (self._parked or set()).intersection(ids):
            tx.rejects.forget(f"{REFUSED}{alert_id}")


class LeftAlone:
    """Digests of alerts left alone, each with its lastSeen. One that the listing no longer shows is forgotten.

    They are kept in memory only: another process, or another copy that reads, parses each of them once.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, datetime | None] = {}
        self._shown: set[bytes] = set()

    def among(self, digests: Collection[bytes]) -> dict[bytes, datetime | None]:
        """Return which of these are left alone, with their lastSeen."""
        found = {digest: self._known[digest] for digest in digests if digest in self._known} if self._known else {}
        self._shown |= found.keys()
        return found

    def note(self, digest: bytes, last_seen: datetime | None) -> None:
        """Remember one more."""
        self._known[digest] = last_seen
        self._shown.add(digest)

    def listed(self) -> None:
        """Forget the alerts that the listing, read to its end, did not show."""
        if len(self._shown) < len(self._known):
            self._known = {digest: self._known[digest] for digest in self._shown}
        self._shown = set()
