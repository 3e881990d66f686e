"""The image: built from the Dockerfile, run with as few rights as there are, between two simulators."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import FIGURES, assured
from containers import Containers, lacking

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = 120_000_000
USER = 10001
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
class Image:
    """The image, its base, and what holds both."""

    containers: Containers
    name: str
    base: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Two simulators, a configuration and an empty volume."""

    image: Image
    kuma: str
    irp: str
    folder: Path

    @property
    def options(self) -> list[str]:
        """How the container is given its volume and its configuration."""
        data, config = self.folder / "data", self.folder / "config.toml"
        return ["--volume", f"{data}:/data", "--volume", f"{config}:/etc/kuma-sync/config.toml:ro"]

    def raises(self, alerts: int) -> None:
        """Let KUMA show new alerts."""
        for _ in range(alerts):
            asked(f"{self.kuma}/_sim/act", "kuma-token", {"do": "raise_alert"})

    def agrees(self) -> bool:
        """Tell whether every alert has its incident; none may have two."""
        kuma, irp = asked(f"{self.kuma}/_sim/state", "kuma-token"), asked(f"{self.irp}/_sim/state", "irp-token")
        assert irp["doubled"] == []
        return sum(kuma["alerts"].values()) == sum(irp["incidents"].values())


def asked(url: str, token: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def until(holds: Callable[[], bool], told: Callable[[], str]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, told()
        time.sleep(0.2)


@pytest.fixture(scope="module")
def image(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    assured(lacking())
    containers = Containers(folder=tmp_path_factory.mktemp("containers"))
    base = containers.based(debian)
    yield Image(containers=containers, name=containers.built(ROOT, base), base=base)
    containers.podman("rmi", "--all", "--force")
    shutil.rmtree(containers.folder, ignore_errors=True)


@pytest.fixture
def site(image: Image, tmp_path: Path) -> Iterator[Site]:
    ports = [_free_port() for _ in range(3)]
    kuma, irp, door = (f"127.0.0.1:{port}" for port in ports)
    command = [sys.executable, "-m", "kuma_sync", "sim"]
    sides = [
        subprocess.Popen([*command, side, "--listen", listen, "--token", f"{side}-token"], stdout=subprocess.DEVNULL)
        for side, listen in (("kuma", kuma), ("irp", irp))
    ]
    (tmp_path / "data").mkdir(mode=0o700)
    os.chown(tmp_path / "data", USER, USER)
    text = CONFIG.format(kuma=f"http://{kuma}", irp=f"http://{irp}", door=door)
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    try:
        for port in ports[:2]:
            until(lambda port=port: _answers(port), lambda: "a simulator does not answer")
        yield Site(image=image, kuma=f"http://{kuma}", irp=f"http://{irp}", folder=tmp_path)
    finally:
        for one in sides:
            one.terminate()
            one.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _answers(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def test_it_is_not_much_larger_than_its_base(image: Image) -> None:
    size, layers = image.containers.size(image.name)
    base, base_layers = image.containers.size(image.base)

    over = f"{(size - base) / 1e6:.1f} MB in {layers - base_layers} layer(s) over its base"
    FIGURES.append(f"image: {size / 1e6:.0f} MB, of these {over}")
    assert size - base <= ALLOWED


def test_it_works_without_any_right_and_is_healthy(site: Site) -> None:
    containers = site.image.containers
    site.raises(3)

    with containers.running("works", *site.options, image=site.image.name) as name:
        until(site.agrees, lambda: containers.podman("logs", name).stdout)
        health = containers.podman("healthcheck", "run", name)
        rights = containers.inside(
            name, "sh", "-c", "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/1/status"
        ).stdout
        written = containers.inside(name, "touch", "/opt/kuma-sync/x")
        told = containers.inside(name, "kuma-sync", "status").stdout
        healthy = containers.state(name, "Health.Status")

    assert (health.returncode, healthy) == (0, "healthy"), health.stdout
    assert rights.split() == ["10001", "CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]
    assert "Read-only file system" in written.stdout
    assert "daemon running since" in told


def test_sigterm_ends_it_with_0_and_its_state_survives_in_the_volume(site: Site) -> None:
    containers = site.image.containers
    site.raises(3)

    with containers.running("first", *site.options, image=site.image.name) as name:
        until(site.agrees, lambda: containers.podman("logs", name).stdout)
        stopped = containers.podman("stop", "--time", "40", name)
        ended = containers.state(name, "ExitCode")
    site.raises(2)
    with containers.running("second", *site.options, image=site.image.name) as name:
        until(site.agrees, lambda: containers.podman("logs", name).stdout)
        alerts = containers.inside(name, "kuma-sync", "alerts", "--json").stdout
    writes = asked(f"{site.irp}/_sim/state", "irp-token")["writes"]

    assert (stopped.returncode, ended) == (0, "0")
    assert alerts.count('"alert_id"') == 5, alerts
    assert writes["create"] == 5


def test_a_wrong_configuration_ends_it_with_2_and_a_sentence(site: Site) -> None:
    containers = site.image.containers
    config = site.folder / "config.toml"
    config.write_text(config.read_text(encoding="utf-8").replace('"1s"', '"soon"'), encoding="utf-8")

    with containers.running("wrong", *site.options, image=site.image.name) as name:
        until(lambda: containers.state(name, "Status") == "exited", lambda: containers.podman("logs", name).stdout)
        ended, told = containers.state(name, "ExitCode"), containers.podman("logs", name).stdout

    assert ended == "2"
    assert "poll.interval" in told
    assert "Traceback" not in told
