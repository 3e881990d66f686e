"""Many small questions to the store, asked at the same time, answered in one go: a group commit.

A transaction costs a wait for the disk or the network however little it does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from kuma_sync.core.errors import StoreUnavailable

Q = TypeVar("Q")
A = TypeVar("A")

MOST = 32
"""Questions in one go: on SQLite more would hold the loop for too long."""


@dataclass(slots=True, eq=False)
class _Asked(Generic[Q, A]):
    question: Q
    answer: A | Exception | None = None
    answered: bool = False


class GroupCommit(Generic[Q, A]):
    """Hands what waits to `answer`, which returns as many answers, an exception being one.

    No task of its own: whoever comes first asks for all that wait by then, so a lone question waits for nobody.
    """

    def __init__(self, answer: Callable[[Sequence[Q]], Awaitable[Sequence[A | Exception]]]) -> None:
        self._answer = answer
        self._waiting: deque[_Asked[Q, A]] = deque()
        self._turn = asyncio.Lock()

    async def ask(self, question: Q) -> A:
        """Return the answer, or raise the exception that it is."""
        asked = _Asked[Q, A](question)
        self._waiting.append(asked)
        async with self._turn:
            # Whoever is about to ask in this same turn of the loop comes along.
            await asyncio.sleep(0)
            while not asked.answered:
                await self._answer_some()
        if isinstance(asked.answer, Exception):
            raise asked.answer
        return asked.answer  # type: ignore[return-value]  # answered, and A itself may be None

    async def _answer_some(self) -> None:
        some = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
        try:
            await self._answer_all(some)
        finally:
            # Only a cancelled one leaves some unanswered: the next in line takes them up.
            self._waiting.extendleft(asked for asked in reversed(some) if not asked.answered)

    async def _answer_all(self, some: Sequence[_Asked[Q, A]]) -> None:
        answers: Sequence[A | Exception]
        try:
            answers = await self._answer([asked.question for asked in some])
        except StoreUnavailable as error:
            answers = [error] * len(some)
        except Exception as error:
            # Part of the worker's boundary: one job's bug must not become its neighbours'.
            if len(some) > 1:
                for asked in some:
                    await self._answer_all([asked])
                return
            answers = [error]
        for asked, answer in zip(some, answers, strict=True):
            asked.answer, asked.answered = answer, True
