"""Let a program work between both simulators until its store holds every kind of row, and write down all three.

Run it before a migration is written, with the schema that is the newest then:

    python tests/upgrade/record.py 0015              # the program of this checkout
    python tests/upgrade/record.py 0008 /old/checkout

What it writes into `stores/` stays as it is for ever: it is what a store of that schema looks like.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sqlite3
import sys
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tomli_w

from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.server import SimServer

STORES = Path(__file__).parent / "stores"
ROOT = Path(__file__).resolve().parents[2]

NAMES = (
    *("grown", "growing", "closed-there", "closed-here", "closing-there", "closing-here", "gone", "poison"),
    *("poison-dropped", "odd", "incident-deleted"),
)
"""Alerts of the first pass; what becomes of each is below."""

INCIDENTS = "/api/v1/incidents"
FAILS = {"base": "10m", "max": "1h"}
"""What fails is not tried again while a store is recorded."""


@dataclass(kw_only=True)
class Recording:
    """A program, its folder, and the simulators that it works between."""

    program: Path
    revision: str
    folder: Path
    kuma: KumaSim
    irp: IrpSim
    tables: dict[str, dict[str, Any]]
    ids: dict[str, str] = field(default_factory=dict)

    async def kuma_sync(self, *words: str, ends: bool = True, **tables: dict[str, Any]) -> asyncio.subprocess.Process:
        """Start a command of that program, with these keys changed; wait for its end unless it is to go on."""
        both = {name: {**self.tables.get(name, {}), **tables.get(name, {})} for name in [*self.tables, *tables]}
        config = self.folder / "config.toml"
        config.write_text(tomli_w.dumps({**both, **self._north()}))
        config.chmod(0o600)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kuma_sync", *words, "-c", str(config)),
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(self.program), os.environ.get("PYTHONPATH", "")])},
            stdout=asyncio.subprocess.PIPE,
            stderr=None if os.environ.get("LOUD") else asyncio.subprocess.DEVNULL,
        )
        if ends:
            await process.wait()
        return process

    def _north(self) -> dict[str, Any]:
        """Return a target that polls, for programs that know such."""
        if self.revision < "0010":
            return {}
        north = {"profile": "security-vision-pull", "token": "token-of-north"}
        return {"targets": {"north": north}, "route": [{"names": ["^north"], "target": "north"}]}

    def raises(self, *names: str, **more: Any) -> None:
        for name in names:
            self.ids[name] = self.kuma.raise_alert(name=name, **{"events": 1, **more})

    def incident(self, name: str) -> str:
        (found,) = self.irp.by_key(f"kuma:kuma:{self.ids[name]}")
        return found.id

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not true():
                await asyncio.sleep(0.02)


async def story(at: Recording) -> None:
    """Let everything happen that leaves a row."""
    await _a_first_pass(at)
    await _a_day(at)
    await _a_brake(at)
    await _an_outage(at)
    await _a_kill(at)


async def _a_first_pass(at: Recording) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=10)
    at.raises("ignored", seen=long_ago)
    at.raises(*NAMES)
    at.irp.knobs.reject_titles = "^poison"
    at.kuma.knobs.strays = [{"name": "a piece without an id"}]
    await at.kuma_sync("run", "--once")
    at.kuma.knobs.strays = []


async def _a_day(at: Recording) -> None:
    """Both sides go on: closings, growth, an alert and an incident that are deleted."""
    at.kuma.grow(at.ids["grown"])
    at.irp.analyst_edit(at.incident("grown"), severity="Critical")
    at.irp.analyst_close(at.incident("closed-there"), "False positive")
    at.irp.analyst_close(at.incident("odd"), "A resolution that nobody listed")
    at.kuma.close(at.ids["closed-here"])
    at.kuma.delete(at.ids["gone"])
    at.irp.delete(at.incident("incident-deleted"))
    at.kuma.grow(at.ids["incident-deleted"])
    at.raises("missed")
    at.kuma.close(at.ids["missed"])
    if at.revision >= "0010":
        at.raises("north-1", "north-2")
    await at.kuma_sync("run", "--once")
    await at.kuma_sync("run", "--once")  # an empty resolution, or what is missing, may have to be seen twice
    await at.kuma_sync("drop", at.ids["poison-dropped"], *(["--yes"] if at.revision >= "0008" else []))


async def _a_brake(at: Recording) -> None:
    at.raises("braked-1", "braked-2", "braked-3")
    await at.kuma_sync("run", "--once", brake={"max_new": 1})


async def _an_outage(at: Recording) -> None:
    """The answer of one create is lost, one never arrives, then nothing is answered any more."""
    at.raises("doubted")
    at.irp.faults.add("reset_after", method="POST", match=f"{INCIDENTS}$")
    await at.kuma_sync("run", "--once")
    at.irp.faults.clear()
    at.irp.faults.add("reset_before", method="POST", match=f"{INCIDENTS}$")
    at.raises("never-arrived")
    await at.kuma_sync("run", "--once")
    at.irp.faults.clear()
    at.irp.faults.add("status", code=503)
    at.kuma.grow(at.ids["growing"])
    at.kuma.close(at.ids["closing-here"])
    at.raises("new")
    await at.kuma_sync("run", "--once")
    at.irp.faults.clear()
    await at.kuma_sync("close", at.ids["closing-there"], "--reason", "incorrect data", "--comment", "not an attack")


async def _a_kill(at: Recording) -> None:
    """A daemon is killed while a create is under way."""
    at.irp.faults.add("hang", method="POST", match=f"{INCIDENTS}$")
    at.kuma.faults.add("status", method="POST", code=503)
    at.raises("under-way")
    before = len(at.irp.requests)
    process = await at.kuma_sync("run", ends=False)
    await at.until(lambda: any((one.method, one.path) == ("POST", INCIDENTS) for one in at.irp.requests[before:]))
    process.kill()
    await process.wait()
    at.irp.faults.clear()
    at.kuma.faults.clear()


def rows(file: Path) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every table; bytes in base 64."""
    with closing(sqlite3.connect(file)) as database:
        database.row_factory = sqlite3.Row
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            table: [
                {key: _as_text(row[key]) for key in row.keys()}  # noqa: SIM118  # sqlite3.Row is no mapping
                for row in database.execute(f'SELECT * FROM "{table}"')
            ]
            for table in sorted(tables)
        }


