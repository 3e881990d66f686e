"""Named points between the awaits that matter, so that a test can end the process, or freeze it, at any of them.

And the turns of the loops, so that a test can hold one up. In the program nothing happens here: a test build sets `at`
and `in_turn`. Must not: be used for anything else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

POINTS = (
    "leadership_assured",
    "page_committed",
    "cursor_moved",
    "job_claimed",
    "intent_committed",
    "create_answered",
    "find_answered",
    "get_answered",
    "update_begun",
    "update_answered",
    "add_events_answered",
    "comment_begun",
    "comment_answered",
    "incident_close_answered",
    "link_committed",
    "watch_committed",
    "close_answered",
    "close_acknowledged",
)


def _nothing(_point: str) -> None:
    return


at: Callable[[str], None] = _nothing


async def _at_once(_loop: str) -> None:
    return


in_turn: Callable[[str], Awaitable[None]] = _at_once


def failpoint(point: str) -> None:
    """Say that a point was passed."""
    at(point)


async def turning(loop: str) -> None:
    """Say that a loop begins another turn."""
    await in_turn(loop)
