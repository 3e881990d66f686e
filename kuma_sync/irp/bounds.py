"""Keeps a template or a JMESPath from running away: how long it may take, and how much it may make.

What it stops and what not is in docs/adr/0024-bounded-templates.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, Token
from itertools import chain
from time import monotonic, thread_time
from typing import TypeVar

TIME = 2.0
"""Seconds that one request's templates, or the expressions over one answer, may take."""

MOMENT = 0.1
"""Seconds of that on the event loop: what takes longer is done again in a thread."""

SIZE = 64 << 20
"""Characters and values that they may make."""

_STEPS, _LARGE = 16, 10_000
"""Steps between two looks at the clock, and characters that take as long."""

_THREADS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="templates")
"""Not those of others: names of hosts are looked up there, and no more may take the processor at once."""

T = TypeVar("T")

_CONTAINERS = (dict, list, tuple)


class CutOff(Exception):
    """It ran away. Where it is not `final`, it may be tried once more with more time."""

    def __init__(self, problem: str, *, final: bool = True) -> None:
        super().__init__(problem)
        self.problem = problem
        self.final = final


class Budget:
    """What is left of time and room. `composed`: values may stand in several places, so size does not bound them.

    The time that counts is our own, not that in which others had the processor; a budget that is not `final` does not
    care.
    """

    __slots__ = ("_began", "_final", "_made", "_seconds", "_steps", "_until", "composed")

    def __init__(self, seconds: float = TIME, *, final: bool = True) -> None:
        self._seconds = seconds
        self._final = final
        self._began = thread_time() if final else 0.0
        self._until = monotonic() + seconds
        self._made = 0
        self._steps = 0
        self.composed = False

    def step(self) -> None:
        """Count a step. Raise CutOff where the time is over."""
        self._steps += 1
        if not self._steps % _STEPS:
            self._look_at_the_clock()

    def add(self, size: int) -> None:
        """Count what was made, or is about to be. Raise CutOff where it is too much."""
        self._made += size
        if self._made > SIZE:
            raise self.too_large()
        if size > _LARGE:
            self._look_at_the_clock()

    def _look_at_the_clock(self) -> None:
        now = monotonic()
        if now <= self._until:
            return
        left = self._seconds - (thread_time() - self._began) if self._final else 0.0
        if left <= 0:
            raise CutOff(f"was cut off after {self._seconds:g} s", final=self._final)
        self._until = now + left

    def too_large(self) -> CutOff:
        """Return the error for what would take too much room."""
        return CutOff(f"was cut off at {SIZE >> 20} MB")

    def size(self, value: object, most: int = SIZE) -> int:
        """Return how large a value is, written out. Raise CutOff where that is more than `most`."""
        if not isinstance(value, _CONTAINERS):
            value = [value]
        total, left = 0, [value]
        while left:
            self.step()
            node = left.pop()
            total += len(node)
            for inner in _parts(node):
                if isinstance(inner, str):
                    total += len(inner)
                elif isinstance(inner, _CONTAINERS):
                    left.append(inner)
            if total > most:
                raise self.too_large()
        return total

    def admit(self, *values: object) -> None:
        """Raise CutOff where what is about to be written out is too large: nobody can stop it then."""
        if self.composed:
            for value in values:
                if isinstance(value, _CONTAINERS):
                    self.size(value)


def _parts(node: Collection[object]) -> Iterator[object]:
    return chain(node, node.values()) if isinstance(node, dict) else iter(node)


_current: ContextVar[Budget | None] = ContextVar("budget", default=None)


def budget() -> Budget:
    """Return the budget of what is being done now."""
    return _current.get() or Budget()


class bounded:  # noqa: N801  # it is used as a function: @contextmanager takes three times as long
    """Set the budget of what is done inside, unless there is one already."""

    __slots__ = ("_final", "_seconds", "_token")

    def __init__(self, seconds: float = TIME, *, final: bool = True) -> None:
        self._seconds = seconds
        self._final = final
        self._token: Token[Budget | None] | None = None

    def __enter__(self) -> None:
        if _current.get() is None:
            self._token = _current.set(Budget(self._seconds, final=self._final))

    def __exit__(self, *_error: object) -> None:
        if self._token is not None:
            _current.reset(self._token)


async def patiently(work: Callable[[], T]) -> T:
    """Do bounded work here; if it takes longer than a moment, once more in a thread, beside the event loop."""
    try:
        with bounded(MOMENT, final=False):
            return work()
    except CutOff as cut:
        if cut.final:
            raise
    return await asyncio.get_running_loop().run_in_executor(_THREADS, _whole, work)


def _whole(work: Callable[[], T]) -> T:
    with bounded():
        return work()
