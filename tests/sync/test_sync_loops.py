"""Bells, the schedule that rings them, loops that are started again, and what closings mean."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import Reason
from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.core.incident import Origin
from kuma_sync.sync.closing.requests import Closings
from kuma_sync.sync.limits import Restarts
from kuma_sync.sync.runtime.periodic_loop import PeriodicLoop
from kuma_sync.sync.runtime.supervisor import LoopKeepsFailing, happens, supervise
from kuma_sync.sync.schedule import Bell, ringing

ALERT = AlertId("a-1")


def a_loop(
    act: Callable[[], Awaitable[None]],
    *,
    interval: timedelta = timedelta(minutes=1),
    last_moments: timedelta = timedelta(seconds=2),
) -> PeriodicLoop:
    """Return a loop whose bell has rung."""
    loop = PeriodicLoop("poll", act, part="poll", interval=interval, last_moments=last_moments)
    loop.bell.ring()
    return loop


QUICK = Restarts(
    first_wait=timedelta(milliseconds=10),
    longest_wait=timedelta(milliseconds=100),
    well_after=timedelta(milliseconds=200),
)


# Bells


async def test_several_rings_before_somebody_comes_are_one() -> None:
    bell = Bell()
    for _ in range(3):
        bell.ring()

    assert await bell.wait(1) is True
    assert await bell.wait(0.01) is False


async def test_a_ring_calls_whoever_waits() -> None:
    bell = Bell()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(bell.wait())
        await asyncio.sleep(0)
        bell.ring()

    assert waiting.result() is True


async def test_the_clockwork_rings_at_once_and_then_again_and_again() -> None:
    bell, never = Bell(), Bell()

    with ringing({bell: timedelta(milliseconds=50), never: timedelta(hours=1)}):
        first = [await bell.wait(5), await never.wait(5)]
        again = [await bell.wait(5) for _ in range(3)]
        other = await never.wait(0.1)

    assert first == [True, True]
    assert again == [True, True, True]
    assert not other


async def test_a_clockwork_that_ended_rings_no_more() -> None:
    bell = Bell()
    with ringing({bell: timedelta(milliseconds=20)}):
        await bell.wait(1)
    await bell.wait(0.01)

    assert await bell.wait(0.1) is False


# Loops


async def test_a_loop_acts_at_every_ring_until_it_is_told_to_stop() -> None:
    stop, acted = asyncio.Event(), list[int]()

    async def act() -> None:
        acted.append(1)
        if len(acted) == 3:
            stop.set()
        loop.bell.ring()

    loop = a_loop(act)
    async with asyncio.timeout(5):
        await loop.run(stop)

    assert len(acted) == 3


async def test_a_read_that_does_not_end_is_cut_off_when_the_daemon_stops() -> None:
    stop, cut = asyncio.Event(), asyncio.Event()

    async def act() -> None:
        stop.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cut.set()
            raise

    async with asyncio.timeout(5):
        await a_loop(act, last_moments=timedelta(milliseconds=50)).run(stop)

    assert cut.is_set()


async def test_a_read_that_is_about_to_end_is_let_end_when_the_daemon_stops() -> None:
    stop, ended = asyncio.Event(), asyncio.Event()

    async def act() -> None:
        stop.set()
        await asyncio.sleep(0.05)
        ended.set()

    async with asyncio.timeout(5):
        await a_loop(act).run(stop)

    assert ended.is_set()


async def test_what_a_loop_raises_reaches_whoever_supervises_it_as_it_is() -> None:
    async def act() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await a_loop(act).run(asyncio.Event())


async def test_a_loop_that_lost_its_store_goes_on_and_says_when_that_begins_and_ends() -> None:
    stop, tries = asyncio.Event(), list[int]()

    async def act() -> None:
        tries.append(1)
        loop.bell.ring()
        if len(tries) in (8, 10):
            raise StoreUnavailable("away again")
        if len(tries) < 8:
            raise StoreUnavailable("locked" if len(tries) > 4 else "away")
        if len(tries) == 11:
            stop.set()

    loop = a_loop(act)
    with capture_logs() as logs:
        async with asyncio.timeout(5):
            await supervise("poll", partial(loop.run, stop), stop, restarts=QUICK)

    assert len(tries) == 11
    assert [(line["event"], line["loop"], line.get("reason")) for line in logs] == [
        ("store_unavailable", "poll", "away"),
        ("store_unavailable", "poll", "locked"),
        ("store_unavailable", "poll", "away again"),
        ("store_recovered", "poll", None),
        ("store_unavailable", "poll", "away again"),
        ("store_recovered", "poll", None),
    ], "a store that is away is no bug of the loop, and no news at every try"


async def test_a_loop_that_raised_is_started_again() -> None:
    stop, tries = asyncio.Event(), list[int]()

    async def loop() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise ZeroDivisionError
        stop.set()

    with capture_logs() as logs:
        await supervise("poll", loop, stop, restarts=QUICK)

    assert len(tries) == 2
    assert [(line["event"], line["loop"]) for line in logs] == [("loop_failed", "poll")]


async def test_a_loop_that_keeps_failing_ends_the_process() -> None:
    stop, tries = asyncio.Event(), list[float]()

    async def loop() -> None:
        tries.append(time.monotonic())
        raise ZeroDivisionError

    with pytest.raises(LoopKeepsFailing, match="the poll loop keeps failing"):
        await supervise("poll", loop, stop, restarts=QUICK)

    waits = [after - before for before, after in pairwise(tries)]
    assert len(tries) == Restarts().too_often == 5
    assert all(wait >= least for wait, least in zip(waits, (0.02, 0.04, 0.08, 0.1), strict=True)), waits


async def test_a_loop_that_raised_is_told_of_until_it_has_run_well_for_a_while() -> None:
    stop, tries, told, well = asyncio.Event(), list[int](), list[str](), asyncio.Event()

    async def loop() -> None:
        tries.append(1)
        if len(tries) <= 2:
            raise ZeroDivisionError
        await stop.wait()

    def tell(reason: str) -> None:
        told.append(reason)
        if not reason:
            well.set()

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(supervise("watch", loop, stop, tell, restarts=QUICK))
        await well.wait()
        stop.set()

    assert told == ["the watch loop failed: ZeroDivisionError"] * 2 + [""]


async def test_a_loop_that_fails_while_the_daemon_stops_is_not_started_again() -> None:
    stop, tries = asyncio.Event(), list[int]()

    async def loop() -> None:
        tries.append(1)
        stop.set()
        raise ZeroDivisionError

    async with asyncio.timeout(2):
        await supervise("poll", loop, stop, restarts=QUICK)

    assert len(tries) == 1


async def test_an_event_that_does_not_happen_in_time_did_not_happen() -> None:
    event = asyncio.Event()

    before = await happens(event, within=0.01)
    event.set()

    assert (before, await happens(event, within=0.01)) == (False, True)


# Closings


def closings(*, to_kuma: bool = True, default: Reason | None = Reason.RESPONDED) -> Closings:
    reasons = {"False positive": Reason.INCORRECT_DATA}
    return Closings(to_kuma=to_kuma, reasons=reasons, default=default, patience=timedelta(minutes=1))


@pytest.mark.parametrize(
    ("resolution", "reason"),
    [
        ("False positive", Reason.INCORRECT_DATA),
        (" FALSE POSITIVE ", Reason.INCORRECT_DATA),
        ("Solved", Reason.RESPONDED),
        ("", Reason.RESPONDED),
    ],
)
def test_a_resolution_becomes_its_reason_or_the_default(resolution: str, reason: Reason) -> None:
    request = closings().by_resolution(ALERT, resolution, incident="7", by="watch")

    assert request is not None
    assert (request.reason, request.origin, request.by) == (reason, Origin.IRP, "watch")
    assert (request.incident, request.resolution) == ("7", resolution)


def test_a_resolution_that_is_not_listed_is_warned_about_once() -> None:
    table = closings()

    with capture_logs() as logs:
        for resolution in ("Solved", "Solved", "False positive", "Done", "Solved"):
            table.by_resolution(ALERT, resolution, incident="7", by="watch")

    assert [line["resolution"] for line in logs] == ["Solved", "Done"]


def test_without_a_default_an_unlisted_resolution_has_no_reason() -> None:
    request = closings(default=None).by_resolution(ALERT, "Solved", incident="7", by="watch")

    assert request is not None
    assert request.reason is None


def test_where_closing_towards_kuma_is_off_nothing_follows() -> None:
    assert closings(to_kuma=False).by_resolution(ALERT, "False positive", incident="7", by="watch") is None
