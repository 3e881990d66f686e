"""How often an alert that keeps changing may change its incident: a budget of updates, kept as one stored moment.

Only updates that tell of changed fields alone are budgeted.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from kuma_sync.core.link import Link
from kuma_sync.core.steps import TargetCapabilities, to_be_closed

BURST = 3
"""Updates that go out at once, one after the other: an analyst's handful of edits in KUMA must not wait."""

INTERVALS = 20
"""Poll intervals from one to the next after that: ten minutes by default, seconds where polls are quick. What flaps
faster than we look costs one update a poll, so the poll is what the wait is measured in."""

LONGEST = timedelta(minutes=30)
"""However slow the polls are: a job due more than an hour ahead would be taken for misdated, and done at once."""


def spacing(poll_interval: timedelta) -> timedelta:
    """Return how far apart updates of one alert are, once the first few went out."""
    return min(poll_interval * INTERVALS, LONGEST)


def put_off_until(link: Link, *, unsent: int, capabilities: TargetCapabilities, now: datetime) -> datetime | None:
    """Return until when an update has to wait, at most `capabilities.spacing`; None: it goes out now.

    New events never wait, nor what an operator or `find` had sent in full, nor an update that a closing waits for.
    """
    if _free(link, unsent) or (capabilities.may_close and to_be_closed(link)):
        return None
    at = _spent_until(link, capabilities, now) - capabilities.spacing * (BURST - 1)
    return at if at > now else None


def charged(link: Link, *, unsent: int, capabilities: TargetCapabilities, now: datetime) -> Link:
    """Charge an update that was sent; `link` and `unsent` as they were before it. Without a spacing nothing is."""
    if _free(link, unsent) or not capabilities.spacing:
        return link
    return replace(link, spent_until=_spent_until(link, capabilities, now) + capabilities.spacing)


def _free(link: Link, unsent: int) -> bool:
    return unsent > 0 or link.sent.fingerprint is None


def _spent_until(link: Link, capabilities: TargetCapabilities, now: datetime) -> datetime:
    spent = link.spent_until or now
    # More than a whole burst ahead cannot be: the clock was set back, or the polls were slower then. Cut down to a
    # burst it would be found spent at every look, until the clock has come that far.
    return max(spent, now) if spent <= now + capabilities.spacing * BURST else now
