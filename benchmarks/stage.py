"""Shared by the benchmarks: the bare servers, a configuration, and the runtime in this process or as daemons."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))  # measure this tree, not an installed package
os.environ["PYTHONPATH"] = str(ROOT)

Tables = Mapping[str, Any]

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Remotes:
    """Where the two bare servers answer."""

    kuma: str
    irp: str

    def tell_kuma(self, order: str) -> dict[str, Any]:
        """Give KUMA one of the benchmarks' own orders; return what it had counted since the last one."""
        answer: dict[str, Any] = json.loads(fetch(f"{self.kuma}/_{order}"))
        return answer

    def made(self) -> dict[str, Any]:
        """Return what the IRP was asked to make."""
        answer: dict[str, Any] = json.loads(fetch(f"{self.irp}/_made"))
        return answer


def fetch(url: str, headers: Mapping[str, str] | None = None) -> bytes:
    """Return what a URL answers."""
    asked = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310  # our own servers
    with _OPENER.open(asked, timeout=60) as answer:
        return bytes(answer.read())


@contextmanager
def servers(**options: float) -> Iterator[Remotes]:
    """Run the bare servers; the options are those of servers.py, `keep=1` is a flag."""
    command = [sys.executable, str(HERE / "servers.py")]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        command += [flag] if name == "keep" else [flag, str(value)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # our own script
        if process.stdout is None or process.stdin is None:
            raise RuntimeError("no pipes")
        kuma, irp = process.stdout.readline().split()
        try:
            yield Remotes(kuma=kuma, irp=irp)
        finally:
            process.stdin.close()


def configure(folder: Path, remotes: Remotes, tables: Tables | None = None) -> Path:
    """Write a configuration for these servers, with keys of other tables; return its path."""
    said: dict[str, Any] = {
        "kuma": {"url": remotes.kuma, "token": "x", "instance": "bench"},
        "irp": {"url": remotes.irp, "token": "x"},
        "store": {"url": f"sqlite:///{folder}/bench.db"},
        "web": {"listen": ""},
        "log": {"level": "error", "format": "json"},
    }
    for table, keys in (tables or {}).items():
        said[table] = keys if isinstance(keys, list) else {**said.get(table, {}), **keys}
    path = folder / "config.toml"
    path.touch(mode=0o600)
    path.write_text(tomli_w.dumps(said), encoding="utf-8")
    return path


@asynccontextmanager
async def shared() -> AsyncIterator[Callable[[Path], Any]]:
    """Yield a function that builds a runtime from a configuration file; all of them share the first one's store."""
    import logging  # noqa: PLC0415  # the package is loaded only by those who work in this process

    import structlog  # noqa: PLC0415

    from kuma_sync.app.build import build, open_store  # noqa: PLC0415
    from kuma_sync.app.lifecycle import make_ready  # noqa: PLC0415
    from kuma_sync.app.shared_state import SharedState  # noqa: PLC0415
    from kuma_sync.settings import load  # noqa: PLC0415

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    found: list[SharedState] = []
    async with AsyncExitStack() as stack:

        async def runtime(config: Path) -> Any:
            settings = load(config, {})
            if not found:
                store = open_store(settings)
                stack.push_async_callback(store.aclose)
                found.append(SharedState(store=store))
                await make_ready(store, await build(settings, found[0], stack), found[0].owner)
            return await build(settings, found[0], stack)

        yield runtime


@contextmanager
def daemon(config: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Let a real `kuma-sync run` work while the block runs."""
    command = [sys.executable, "-m", "kuma_sync", "run", "-c", str(config)]
    surroundings = {**os.environ, **environment}
    process = subprocess.Popen(command, env=surroundings, stdout=subprocess.DEVNULL)  # noqa: S603  # the program itself
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until(condition: Callable[[], bool], *, within: float, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until a condition holds; raise TimeoutError when it does not, RuntimeError when the process ended."""
    deadline = time.monotonic() + within
    while not condition():
        if process is not None and process.poll() is not None:
            raise RuntimeError(f"the daemon ended with {process.returncode}")
        if time.monotonic() > deadline:
            raise TimeoutError("it takes too long")
        time.sleep(0.05)


def answers(url: str, headers: Mapping[str, str] | None = None) -> bool:
    """Tell whether a URL answers 200."""
    with contextlib.suppress(OSError):
        return bool(fetch(url, headers) is not None)
    return False


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
