"""What `/livez`, `/readyz` and systemd's watchdog say in every kind of trouble, by real processes on real sockets.

All limits are made short in the same proportion (child_program.QUICK), so that what takes minutes takes seconds here.
"""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import postgres
import psycopg
import pytest
from child_program import KEPT_ALIVE, LIVE, Does, Oddity
from copies import Copy, start_copy, started
from stage import Stage, eventually, staged

from kuma_sync.sync.limits import Limits
from kuma_sync.telemetry.health import Health, State

INTERVAL = 2.0
HOLD = LIVE * 1.5
"""Seconds for which an answer must stay: longer than a loop may stand still."""

LATE = 10.0
"""Seconds that an answer may come too late on a busy machine."""

SLACK = 40.0
"""Seconds for the start of some processes on a busy machine."""

Trouble = Callable[[Stage], Awaitable[Callable[[], None] | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The answers of the two doors, and whether the watchdog was fed."""

    livez: int
    readyz: int
    fed: bool


WELL = Said(livez=200, readyz=200, fed=True)
UNWELL = Said(livez=200, readyz=503, fed=True)
DEAD = Said(livez=503, readyz=503, fed=False)

EXPECTED = {
    "our own": {
        "idle night": WELL,
        "the poll loop keeps raising": UNWELL,
        "the delivery loop keeps raising": UNWELL,
        "the poll loop hangs": DEAD,
        "the delivery loop hangs": DEAD,
    },
    "remotes": {
        "KUMA down": UNWELL,
        "KUMA answers nothing": UNWELL,
        "IRP down": UNWELL,
        "IRP answers nothing": UNWELL,
    },
    "databases": {
        "SQLite locked": UNWELL,
        "PostgreSQL locked": UNWELL,
        "PostgreSQL down": UNWELL,
    },
}
"""The matrix. Nothing that a remote or the database does makes `/livez` fail: a restart would not help."""


async def nothing(_stage: Stage) -> None:
    """Let an idle night begin."""


async def kuma_stops(stage: Stage) -> None:
    await stage.kuma_server.stop()


async def kuma_hangs(stage: Stage) -> None:
    stage.kuma.faults.add("hang")


async def irp_stops(stage: Stage) -> None:
    await stage.irp_server.stop()


async def irp_hangs(stage: Stage) -> None:
    stage.irp.faults.add("hang")


async def sqlite_locked(stage: Stage) -> Callable[[], None]:
    """Let another program write, and never end."""
    other = sqlite3.connect(stage.database.removeprefix("sqlite:///"), isolation_level=None, timeout=10)
    other.execute("BEGIN IMMEDIATE")
    return other.close


async def postgres_locked(stage: Stage) -> Callable[[], None]:
    """Let an administrator hold the tables that everything needs."""
    other = await asyncio.to_thread(psycopg.connect, stage.database)
    for table in ("lease", "delivery_queue", "close_queue"):
        await asyncio.to_thread(other.execute, f"LOCK TABLE {table}")
    return other.close


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One kind of trouble: on which store (else a file), by which oddity, or by what is done to it."""

    database: str = ""
    trouble: Trouble = nothing
    oddity: Oddity | None = None


class Watchdog:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(str(path))
        self.env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"}

    def fed(self) -> int:
        """Return how often the watchdog was fed since it was last asked."""
        count = 0
        while True:
            try:
                count += self._socket.recv(4096) == b"WATCHDOG=1"
            except BlockingIOError:
                return count

    def close(self) -> None:
        """Take no more."""
        self._socket.close()


@asynccontextmanager
async def watched(folder: Path, row: Row) -> AsyncIterator[tuple[Stage, Copy, Watchdog]]:
    """Run a daemon with short limits, until it is ready or, with an oddity, until it works."""
    interval = f"{INTERVAL:g}s"
    sections = {
        "poll": {"interval": interval, "sweep_interval": interval},
        "close": {"watch_interval": interval},
        "kuma": {"read_timeout": "2s"},
        "irp": {"read_timeout": "2s"},
    }
    async with staged(folder, row.database or f"sqlite:///{folder}/store.db") as stage:
        for section, keys in sections.items():
            stage.configure(**{section: keys})
        watchdog = Watchdog(folder / "notify")
        try:
            copy = start_copy(stage, env=watchdog.env, limits=KEPT_ALIVE, oddity=row.oddity)
            await started(copy)
            stage.kuma.raise_alert()
            if row.oddity is None:
                await eventually(lambda: _all_is_well(stage, copy), within=SLACK)
            yield stage, copy, watchdog
        finally:
            watchdog.close()


async def _all_is_well(stage: Stage, copy: Copy) -> bool:
    return bool(stage.irp.incidents) and await copy.status("/readyz") == 200


async def observed(copy: Copy, watchdog: Watchdog, expected: Said) -> Said:
    """See what the doors say, and once more where that was something else: this machine may have stood still."""
    said = await _observed(copy, watchdog, expected)
    return said if said == expected else await _observed(copy, watchdog, expected)


async def _observed(copy: Copy, watchdog: Watchdog, expected: Said) -> Said:
    """Wait until the doors say what is expected, then see whether they keep saying so; return what they said."""
    deadline = time.monotonic() + 2 * INTERVAL + LIVE + LATE
    while await _doors(copy) != (expected.livez, expected.readyz) and time.monotonic() < deadline:
        await asyncio.sleep(0.3)
    watchdog.fed()
    answers, until = set[tuple[int, int]](), time.monotonic() + HOLD
    while time.monotonic() < until:
        answers.add(await _doors(copy))
        await asyncio.sleep(0.6)
    livez, readyz = (max(codes) if len(set(codes)) == 1 else -1 for codes in zip(*answers, strict=True))
    return Said(livez=livez, readyz=readyz, fed=watchdog.fed() > 0)


async def _doors(copy: Copy) -> tuple[int, int]:
    return await copy.status("/livez"), await copy.status("/readyz")


async def several(folder: Path, rows: dict[str, Row], expected: dict[str, Said]) -> dict[str, Said]:
    """Run one daemon a row, all at the same time."""
    cells = [cell(folder / str(number), row, expected[name]) for number, (name, row) in enumerate(rows.items())]
    return dict(zip(rows, await asyncio.gather(*cells), strict=True))


async def cell(folder: Path, row: Row, expected: Said) -> Said:
    """Run one daemon into its trouble."""
    folder.mkdir()
    async with watched(folder, row) as (stage, copy, watchdog):
        end = await row.trouble(stage)
        try:
            return await observed(copy, watchdog, expected)
        finally:
            if end is not None:
                end()


def our_own() -> dict[str, Row]:
    return {
        "idle night": Row(),
        "the poll loop keeps raising": Row(oddity=Oddity(loop="poll", does=Does.RAISE)),
        "the delivery loop keeps raising": Row(oddity=Oddity(loop="delivery", does=Does.RAISE)),
        "the poll loop hangs": Row(oddity=Oddity(loop="poll", does=Does.HANG)),
        "the delivery loop hangs": Row(oddity=Oddity(loop="delivery", does=Does.HANG)),
    }


def remotes() -> dict[str, Row]:
    return {
        "KUMA down": Row(trouble=kuma_stops),
        "KUMA answers nothing": Row(trouble=kuma_hangs),
        "IRP down": Row(trouble=irp_stops),
        "IRP answers nothing": Row(trouble=irp_hangs),
    }


def databases(locked: str, server: postgres.Server) -> dict[str, Row]:
    async def postgres_stops(_stage: Stage) -> None:
        server.kill()

    return {
        "SQLite locked": Row(trouble=sqlite_locked),
        "PostgreSQL locked": Row(database=locked, trouble=postgres_locked),
        "PostgreSQL down": Row(database=server.url, trouble=postgres_stops),
    }


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", list(EXPECTED))
async def test_health_tells_the_truth_in_every_kind_of_trouble(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    with ExitStack() as stack:
        match kind:
            case "our own":
                rows = our_own()
            case "remotes":
                rows = remotes()
            case _:
                server = stack.enter_context(postgres.restartable())
                if server is None:
                    pytest.skip("needs a PostgreSQL that can be killed")
                rows = databases(str(request.getfixturevalue("postgres_url")), server)

        said = await several(tmp_path, rows, EXPECTED[kind])

    assert said == EXPECTED[kind]


async def test_reads_that_bring_nothing_show_after_two_intervals_and_not_before(
    tmp_path: Path, sqlite_url: str
) -> None:
    interval, passed = 600.0, [0.0]
    health = Health(monotonic=lambda: passed[0])
    async with (
        staged(tmp_path, sqlite_url, poll={"interval": f"{interval:g}s"}) as stage,
        stage.working(health=health, limits=Limits(observed_every=timedelta(milliseconds=100))),
    ):
        await eventually(lambda: health.ready().ready)
        passed[0] += interval * 2
        # All but the reads say at once again that they are well, and so does the whole.
        await eventually(lambda: health.ready().ready)
        passed[0] += 1
        late = health.ready()

    assert not late.ready
    assert {name: part.reason for name, part in late.parts.items() if part.state is State.FAILING} == {
        "poll": f"no success for {interval * 2 + 1:.0f} s"
    }


async def test_deliveries_tried_in_vain_show_and_an_empty_queue_never_does(tmp_path: Path, sqlite_url: str) -> None:
    limits = Limits(drought=timedelta(seconds=1), observed_every=timedelta(milliseconds=100))
    async with staged(tmp_path, sqlite_url) as stage, stage.working(limits=limits) as runtime:
        await eventually(lambda: runtime.health.ready().ready)
        await asyncio.sleep(1.5)  # nothing can be waited for: nothing happens, for longer than work may wait
        await eventually(lambda: runtime.health.ready().ready)  # a stall makes it old news for a moment that none waits
        refused = stage.irp.faults.add("status", method="POST", code=500)
        alert_id = stage.kuma.raise_alert()
        vain = await eventually(lambda: _tried_in_vain(runtime.health))
        stage.irp.faults.remove(refused)
        await eventually(lambda: stage.incidents(alert_id) and runtime.health.ready().ready)

    assert "though work waits" in vain


def _tried_in_vain(health: Health) -> str:
    part = health.ready().parts["delivery"]
    return part.reason if part.state is State.FAILING else ""
