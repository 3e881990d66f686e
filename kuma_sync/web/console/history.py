"""The history of an alert as a time line: what was done, by whom, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kuma_sync.core.sentence import N_
from kuma_sync.store.read_models.story import AlertView

DEEDS: dict[str, tuple[str, str]] = {
    "alert_closed": ("quiet", N_("KUMA closed the alert")),
    "close_ordered": ("busy", N_("Closing ordered")),
    "close_refused": ("bad", N_("KUMA refused the closing")),
    "closed_in_kuma": ("good", N_("Alert closed in KUMA")),
    "closing_taken_back": ("warn", N_("Closing taken back")),
    "comment_lost": ("warn", N_("A comment was refused")),
    "commented": ("good", N_("Comment sent")),
    "created": ("good", N_("Incident created")),
    "drop": ("warn", N_("Given up")),
    "duplicate": ("warn", N_("The IRP said that it exists already")),
    "events_added": ("good", N_("Events added")),
    "found": ("good", N_("Incident found")),
    "handed_out": ("good", N_("Handed out")),
    "incident_closed": ("good", N_("Incident closed")),
    "left": ("quiet", N_("Left where it is")),
    "left_to_analysts": ("quiet", N_("Left to the analysts")),
    "missed": ("warn", N_("Closed before it was read")),
    "parked": ("bad", N_("Set aside")),
    "release": ("busy", N_("Released")),
    "resolution_awaited": ("quiet", N_("Closed, its resolution is awaited")),
    "resync": ("busy", N_("Sending anew ordered")),
    "retry": ("busy", N_("Another try ordered")),
    "routed": ("quiet", N_("Sent to another target")),
    "updated": ("good", N_("Incident updated")),
    "write_back_refused": ("warn", N_("KUMA refused our comment")),
    "written_back": ("good", N_("Comment written in KUMA")),
}
"""What each line of the history says, and its tone."""

SOMEBODY = N_("somebody in the IRP")
ACTORS = {"kuma": N_("KUMA"), "irp": SOMEBODY, "watch": SOMEBODY, "find": SOMEBODY}
"""Who did it, where that is no person whom we know by name, nor `kuma-sync` itself. `watch` and `find` are how we came
to know what was done there, by a person or a rule of the IRP's."""

SEEN_FIRST, SEEN_LAST = N_("First seen by KUMA"), N_("Last seen by KUMA")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One point of the time line; `what` is a msgid, or the plain name of a deed without one."""

    at: datetime
    what: str
    tone: str = "quiet"
    by: str = ""
    detail: str = ""


def time_line(story: AlertView) -> Sequence[Event]:
    """Return what happened to an alert, oldest first."""
    alert = story.alert
    events = [
        Event(at=entry.at, what=_words(entry.action), tone=_tone(entry.action), by=entry.actor, detail=entry.detail)
        for entry in story.history
    ]
    if alert is not None and alert.first_seen is not None:
        events.append(Event(at=alert.first_seen, what=SEEN_FIRST, by="kuma"))
    if alert is not None and alert.last_seen is not None and alert.last_seen != alert.first_seen:
        events.append(Event(at=alert.last_seen, what=SEEN_LAST, by="kuma"))
    return sorted(events, key=lambda event: event.at)


def _words(action: str) -> str:
    return DEEDS[action][1] if action in DEEDS else action.replace("_", " ")


def _tone(action: str) -> str:
    return DEEDS[action][0] if action in DEEDS else "quiet"
