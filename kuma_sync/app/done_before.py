"""Who did before what is ordered now: told to the second of two who order the same thing at the same moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from kuma_sync.core.sentence import Sentence, sentence
from kuma_sync.store import Tx
from kuma_sync.store.audit import AuditEntry
from kuma_sync.web.console.orders import agreed_on

RECENT = timedelta(minutes=10)
"""What was done longer ago does not explain that nothing is left to be done now."""

_DID: dict[str, Callable[[str, datetime], Sentence]] = {
    "retry": lambda by, at: sentence("%(by)s had it tried again at %(at)s", by=by, at=at),
    "drop": lambda by, at: sentence("%(by)s gave it up at %(at)s", by=by, at=at),
    "release": lambda by, at: sentence("%(by)s released it at %(at)s", by=by, at=at),
    "resync": lambda by, at: sentence("%(by)s had it sent anew at %(at)s", by=by, at=at),
    "close_ordered": lambda by, at: sentence("%(by)s ordered its closing at %(at)s", by=by, at=at),
    "resume": lambda by, at: sentence("%(by)s resumed it at %(at)s", by=by, at=at),
}

ORDERS = tuple(name for name in _DID if name != "resume")
"""The orders about an alert, or a parked piece, as the audit trail names them."""


def done_to(tx: Tx, subjects: Iterable[str]) -> Sentence | None:
    """Say who ordered something about the first of these lately; None where nobody did."""
    found = (tx.audit.last(*ORDERS, alert_id=subject, since=tx.now - RECENT) for subject in subjects)
    return next((_said(entry) for entry in found if entry is not None), None)


def orders_so_far(tx: Tx, action: str, subjects: Iterable[str]) -> str:
    """Return what stands for the latest such orders about these: it changes with every new one."""
    last = {subject: tx.audit.last(action, alert_id=subject) for subject in subjects}
    return agreed_on(f"{subject} {entry.at if entry else None}" for subject, entry in last.items())


def done_to_any(tx: Tx, action: str) -> Sentence | None:
    """Say who gave this order lately, whatever about."""
    entry = tx.audit.last(action, alert_id=None, since=tx.now - RECENT)
    return None if entry is None else _said(entry)


def resumed(tx: Tx, part: str) -> Sentence | None:
    """Say who resumed a part lately."""
    entry = tx.audit.last("resume", detail=part, since=tx.now - RECENT)
    return None if entry is None else _said(entry)


def with_who(said: Sentence, who: Sentence | None) -> Sentence:
    """Add who did it to a sentence that says that nothing is left to be done."""
    return said if who is None else sentence("%(said)s It was done already: %(who)s.", said=said, who=who)


def _said(entry: AuditEntry) -> Sentence:
    return _DID[entry.action](entry.actor, entry.at)
