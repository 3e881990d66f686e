"""What a round has to warn about: one line of each kind, however often it was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from kuma_sync.core.diff import Rejected

log = structlog.get_logger(__name__)

FIRST = 10
"""Alerts that a line names; the rest is counted."""


@dataclass(slots=True)
class Sample:
    """How many alerts something was found of, which were the first, and the first few different `words` about them."""

    count: int = 0
    alert_ids: list[str] = field(default_factory=list)
    words: set[str] = field(default_factory=set)

    def add(self, alert_id: str, *words: str) -> None:
        """Count one alert."""
        self.count += 1
        if len(self.alert_ids) < FIRST:
            self.alert_ids.append(alert_id)
        for word in words:
            if len(self.words) < FIRST:
                self.words.add(word)

    def __bool__(self) -> bool:
        """Tell whether there is something to say."""
        return self.count > 0


@dataclass(slots=True, kw_only=True)
class Told:
    """The warnings of a round, gathered until it ends."""

    gone: Sample = field(default_factory=Sample)
    left_out: Sample = field(default_factory=Sample)
    contents_unreadable: Sample = field(default_factory=Sample)
    status_unreadable: Sample = field(default_factory=Sample)
    held_creates: int = 0
    rejected: int = 0
    reasons: set[str] = field(default_factory=set)

    def reject(self, rejected: Sequence[Rejected]) -> None:
        """Count pieces of KUMA's answer that are no alerts."""
        self.rejected += len(rejected)
        for item in rejected:
            if len(self.reasons) < FIRST:
                self.reasons.add(item.reason)

    def tell(self) -> None:
        """Write the lines."""
        if self.held_creates:
            log.error("brake_holds_creates", held=self.held_creates)
        if gone := self.gone:
            log.warning("alert_gone", count=gone.count, alert_ids=gone.alert_ids)
        if one := self.contents_unreadable:
            log.warning("contents_unreadable", count=one.count, alert_ids=one.alert_ids, reasons=sorted(one.words))
        if one := self.status_unreadable:
            log.warning("status_unreadable", count=one.count, alert_ids=one.alert_ids, reasons=sorted(one.words))
        if self.rejected:
            log.error("alerts_rejected", count=self.rejected, reasons=sorted(self.reasons))
        if one := self.left_out:
            log.warning("fields_left_out", count=one.count, alert_ids=one.alert_ids, fields=sorted(one.words))
