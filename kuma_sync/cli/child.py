"""The real daemon as a child process of the demo: its temporary configuration, its log, its end, its door."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from kuma_sync.cli.options import Unfinished

DOOR_TOKEN = "demo-door-token"  # noqa: S105  # of a demo on loopback, printed on the screen
LONGEST_STOP = 15.0

CONFIG = """\
[kuma]
url = "{kuma}"
token = "{kuma_token}"
[irp]
url = "{irp}"
token = "{irp_token}"
[poll]
interval = "1s"
sweep_interval = "2s"
[close]
watch_interval = "1s"
[close.reasons]
"False positive" = "incorrect data"
"Rule needs tuning" = "incorrect correlation rule"
"Resolved" = "responded"
[retry]
base = "500ms"
max = "5s"
[run]
grace = "5s"
[store]
url = "sqlite:///{folder}/demo.db"
[web]
listen = "{listen}"
[web.tokens]
irp-command = "{door_token}"
[log]
format = "json"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the daemon works: its folder, its door, and the two remotes as (address, token)."""

    folder: Path
    listen: str
    kuma: tuple[str, str]
    irp: tuple[str, str]

    @property
    def config(self) -> Path:
        """Return the configuration's file."""
        return self.folder / "config.toml"

    @property
    def log(self) -> Path:
        """Return the log's file."""
        return self.folder / "daemon.log"

    def write(self) -> None:
        """Write the configuration."""
        (kuma, kuma_token), (irp, irp_token) = self.kuma, self.irp
        text = CONFIG.format(
            kuma=kuma,
            kuma_token=kuma_token,
            irp=irp,
            irp_token=irp_token,
            folder=self.folder,
            listen=self.listen,
            door_token=DOOR_TOKEN,
        )
        self.config.touch(mode=0o600)
        self.config.write_text(text, encoding="utf-8")

    def close_alert(self, alert_id: str, reason: str) -> bool:
        """Do what an IRP's close command does: KUMA's own call, at our door. Blocks; false when it was not taken."""
        request = urllib.request.Request(
            f"http://{self.listen}/api/v1/alerts/close",
            data=json.dumps({"id": alert_id, "reason": reason}).encode(),
            headers={"Authorization": f"Bearer {DOOR_TOKEN}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5) as answer:
                return bool(answer.status == 204)
        except OSError:
            return False


class Daemon:
    """`kuma-sync run` in a process group of its own, so that Ctrl-C reaches the demo alone."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; its log goes to a file."""
        self._place.write()
        ours = {name: value for name, value in os.environ.items() if not name.startswith("KUMA_SYNC_")}
        with self._place.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "kuma_sync", "run", "-c", str(self._place.config)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=ours,
                start_new_session=True,
            )

    async def ended(self) -> int:
        """Wait for its end; return its exit code."""
        assert self._process is not None  # noqa: S101  # started before
        return await self._process.wait()

    async def stop(self) -> int:
        """Send SIGTERM (after 15 s SIGKILL) and return its exit code; one that ended by itself keeps its own."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(LONGEST_STOP):
                return await self._process.wait()
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()


def free_listen(listen: str) -> str:
    """Return the address with a free port where it asks for port 0; raise Unfinished where there is none."""
    host, _, port = listen.rpartition(":")
    if int(port):
        return listen
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((host.strip("[]"), 0))
        except OSError as error:
            raise Unfinished(f"cannot listen on {listen}: {error.strerror}") from None
        except UnicodeError:
            raise Unfinished(f"cannot listen on {listen}: that is no host's name") from None
        return f"{host}:{probe.getsockname()[1]}"
