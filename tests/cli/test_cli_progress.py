"""How far a pass is, in numbers: what was due, what is done, what failed, what came meanwhile."""

from __future__ import annotations

from kuma_sync.app.pass_progress import Tally
from kuma_sync.store.jobs import Depth
from kuma_sync.store.queue import QueueCounts


def counted(*moments: dict[Depth, int]) -> str:
    tally = Tally()
    for jobs in moments:
        tally.count(QueueCounts(jobs=jobs))
    return str(tally)


def test_what_is_no_longer_due_is_done() -> None:
    begin = {Depth.PENDING: 9, Depth.RUNNING: 1}

    assert counted(begin) == "0 of 10"
    assert counted(begin, {Depth.PENDING: 4, Depth.RUNNING: 2}) == "4 of 10"
    assert counted(begin, {}) == "10 of 10"


def test_what_failed_is_not_done_and_is_told_by_what_becomes_of_it() -> None:
    begin = {Depth.PENDING: 10, Depth.BACKOFF: 3, Depth.PARKED: 2}
    later = {Depth.PENDING: 4, Depth.BACKOFF: 4, Depth.PARKED: 4}

    assert counted(begin, later) == "3 of 10, 1 to be tried again, 2 parked"


def test_what_comes_meanwhile_makes_more_due_and_not_fewer_done() -> None:
    assert counted({Depth.PENDING: 10}, {Depth.PENDING: 6}, {Depth.PENDING: 11}) == "4 of 15"


def test_where_nothing_is_due_nothing_is_done() -> None:
    assert counted({Depth.BACKOFF: 3}) == "0 of 0"
