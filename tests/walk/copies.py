"""Copies of the program as processes, each with a door of its own: what it says of itself, frozen and woken."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import child_program
import httpx
from addresses import somewhere
from child_program import Oddity
from forked import command, fork
from plain_http import plain_client
from stage import Child, Stage, eventually

from kuma_sync.app.build import open_store
from kuma_sync.core.alert import AlertId
from kuma_sync.core.link import Link
from kuma_sync.store import Store
from kuma_sync.sync.limits import Limits


@dataclass(kw_only=True)
class Copy(Child):
    """One process, and the address of its door."""

    url: str

    @property
    def pid(self) -> int:
        """Return its number."""
        return self.process.pid

    async def status(self, path: str) -> int:
        """Ask a door; 0 when nobody answers."""
        try:
            return (await self._get(path)).status_code
        except httpx.TransportError:
            return 0

    async def parts(self) -> dict[str, str]:
        """Return the state of every part, as `/readyz` has it."""
        answer = (await self._get("/readyz")).json()
        return {name: part["state"] for name, part in answer["parts"].items()}

    async def metric(self, name: str, *labels: str) -> float:
        """Return the sum of a metric's series whose labels hold all of these."""
        text = (await self._get("/metrics")).text
        series = re.findall(rf"^kuma_sync_{name}\{{(.*)\}} (\S+)$", text, flags=re.MULTILINE)
        return sum(float(value) for found, value in series if all(label in found for label in labels))

    async def _get(self, path: str) -> httpx.Response:
        async with plain_client(self.url, timeout=10) as client:
            return await client.get(path)

    async def delivered(self) -> float:
        """Return how many incidents it made."""
        return await self.metric("deliveries_total", 'operation="create"', 'result="ok"')

    async def reads(self) -> float:
        """Return how many reads of KUMA it ended."""
        return await self.metric("polls_total", 'result="complete"')

    def frozen(self) -> bool:
        """Tell whether it is stopped by a signal."""
        return Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"

    async def freeze(self) -> None:
        """Stop it wherever it is."""
        self.process.send_signal(signal.SIGSTOP)
        await eventually(self.frozen)

    def wake(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)


def start_copy(
    stage: Stage, *, env: dict[str, str] | None = None, limits: Limits | None = None, oddity: Oddity | None = None
) -> Copy:
    """Start the command, with limits of its own, or with an oddity."""
    listen = somewhere()
    stage.children += 1
    log = stage.folder / f"child-{stage.children}.log"
    words = ["run", "-c", str(stage.config)]
    door = {"KUMA_SYNC_WEB__LISTEN": listen, "KUMA_SYNC_WEB__METRICS_PUBLIC": "true"}
    surroundings = {**door, **(env or {})}
    if limits or oddity:
        process = fork(log, child_program.run, words, limits or Limits(), oddity or Oddity(), env=surroundings)
    else:
        process = fork(log, command, *words, env=surroundings)
    copy = Copy(process=process, log=log, url=f"http://{listen}")
    stage.owned.append(copy)
    return copy


async def started(*copies: Copy) -> None:
    """Wait until each works."""
    for copy in copies:
        await eventually(lambda copy=copy: copy.says("started"), within=60)


@asynccontextmanager
async def looked_at(stage: Stage) -> AsyncIterator[Store]:
    """Open the store beside the copies, to look at it only: nothing is made ready, or doubted."""
    store = open_store(stage.settings())
    try:
        yield store
    finally:
        await store.aclose()


async def stored_link(store: Store, alert_id: str) -> Link | None:
    """Return the link of an alert."""
    return await store.read(lambda tx: tx.links.get(AlertId(alert_id)))
