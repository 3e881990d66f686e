"""What becomes of an alert that was never read while its status was asked for.

An analyst may take an alert, or close it, before any read showed it. Only the late listing, which asks for every
status, shows such an alert. Must not: look at what is known; only alerts never seen are judged here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum, auto

from kuma_sync.core.alert import Alert

NEW = "new"


class Unseen(StrEnum):
    """Which alerts that left the statuses asked for before they were ever read become incidents (`poll.unseen`)."""

    OPEN = "open"  # those that are not closed by now
    ALL = "all"
    NONE = "none"


class Fate(Enum):
    """What becomes of an alert never seen before."""

    TAKEN = auto()  # an incident is made of it
    MISSED = auto()  # it is recorded, and no incident is made
    LEFT_ALONE = auto()  # it was there before this store's first read, and its status is not asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which alerts incidents are wanted for: the statuses asked for, and what is done about alerts that left them."""

    statuses: frozenset[str]
    unseen: Unseen = Unseen.OPEN

    def wants(self, alert: Alert) -> bool:
        """Tell whether an incident may be made of an alert that stands like this."""
        if alert.status in self.statuses or self.unseen is Unseen.ALL:
            return True
        return self.unseen is Unseen.OPEN and not alert.closed

    def fate(self, alert: Alert, first_read: datetime | None) -> Fate:
        """Judge an alert never seen before; `first_read` is when this store's first read began, by KUMA's clock.

        Every alert begins as new. Where new ones are not asked for, nobody can tell whether this one ever had a status
        that is: it is left alone. So is one that was there before the first read. One of the same second is taken.
        """
        if alert.status in self.statuses:
            return Fate.TAKEN
        appeared = alert.first_seen or alert.last_seen
        before = first_read is None or (appeared is not None and appeared < first_read)
        if before or NEW not in self.statuses:
            return Fate.LEFT_ALONE
        return Fate.TAKEN if self.wants(alert) else Fate.MISSED
