"""Named points between the awaits that matter, so that a test can end the process at any of them.

In the program nothing happens here. A test build sets `at` to something that dies. Must not: be used for anything else.
"""

from __future__ import annotations

from collections.abc import Callable

POINTS = (
    "page_committed",
    "cursor_moved",
    "job_claimed",
    "intent_committed",
    "create_answered",
    "find_answered",
    "update_begun",
    "update_answered",
    "add_events_answered",
    "incident_close_answered",
    "link_committed",
    "watch_committed",
    "close_answered",
    "close_acknowledged",
)


def _nothing(_point: str) -> None:
    return


at: Callable[[str], None] = _nothing


def passed(point: str) -> None:
    """Say that a point was passed."""
    at(point)
