"""Many small questions answered in one go: nobody waits for company, and nobody suffers from a neighbour."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from kuma_sync.core.errors import ClaimLost, StoreUnavailable
from kuma_sync.sync.delivery.group_commit import MOST, GroupCommit


class Store:
    """Answers a number with its double, once it is let; a 13 is more than it takes."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked: list[list[int]] = []
        self.away = False

    async def answer(self, questions: Sequence[int]) -> Sequence[int | Exception]:
        self.asked.append(list(questions))
        await self.gate.wait()
        if self.away:
            raise StoreUnavailable("gone")
        if 13 in questions:
            raise ValueError("no number")
        return [ClaimLost("not yours") if number < 0 else number * 2 for number in questions]


async def gathered(together: GroupCommit[int, int], store: Store, numbers: Sequence[int]) -> list[int | BaseException]:
    """Ask the first, then all others while it is being answered."""
    tasks = [asyncio.create_task(together.ask(number)) for number in numbers]
    while not store.asked:
        await asyncio.sleep(0)
    store.gate.set()
    return await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_is_asked_meanwhile_is_answered_in_one_go() -> None:
    store = Store()
    numbers = list(range(20, 20 + MOST + 5))

    answers = await gathered(GroupCommit(store.answer), store, numbers)

    assert answers == [number * 2 for number in numbers]
    assert [len(some) for some in store.asked] == [1, MOST, 4] or [len(some) for some in store.asked] == [MOST, 5]


async def test_a_lone_question_waits_for_nobody() -> None:
    store = Store()
    store.gate.set()

    assert await GroupCommit(store.answer).ask(4) == 8
    assert store.asked == [[4]]


async def test_an_answer_that_is_an_exception_is_raised_for_its_own_question_alone() -> None:
    store = Store()

    answers = await gathered(GroupCommit(store.answer), store, [1, 2, -1, 3])

    assert [answer for answer in answers if not isinstance(answer, BaseException)] == [2, 4, 6]
    assert isinstance(answers[2], ClaimLost)


async def test_a_question_that_breaks_the_whole_breaks_nobody_elses() -> None:
    store = Store()

    answers = await gathered(GroupCommit(store.answer), store, [1, 2, 13, 3])

    assert [answers[0], answers[1], answers[3]] == [2, 4, 6]
    assert isinstance(answers[2], ValueError)


async def test_a_store_that_is_away_is_told_to_all_and_not_asked_once_more_for_each() -> None:
    store = Store()
    store.away = True

    answers = await gathered(GroupCommit(store.answer), store, [1, 2, 3])

    assert all(isinstance(answer, StoreUnavailable) for answer in answers)
    assert len(store.asked) <= 2


async def test_the_next_in_line_takes_up_what_a_cancelled_one_leaves() -> None:
    store = Store()
    together = GroupCommit(store.answer)
    first, second = asyncio.create_task(together.ask(1)), asyncio.create_task(together.ask(2))
    while not store.asked:
        await asyncio.sleep(0)

    first.cancel()
    store.gate.set()

    assert await second == 4
    with pytest.raises(asyncio.CancelledError):
        await first
