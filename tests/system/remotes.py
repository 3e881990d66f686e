"""Both sides on this machine's loopback, a configuration for a daemon between them, and what is measured of it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = """\
[kuma]
url = "{kuma}"
token = "kuma-token"
[irp]
url = "{irp}"
token = "irp-token"
[poll]
interval = "1s"
sweep_interval = "2s"
[web]
listen = "{door}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remotes:
    """Two simulators, and a folder with the configuration that names them."""

    kuma: str
    irp: str
    door: str
    folder: Path

    @property
    def config(self) -> Path:
        """The configuration's file."""
        return self.folder / "config.toml"

    def raises(self, alerts: int) -> None:
        """Let KUMA show new alerts."""
        for _ in range(alerts):
            asked(f"{self.kuma}/_sim/act", "kuma-token", {"do": "raise_alert"})

    def agrees(self) -> bool:
        """Tell whether every alert has its incident; none may have two."""
        return agree(asked(f"{self.kuma}/_sim/state", "kuma-token"), asked(f"{self.irp}/_sim/state", "irp-token"))

    def ready(self) -> bool:
        """Tell whether the daemon says that it is ready."""
        try:
            with urllib.request.urlopen(f"{self.door}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False


def agree(kuma: Any, irp: Any) -> bool:
    """Tell whether two simulators' states have as many alerts as incidents."""
    assert irp["doubled"] == []
    return sum(kuma["alerts"].values()) == sum(irp["incidents"].values())


@contextmanager
def simulated(folder: Path) -> Iterator[Remotes]:
    """Start two simulators and write the configuration into the folder; stop them at the end."""
    ports = [_free_port() for _ in range(3)]
    kuma, irp, door = (f"127.0.0.1:{port}" for port in ports)
    command = [sys.executable, "-m", "kuma_sync", "sim"]
    running = [
        subprocess.Popen([*command, side, "--listen", listen, "--token", f"{side}-token"], stdout=subprocess.DEVNULL)
        for side, listen in (("kuma", kuma), ("irp", irp))
    ]
    made = Remotes(kuma=f"http://{kuma}", irp=f"http://{irp}", door=f"http://{door}", folder=folder)
    made.config.write_text(CONFIG.format(kuma=made.kuma, irp=made.irp, door=door), encoding="utf-8")
    try:
        for port in ports[:2]:
            until(lambda port=port: _answers(port), lambda: "a simulator does not answer")
        yield made
    finally:
        for one in running:
            one.terminate()
            one.wait()


def asked(url: str, token: str, body: dict[str, Any] | None = None) -> Any:
    """Return what an address answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def until(holds: Callable[[], object], told: Callable[[], str], *, within: float = 60) -> None:
    """Wait for something, at most so many seconds; else fail with what is told."""
    end = time.monotonic() + within
    while not holds():
        assert time.monotonic() < end, told()
        time.sleep(0.05)


def resident(pid: int) -> str:
    """Return the memory of a process, as a figure for the documents."""
    (line,) = (one for one in Path(f"/proc/{pid}/status").read_text().splitlines() if one.startswith("VmRSS"))
    return f"{int(line.split()[1]) / 1024:.0f} MB resident"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
