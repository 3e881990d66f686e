"""A crew that dies between any two steps, in the test's own process: whatever it held in memory is gone, cleanups too.

Sockets, engine and compiled templates are kept from life to life, and from one world to the next: only files and the
two sides' memories are new. So a life costs milliseconds.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from lives import BATCH, born, passing
from stage import QUICK, Stage
from starlette.types import Receive, Scope, Send
from stores import Clock

from kuma_sync.app.build import utc_now
from kuma_sync.app.remotes import Remotes, open_remotes
from kuma_sync.irp.load import profile_text
from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.server import SimServer
from kuma_sync.store import Store, Tx, store_url
from kuma_sync.store.migrate import upgrade
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.runtime.runner import Runtime

T = TypeVar("T")


class Killed(BaseException):
    """The process is gone. No cleanup of the program may get any further than its next step."""


class MortalStore(Store):
    """Counts steps, which are transactions and named points, and dies before the one after `left` more."""

    left: int | None = None
    dead = False

    def step(self, _point: str = "") -> None:
        """Take one step."""
        if self.left == 0:
            self.dead = True
        if self.dead:
            raise Killed
        if self.left is not None:
            self.left -= 1

    async def write(self, work: Callable[[Tx], T], *, long: bool = False) -> T:
        """Carry out a transaction that writes, unless this is where death comes."""
        self.step()
        return await super().write(work, long=long)

    async def read(self, work: Callable[[Tx], T], *, long: bool = False) -> T:
        """Carry out a transaction that reads, unless dead: reading changes nothing, so it is no step."""
        self._assure_alive()
        return await super().read(work, long=long)

    @contextmanager
    def writing(self) -> Iterator[Tx]:
        """Open a transaction that writes, as `write` does."""
        self.step()
        with super().writing() as tx:
            yield tx

    @contextmanager
    def reading(self) -> Iterator[Tx]:
        """Open a transaction that reads, as `read` does."""
        self._assure_alive()
        with super().reading() as tx:
            yield tx

    def _assure_alive(self) -> None:
        if self.dead:
            raise Killed


class _Socket:
    """What is served on one port: the present world's side."""

    def __init__(self) -> None:
        self.side: KumaSim | IrpSim | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.side is not None
        await self.side.app(scope, receive, send)


class House:
    """Where the worlds of a state machine take place, one after the other."""

    def __init__(self, folder: Path, profile: Callable[[str], str] = str) -> None:
        self._folder = folder
        self._profile = profile
        self._empty = folder / "empty.db"
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._sockets = (_Socket(), _Socket())
        self._remotes: Remotes | None = None
        self.stage: Stage = self.run(self._open())
        self.store: MortalStore

    def run(self, work: Awaitable[T]) -> T:
        """Run a coroutine in the house's loop."""

        async def inside() -> T:
            return await work

        return self._runner.run(inside())

    def new_world(self) -> Stage:
        """Forget both sides and the store."""
        clock = Clock()
        self.stage.kuma = KumaSim(token="kuma-token", clock=clock)
        self.stage.irp = IrpSim(token="irp-token", clock=clock)
        for socket, side in zip(self._sockets, (self.stage.kuma, self.stage.irp), strict=True):
            socket.side = side
        _copy(self._empty, self._folder / "store.db")
        return self.stage

    def begin_life(self) -> Runtime:
        """Start the program on what the store holds."""
        assert self._remotes is not None
        return self.run(born(self.stage.settings(), self.store, self._remotes))

    def live(self, work: Callable[[], Awaitable[T]], *, steps: int | None) -> bool:
        """Do some of the program's work, and die after so many steps; tell whether it died."""
        died, self.store.left = False, steps
        with passing(self.store.step):
            try:
                self.run(work())
            except* Killed:
                died = True
            finally:
                self.store.left, self.store.dead = None, False
        if died:
            self._bury()
        return died

    def _bury(self) -> None:
        """Wait until nothing of the dead one's is being written any more: the write lock is free."""
        with self.store.writing():
            pass

    def close(self) -> None:
        """Leave nothing open."""
        self.store.close()
        self.run(self._stack.aclose())
        self._runner.close()

    async def _open(self) -> Stage:
        servers = [await self._stack.enter_async_context(SimServer(socket)) for socket in self._sockets]
        profile = self._folder / "instant.toml"
        text = profile_text("security-vision").replace('settle = "5s"', 'settle = "10ms"')
        profile.write_text(self._profile(text.replace("batch = 500", f"batch = {BATCH}")))
        tables = {name: dict(keys) for name, keys in QUICK.items()}
        tables["kuma"] = {"url": servers[0].url, "token": "kuma-token"}
        tables["irp"] = {"url": servers[1].url, "token": "irp-token", "profile": str(profile), "concurrency": 1}
        tables["retry"] = {"base": "1ms", "max": "2ms"}
        tables["store"] = {"url": f"sqlite:///{self._folder}/store.db"}
        stage = Stage(
            kuma=KumaSim(),
            irp=IrpSim(),
            kuma_server=servers[0],
            irp_server=servers[1],
            folder=self._folder,
            database=tables["store"]["url"],
            tables=tables,
        )
        stage.configure()
        settings = stage.settings()
        self._remotes = await open_remotes(settings, utc_now, Limits(), self._stack)
        self.store = MortalStore(store_url(settings.store.url), clock=utc_now, horizon=timedelta(hours=1))
        upgrade(self.store)
        _copy(self._folder / "store.db", self._empty)
        return stage


def _copy(source: Path, target: Path) -> None:
    """Make one database what another one is, though it is open: a store that was closed cannot be opened again."""
    with closing(sqlite3.connect(source)) as whole, closing(sqlite3.connect(target)) as other:
        whole.backup(other)


@contextmanager
def housed(folder: Path, profile: Callable[[str], str] = str) -> Iterator[House]:
    """Open a house; `profile` changes the profile's text."""
    house = House(folder, profile)
    try:
        yield house
    finally:
        house.close()
