"""The order of jobs in a queue, and where jobs wait while their operation is stopped."""

from __future__ import annotations

from enum import IntEnum


class Lane(IntEnum):
    """The lower, the sooner: closes never wait behind updates, creates never behind a flood of them.

    A hint given where a job is put. A `STOPPED_…` lane holds jobs that met an operation that stands still: nobody takes
    them before it may be tried again, and then they go ahead of those that did not wait.
    """

    CLOSE = 0
    STOPPED_CLOSE = 5
    CREATE = 10
    STOPPED_FIND = 12
    STOPPED_UPDATE = 14
    STOPPED_EVENTS = 16
    UPDATE = 20


STOPPED = frozenset({Lane.STOPPED_CLOSE, Lane.STOPPED_FIND, Lane.STOPPED_UPDATE, Lane.STOPPED_EVENTS})
"""Lanes on which nothing is put: what is new about a subject may be worth doing all the same."""
