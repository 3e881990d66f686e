"""The program's lives: as a process that is killed, and as the one that comes after it, in the test's own loop.

Connections, compiled templates and statements outlive a life here: to make them costs more than what a life does.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import build
from forked import fork
from stage import Stage, change_profile, let_leases_run_out, staged

from kuma_sync.app.build import RuntimeBuilder, open_store, utc_now
from kuma_sync.app.remotes import Remotes, open_remotes
from kuma_sync.app.shared_state import SharedState
from kuma_sync.app.usable_store import make_ready
from kuma_sync.settings import Settings
from kuma_sync.store import Store
from kuma_sync.sync import failpoint
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once

BATCH = 2
"""Events in one request: three need a second one."""


async def born(settings: Settings, store: Store, remotes: Remotes) -> Runtime:
    """Begin a life on a store: a crew that knows nothing but what is written there."""
    shared = SharedState(store=store)
    runtime = RuntimeBuilder(settings, shared, remotes).runtime()
    await make_ready(store, runtime, shared.owner)
    return runtime


@contextmanager
def passing(at: Callable[[str], None]) -> Iterator[None]:
    """Have something done at every point passed in this process."""
    before, failpoint.at = failpoint.at, at
    try:
        yield
    finally:
        failpoint.at = before


@dataclass(kw_only=True)
class Lives:
    """One stage, one database, and one life after the other."""

    stage: Stage
    settings: Settings
    store: Store
    remotes: Remotes
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def process(self, point: str = "", visit: int = 1, *, born: Callable[[int], None] | None = None) -> int:
        """Live as a process of its own, `run --once`; return its exit code. `born` is told its number at once."""
        log = self.stage.folder / f"process-{next(self.numbers)}.log"
        words = ["run", "--once", "-c", str(self.stage.config)]
        process = fork(log, build.run, point, visit, words)
        try:
            if born is not None:
                born(process.pid)
            async with asyncio.timeout(30):
                return await process.wait()
        except TimeoutError:
            raise AssertionError(f"the process did not end; it said:\n{log.read_text()}") from None
        finally:
            process.kill()

    async def once(self) -> bool:
        """Live for one complete pass in this process; tell whether nothing failed and nothing waits afterwards."""
        runtime = await born(self.settings, self.store, self.remotes)
        troubles = await once(runtime)
        return not troubles and not any(waiting(self.store).values())

    async def recover(self) -> None:
        """Come after a life that ended badly, and bring all to rest."""
        if not self.store.local:  # on a local file nobody waits for the dead one's leases
            await self.store.write(let_leases_run_out)
        await self.rest()

    async def rest(self) -> None:
        """Do pass after pass until nothing waits; fail where that never is."""
        for _attempt in range(40):
            if await self.once():
                return
            # Nothing can be waited for but time: a back-off, or the second look of a find.
            await asyncio.sleep(0.05)
        raise AssertionError(f"does not come to rest: {waiting(self.store)}")

    async def delivered(self, number: int) -> list[str]:
        """Let so many small alerts appear, bring them to rest, and return their ids."""
        ids = [self.stage.kuma.raise_alert(events=1) for _ in range(number)]
        if ids:
            await self.rest()
        return ids


def waiting(store: Store) -> dict[str, int]:
    """Count what is queued, parked or held: `delivery pending`, `close parked`, …; nothing at rest."""
    with store.reading() as tx:
        depths = {"delivery": tx.delivery.depths(), "close": tx.closes.depths()}
        found = {f"{queue} {state}": count for queue, states in depths.items() for state, count in states.items()}
        return found | {"rejected": tx.rejects.count(), "held": len(tx.links.held())}


@asynccontextmanager
async def lives(
    folder: Path, database: str, *, concurrency: int, profile: Callable[[str], str] = str
) -> AsyncIterator[Lives]:
    """Open a stage for many lives: quick to look twice, two events a request, an IRP that finds late."""
    async with staged(folder, database, irp={"concurrency": concurrency}) as stage, AsyncExitStack() as stack:
        change_profile(stage, lambda text: profile(text.replace("batch = 500", f"batch = {BATCH}")))
        stage.irp.knobs.find_lag = 0.1
        settings = stage.settings()
        store = open_store(settings)
        stack.push_async_callback(store.aclose)
        remotes = await open_remotes(settings, utc_now, Limits(), stack)
        yield Lives(stage=stage, settings=settings, store=store, remotes=remotes)
