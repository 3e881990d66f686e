"""The comments of an incident: what we did there, and the words of a closing.

A comment is sent at most once: that it is being sent is committed before it goes out. A line that is owed is committed
together with the change that it reports.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from kuma_sync.core.link import Closing, Link

MOST = 20
"""Lines kept for one comment: where none gets through, the oldest are given up."""

_LONGEST = 200
_BY = "kuma-sync: "


def created(events: int) -> str:
    """Say that the incident was made."""
    return f"{_BY}created, with {_events(events)}"


def updated(fields: Collection[str], events: int) -> str:
    """Say what an update changed."""
    names = ", ".join(sorted(fields))
    changed = [names if len(names) <= _LONGEST else f"{len(fields)} fields"] if fields else []
    return f"{_BY}updated: {'; '.join([*changed, *([_events(events)] if events else [])])}"


def added(events: int) -> str:
    """Say that events were added."""
    return f"{_BY}{_events(events)} added"


def _closed(closing: Closing) -> str:
    return f"{_BY}closed: {closing.reason}" if closing.reason else f"{_BY}closed"


def _events(number: int) -> str:
    return "1 event" if number == 1 else f"{number} events"


def owing(link: Link, line: str) -> Link:
    """Note a line that is to be sent."""
    return replace(link, owed=(*link.owed, line)[-MOST:])


def due(link: Link, *, closing: bool, audit: bool) -> tuple[str, ...]:
    """Return the lines to send now. `closing`: the incident is about to be closed; with `audit` a line says so."""
    if not closing or link.closing is None or link.closing.commented:
        return link.owed
    words = [link.closing.comment] if link.closing.comment.strip() else []
    return (*link.owed, *words, *([_closed(link.closing)] if audit else []))


def sending(link: Link, *, closing: bool) -> Link:
    """Note, before it goes out, that all of it is being sent: whatever comes of it, it is not sent again."""
    after = replace(link.closing, commented=True) if link.closing is not None and closing else link.closing
    return replace(link, owed=(), closing=after)


def not_sent(link: Link, before: Link) -> Link:
    """Take that back: it surely did not arrive, and is tried once more. `before` is the link before it was sent."""
    closing = link.closing
    if closing is not None and before.closing is not None:
        closing = replace(closing, commented=before.closing.commented)
    return replace(link, owed=(*before.owed, *link.owed)[-MOST:], closing=closing)
