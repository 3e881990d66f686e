"""One allowance of bytes for all: it is never exceeded, nobody starves, and what is too large goes alone."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kuma_sync.sync.queue.memory_limit import MemoryLimit

TOTAL = 10


@given(sizes=st.lists(st.integers(0, TOTAL * 2), max_size=20))
def test_the_allowance_is_never_exceeded_and_everybody_is_served_in_turn(sizes: list[int]) -> None:
    asyncio.run(_all_served_in_turn(sizes))


async def _all_served_in_turn(sizes: list[int]) -> None:
    allowance = MemoryLimit(TOTAL)
    in_work: list[int] = []
    order: list[int] = []

    async def work(number: int, size: int) -> None:
        async with allowance.take(size):
            order.append(number)
            in_work.append(min(size, TOTAL))
            assert sum(in_work) <= TOTAL
            await asyncio.sleep(0)
            in_work.remove(min(size, TOTAL))

    async with asyncio.TaskGroup() as group:
        for number, size in enumerate(sizes):
            group.create_task(work(number, size))

    heavy = [number for number in order if sizes[number]]
    assert heavy == sorted(heavy)
    assert len(order) == len(sizes)


async def test_what_weighs_nothing_waits_for_nobody() -> None:
    allowance = MemoryLimit(TOTAL)

    async with allowance.take(TOTAL), asyncio.timeout(5), allowance.take(0):
        pass


async def test_a_failure_and_a_cancellation_give_everything_back() -> None:
    allowance = MemoryLimit(TOTAL)
    waiting = asyncio.create_task(_hold(allowance))

    with pytest.raises(ZeroDivisionError):
        await _fail(allowance, waiting)

    async with asyncio.timeout(5), allowance.take(TOTAL):
        pass


async def _fail(allowance: MemoryLimit, waiting: asyncio.Task[None]) -> None:
    async with allowance.take(TOTAL):
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        raise ZeroDivisionError


async def _hold(allowance: MemoryLimit) -> None:
    async with allowance.take(1):
        await asyncio.sleep(3600)
