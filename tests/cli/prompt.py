"""The command as it is typed, in this process or in one of its own, between two simulators on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked
import tomli_w
from forked import Forked, command, fork
from log_setup import logging_put_back
from preloaded import for_shell
from stores import migrated

from kuma_sync.cli import main
from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.server import SimServer, SimTls

KUMA_TOKEN = "canary-kuma-token-4711"
IRP_TOKEN = "canary-irp-token-4712"
WEB_TOKEN = "canary-web-token-4713"
METRICS_TOKEN = "canary-metrics-token-4714"
NOWHERE = "http://127.0.0.1:1"


@dataclass(frozen=True, kw_only=True)
class Answered:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The one line on stderr that says what is wrong."""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]

    def lines(self, beginning: str) -> list[str]:
        return [line for line in self.out.splitlines() if line.startswith(beginning)]


def typed(*words: str) -> Answered:
    """Run a command in this process; its own event loop is made and ended by it."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with logging_put_back(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(list(words))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    return Answered(code=code, out=out.getvalue(), err=err.getvalue())


async def ask(*words: str) -> Answered:
    """Run a command while this loop serves the simulators."""
    return await asyncio.to_thread(typed, *words)


async def shell(*words: str, env: Mapping[str, str] | None = None) -> Answered:
    """Run a command in a process of its own, which begins with the libraries loaded."""
    code, out, err = await forked.ended(*words, env={**os.environ, **(env or {})})
    return Answered(code=code, out=out, err=err)


async def afresh(*words: str, **kwargs: Any) -> Answered:
    """Run a command in an interpreter of its own: with fewer rights, or in another folder."""
    return await ended(await started(*words, **kwargs))


async def started(
    *words: str, env: Mapping[str, str] | None = None, cwd: Path | None = None, unprivileged: bool = False
) -> asyncio.subprocess.Process:
    """Start a command in a process of its own; an `unprivileged` one must keep to permissions, even as root.

    Only that one is a new interpreter; what stands for another one hands signals on to it.
    """
    drop = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-m", "kuma_sync")
    return await asyncio.create_subprocess_exec(
        *(*(drop if unprivileged and os.geteuid() == 0 else for_shell()), *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})},
        cwd=cwd,
    )


async def ended(process: asyncio.subprocess.Process) -> Answered:
    """Wait for a process's end."""
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return Answered(code=process.returncode or 0, out=out.decode(), err=err.decode())


@asynccontextmanager
async def daemon(world: World) -> AsyncIterator[Forked]:
    """The daemon between the simulators, from its first read to its end."""
    log = world.folder / "daemon.log"
    process = fork(log, command, "run", "-c", str(world.config), env=os.environ)
    try:
        await until(lambda: world.kuma.requests or process.returncode is not None)
        assert process.returncode is None, log.read_text()
        yield process
    finally:
        process.terminate()
        await process.wait()


async def until(true: Callable[[], object], *, seconds: float = 20) -> None:
    """Wait until something is true."""
    last = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < last, "waited in vain"
        await asyncio.sleep(0.05)


def python(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the interpreter."""
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, timeout=60)


@dataclass(frozen=True, kw_only=True)
class World:
    """Both simulators and a configuration that joins them."""

    kuma: KumaSim
    irp: IrpSim
    folder: Path
    tables: dict[str, Any]

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def c(self) -> tuple[str, str]:
        return "-c", str(self.config)

    def configured(self, **tables: Any) -> tuple[str, str]:
        """Write another configuration: these keys differ. Give the option that names it."""
        return "-c", str(write_config(self.folder / "other.toml", merged(self.tables, tables)))


@asynccontextmanager
async def world(folder: Path, *, tls: SimTls | None = None, made: bool = True, **tables: Any) -> AsyncIterator[World]:
    """Start both simulators and write a configuration; `tables` are keys that differ from it.

    There is an empty store with our schema, unless it is not yet `made`.
    """
    kuma, irp = KumaSim(token=KUMA_TOKEN), IrpSim(token=IRP_TOKEN)
    async with SimServer(kuma.app, tls=tls) as kuma_server, SimServer(irp.app, tls=tls) as irp_server:
        written = merged(usual(folder, kuma_server.url, irp_server.url), tables)
        write_config(folder / "config.toml", written)
        store = folder / "store.db"
        if made and written["store"]["url"] == f"sqlite:///{store}":
            store.touch(mode=0o600)
            store.write_bytes(migrated())
        yield World(kuma=kuma, irp=irp, folder=folder, tables=written)


def usual(folder: Path, kuma: str = NOWHERE, irp: str = NOWHERE) -> dict[str, dict[str, Any]]:
    """The configuration of these tests: quick, and without a door unless one is asked for."""
    return {
        "kuma": {"url": kuma, "token": KUMA_TOKEN},
        "poll": {"interval": "300ms", "sweep_interval": "600ms"},
        "irp": {"url": irp, "token": IRP_TOKEN},
        "close": {"watch_interval": "300ms"},
        "retry": {"base": "100ms", "max": "1s"},
        "store": {"url": f"sqlite:///{folder}/store.db"},
        "web": {"listen": ""},
    }


def merged(tables: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Return tables with other keys; a list of tables takes the place of one."""

    def both(name: str) -> Any:
        given, keys = tables.get(name, {}), others.get(name, {})
        if name not in others or isinstance(keys, list):
            return others.get(name, given)
        return {**given, **keys}

    return {name: both(name) for name in [*tables, *(set(others) - set(tables))]}


def write_config(path: Path, tables: Mapping[str, Any]) -> Path:
    """Write tables as TOML."""
    path.touch(mode=0o600)
    path.write_text(tomli_w.dumps(tables), encoding="utf-8")
    return path
