"""The image: built from the Dockerfile, run with as few rights as there are, between two simulators."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import Image, figure
from containers import Containers
from remotes import Remotes, asked, resident, simulated, until

ALLOWED = 120_000_000
USER = 10001


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a container of the image is given: two simulators, a configuration, and an empty volume."""

    image: Image
    remotes: Remotes

    @property
    def containers(self) -> Containers:
        """What runs it."""
        return self.image.containers

    @property
    def options(self) -> list[str]:
        """How the container is given its volume and its configuration."""
        data = self.remotes.folder / "data"
        return ["--volume", f"{data}:/data", "--volume", f"{self.remotes.config}:/etc/kuma-sync/config.toml:ro"]


@pytest.fixture
def site(image: Image, tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "data").mkdir(mode=0o700)
    os.chown(tmp_path / "data", USER, USER)
    with simulated(tmp_path) as both:
        yield Site(image=image, remotes=both)


def test_it_is_not_much_larger_than_its_base(image: Image) -> None:
    size, layers = image.containers.size(image.name)
    base, base_layers = image.containers.size(image.base)

    over = f"{(size - base) / 1e6:.1f} MB in {layers - base_layers} layer(s) over its base"
    figure(f"image: {size / 1e6:.0f} MB, of these {over}")
    assert size - base <= ALLOWED


def test_it_works_without_any_right_and_is_healthy(site: Site) -> None:
    containers = site.containers
    site.remotes.raises(3)
    began = time.monotonic()

    with containers.running("works", *site.options, image=site.image.name) as name:
        until(site.remotes.ready, lambda: containers.podman("logs", name).stdout)
        took = time.monotonic() - began
        until(site.remotes.agrees, lambda: containers.podman("logs", name).stdout)
        health = containers.podman("healthcheck", "run", name)
        rights = containers.inside(
            name, "sh", "-c", "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/1/status"
        ).stdout
        written = containers.inside(name, "touch", "/opt/kuma-sync/x")
        told = containers.inside(name, "kuma-sync", "status").stdout
        healthy = containers.inspected(name, "State.Health.Status")
        memory = resident(int(containers.inspected(name, "State.Pid")))

    assert (health.returncode, healthy) == (0, "healthy"), health.stdout
    assert rights.split() == ["10001", "CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]
    assert "Read-only file system" in written.stdout
    assert "daemon running since" in told
    figure(f"container: ready {took:.1f} s after `podman run` began, {memory} with three alerts")


def test_sigterm_ends_it_with_0_and_its_state_survives_in_the_volume(site: Site) -> None:
    containers = site.containers
    site.remotes.raises(3)

    with containers.running("first", *site.options, image=site.image.name) as name:
        until(site.remotes.agrees, lambda: containers.podman("logs", name).stdout)
        stopped = containers.podman("stop", "--time", "40", name)
        ended = containers.inspected(name, "State.ExitCode")
    site.remotes.raises(2)
    with containers.running("second", *site.options, image=site.image.name) as name:
        until(site.remotes.agrees, lambda: containers.podman("logs", name).stdout)
        alerts = containers.inside(name, "kuma-sync", "alerts", "--json").stdout
    writes = asked(f"{site.remotes.irp}/_sim/state", "irp-token")["writes"]

    assert (stopped.returncode, ended) == (0, "0")
    assert alerts.count('"alert_id"') == 5, alerts
    assert writes["create"] == 5


def test_a_wrong_configuration_ends_it_with_2_and_a_sentence(site: Site) -> None:
    containers = site.containers
    config = site.remotes.config
    config.write_text(config.read_text(encoding="utf-8").replace('"1s"', '"soon"'), encoding="utf-8")

    with containers.running("wrong", *site.options, image=site.image.name) as name:
        until(
            lambda: containers.inspected(name, "State.Status") == "exited",
            lambda: containers.podman("logs", name).stdout,
        )
        ended, told = containers.inspected(name, "State.ExitCode"), containers.podman("logs", name).stdout

    assert ended == "2"
    assert "poll.interval" in told
    assert "Traceback" not in told
