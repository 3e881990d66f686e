"""What every request towards the IRP holds, made into template values.

Must not: render, or decide what is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from kuma_sync.core.alert import JsonObject
from kuma_sync.core.incident import external_key
from kuma_sync.daemon.work import Work
from kuma_sync.irp.values import Subject, values


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterhead:
    """What is not the alert's: settings, and the clock."""

    instance: str
    web_url: str
    options: Mapping[str, str]
    clock: Callable[[], datetime]

    def key(self, work: Work) -> str:
        """Return the key that the incident carries."""
        return external_key(self.instance, work.alert_id)

    def values(self, work: Work, events: Sequence[JsonObject]) -> dict[str, object]:
        """Return the values for a request about this work, carrying these events."""
        subject = Subject(
            picture=work.picture,
            key=self.key(work),
            contents=work.contents,
            events=events,
            incident=work.link.incident,
            reason=work.link.close_reason,
            comment=work.link.close_comment,
        )
        return values(subject, web_url=self.web_url, options=self.options, now=self.clock())