def _as_text(value: Any) -> Any:
    return {"bytes": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


async def record(revision: str, program: Path) -> dict[str, Any]:
    """Play the story with a program; return what is there then."""
    kuma, irp = KumaSim(seed=int(revision)), IrpSim(seed=int(revision))
    with TemporaryDirectory() as name:
        folder = Path(name)
        async with SimServer(kuma.app) as kuma_server, SimServer(irp.app) as irp_server:
            tables: dict[str, dict[str, Any]] = {
                "kuma": {"url": kuma_server.url, "token": kuma.token},
                "irp": {"url": irp_server.url, "token": irp.token},
                "store": {"url": f"sqlite:///{folder}/store.db"},
                "poll": {"interval": "300ms", "ignore_before": f"{datetime.now(UTC) - timedelta(days=5):%FT%TZ}"},
                "close": {"default_reason": "", "reasons": {"False positive": "incorrect data"}},
                "retry": FAILS,
                "web": {"listen": ""},
            }
            at = Recording(program=program, revision=revision, folder=folder, kuma=kuma, irp=irp, tables=tables)
            await story(at)
            told = await at.kuma_sync("alerts", "--json", "--limit", "1000")
            assert told.stdout is not None
            states = json.loads(await told.stdout.read())
        return {
            "names": at.ids,
            "states": {one["alert_id"]: one["state"] for one in _listed(states)},
            "alerts": list(kuma.alerts.values()),
            "shown": sorted(kuma.shown),
            "incidents": [asdict(one) for one in irp.incidents.values()],
            "deleted": [asdict(one) for one in irp.deleted],
            "irp_url": irp_server.url,
            "rows": rows(folder / "store.db"),
        }


def _listed(told: Any) -> list[dict[str, Any]]:
    return list(told["alerts"] if isinstance(told, dict) else told)


def main() -> None:
    revision, program = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else ROOT).resolve()
    recorded = asyncio.run(record(revision, program))
    (version,) = recorded["rows"]["alembic_version"]
    assert version["version_num"] == revision, f"that program's schema is {version['version_num']}"
    STORES.mkdir(exist_ok=True)
    text = json.dumps(recorded, default=str, separators=(",", ":"))
    (STORES / f"{revision}.json.z").write_bytes(zlib.compress(text.encode(), 9))
    said = {name: recorded["states"].get(id_) for name, id_ in recorded["names"].items()}
    counts = {table: len(found) for table, found in recorded["rows"].items() if found}
    sys.stdout.write(f"{revision}: {counts}\n{said}\n")


if __name__ == "__main__":
    main()
