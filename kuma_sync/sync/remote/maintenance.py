"""The parts that an operator paused, as this process last saw them in the store: every gate asks here first."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from kuma_sync.core.maintenance import Maintenance


class Paused:
    """What is paused. By the clock, so that a pause ends in time though the store is away."""

    def __init__(self) -> None:
        self._known: dict[str, Maintenance] = {}
        self._last: dict[str, datetime] = {}

    def learn(self, known: Iterable[Maintenance]) -> None:
        """Take over what the store has."""
        self._known = {one.part: one for one in known}

    def of(self, parts: Iterable[str], now: datetime) -> Maintenance | None:
        """Return the pause of one of these parts, None where there is none."""
        if not self._known:  # asked before every request, and mostly nothing is paused
            return None
        lasting = [one for part in parts if (one := self._known.get(part)) is not None and one.lasts(now)]
        for one in lasting:
            self._last[one.part] = now
        return lasting[0] if lasting else None

    def last(self, parts: Iterable[str]) -> datetime | None:
        """Return when one of these parts was last seen paused."""
        return max((self._last[part] for part in parts if part in self._last), default=None)

    def all(self, now: datetime) -> list[Maintenance]:
        """Return all that is paused."""
        return [one for part in self._known if (one := self.of([part], now)) is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pausable:
    """What one gate obeys: pauses of these parts."""

    parts: tuple[str, ...] = ()
    paused: Paused = field(default_factory=Paused)

    def now(self, now: datetime) -> Maintenance | None:
        """Return the pause that lasts; None where requests may go out."""
        return self.paused.of(self.parts, now)

    def last(self) -> datetime | None:
        """Return when it was last seen paused."""
        return self.paused.last(self.parts)
