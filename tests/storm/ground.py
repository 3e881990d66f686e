"""Where the storm takes place: both sides on real sockets, a database, and the daemon between them.

Must not: disturb anything; that is weather and machines.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
from postgres import Server
from sides import StampedIrp, Witness
from supervised import ENVIRONMENT, FAKETIME, Daemon

from kuma_sync.irp.loading import profile_text
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.server import SimServer

DOOR_TOKEN = "door-token"
REASONS = {"False positive": "incorrect data", "Rule needs tuning": "incorrect correlation rule"}

CONFIG = """
[kuma]
url = "{kuma}"
token_file = "{folder}/kuma.token"
connect_timeout = "1s"
read_timeout = "2s"
[poll]
interval = "300ms"
sweep_interval = "1s"
overlap = "5s"
[irp]
url = "{irp}"
token_file = "{folder}/irp.token"
profile = "{folder}/quick.toml"
connect_timeout = "1s"
read_timeout = "1s"
[close]
watch_interval = "300ms"
[close.reasons]
"False positive" = "incorrect data"
"Rule needs tuning" = "incorrect correlation rule"
[retry]
base = "200ms"
max = "2s"
[brake]
max_closed_percent = 100
[store]
url = "{store}"
[run]
grace = "5s"
[web]
listen = "127.0.0.1:{port}"
[web.tokens]
desk = "{door}"
[log]
level = "debug"
format = "json"
"""


@dataclass(kw_only=True)
class Ground:
    """All that the storm is played on."""

    folder: Path
    kuma: KumaSim
    irp: StampedIrp
    witness: Witness
    kuma_server: SimServer
    irp_server: SimServer
    daemon: Daemon
    url: str
    postgres: Server | None
    disk: Path | None
    port: int

    @property
    def sqlite(self) -> Path | None:
        """Return the SQLite file, or None on PostgreSQL."""
        return Path(self.url.removeprefix("sqlite:///")) if self.url.startswith("sqlite") else None

    async def command(self, *arguments: str) -> str:
        """Run one of our commands beside the daemon; return what it printed."""
        words = [sys.executable, "-m", "kuma_sync", *arguments, "-c", str(self.daemon.config)]
        process = await asyncio.create_subprocess_exec(
            *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
        )
        out, err = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"{arguments} ended with {process.returncode}: {err.decode()[-500:]}")
        return out.decode()

    def client(self) -> httpx.AsyncClient:
        """Return a client of the daemon's doors that may pass them."""
        headers = {"Authorization": f"Bearer {DOOR_TOKEN}"}
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers=headers, trust_env=False, timeout=5)

    async def forget_the_dead(self) -> None:
        """Let the leases of a daemon that was killed run out now: on PostgreSQL that takes up to a minute."""
        if self.sqlite is None:
            await asyncio.to_thread(_expire, self.url)


def _expire(url: str) -> None:
    with contextlib.suppress(psycopg.Error), psycopg.connect(url, connect_timeout=2, autocommit=True) as connection:
        connection.execute("UPDATE lease SET expires_at = now() - interval '1 second'")
        for queue in ("delivery_queue", "close_queue"):
            connection.execute(f"UPDATE {queue} SET lease_until = now() - interval '1 second' WHERE state = 'running'")


@asynccontextmanager
async def grounded(
    folder: Path, url: str, *, seed: int, postgres: Server | None = None, say: Callable[[str], None]
) -> AsyncIterator[Ground]:
    """Open the ground; `url` is a PostgreSQL database, or "" for a SQLite file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    kuma, irp = KumaSim(token="kuma-token-0", seed=seed), StampedIrp(token="irp-token-0", seed=seed)
    irp.knobs.find_lag = 0.3
    witness = Witness(kuma.app)
    with _disk(folder, wanted=not url, say=say) as disk:
        async with SimServer(witness) as kuma_server, SimServer(irp.app) as irp_server:
            url = url or f"sqlite:///{disk or folder}/store.db"
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            daemon = Daemon(config=folder / "config.toml", log=folder / "daemon.log", clock=folder / "clock")
            _write(folder, kuma_server.url, irp_server.url, url, port)
            if FAKETIME is None:
                say("no faketime here (apt-get install faketime): no clock steps")
            ground = Ground(
                **{"folder": folder, "kuma": kuma, "irp": irp, "witness": witness, "daemon": daemon, "url": url},
                **{"kuma_server": kuma_server, "irp_server": irp_server, "postgres": postgres},
                disk=disk,
                port=port,
            )
            running = asyncio.create_task(daemon.keep_running())
            try:
                yield ground
            finally:
                running.cancel()
                await asyncio.wait([running])


def _write(folder: Path, kuma: str, irp: str, store: str, port: int) -> None:
    text = CONFIG.format(kuma=kuma, irp=irp, store=store, port=port, folder=folder, door=DOOR_TOKEN)
    (folder / "quick.toml").write_text(profile_text("security-vision").replace('settle = "5s"', 'settle = "1s"'))
    for name, content in (("config.toml", text), ("kuma.token", "kuma-token-0"), ("irp.token", "irp-token-0")):
        (folder / name).write_text(content)
        (folder / name).chmod(0o600)
    (folder / "clock").write_text("+0\n")
    (folder / "daemon.log").touch()


@contextlib.contextmanager
def _disk(folder: Path, *, wanted: bool, say: Callable[[str], None]) -> Any:
    """Mount a small disk of its own for the SQLite file, so that it can be filled; None where that is not possible."""
    if not wanted:
        yield None
        return
    if os.geteuid() != 0 or shutil.which("mount") is None:
        say("not root: no full disk")
        yield None
        return
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", disk], check=False, capture_output=True
    )
    if mounted.returncode:
        say("tmpfs cannot be mounted: no full disk")
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=False, capture_output=True)
