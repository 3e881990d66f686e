"""What an operator paused: a part that is asked nothing for a maintenance window."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kuma_sync.core.moments import rfc3339

KUMA = "kuma"
"""All requests to KUMA."""

CLOSE = "close"
"""The closings towards KUMA alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """A part that an operator paused: `kuma`, `close`, or a target's name. `until` None: until somebody resumes it."""

    part: str
    since: datetime
    until: datetime | None
    by: str

    def lasts(self, now: datetime) -> bool:
        """Tell whether it is not over."""
        return self.until is None or self.until > now

    @property
    def reason(self) -> str:
        """Say it in a few words, without the operator's name: everyone may read it."""
        end = f"`kuma-sync resume {self.part}`" if self.until is None else rfc3339(self.until.replace(microsecond=0))
        return f"an operator paused {self.part} until {end}"
