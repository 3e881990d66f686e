"""How the simulators' tests reach them: a real socket, and a client that carries the token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from plain_http import plain_client

from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.server import SimServer

Reach = Callable[[KumaSim | IrpSim], AbstractAsyncContextManager[httpx.AsyncClient]]


class HandClock:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now = datetime(2025, 3, 1, 8, 15, 2, 700_000, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def reach() -> Reach:
    @asynccontextmanager
    async def open_door(sim: KumaSim | IrpSim) -> AsyncIterator[httpx.AsyncClient]:
        async with SimServer(sim.app) as server:
            headers = {"authorization": f"Bearer {sim.token}"}
            async with plain_client(server.url, headers=headers, timeout=10) as client:
                yield client

    return open_door


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    async def wait(condition: Callable[[], object]) -> None:
        for _ in range(1000):
            if condition():
                return
            await asyncio.sleep(0.01)
        pytest.fail("what was waited for did not happen within 10 s")

    return wait
