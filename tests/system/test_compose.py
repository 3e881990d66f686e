"""Two copies on PostgreSQL, watched by Prometheus: compose.several.yaml, brought up in a network of its own.

No registry is asked: what stands in for the images of PostgreSQL and Prometheus is made of Debian's packages.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Image, assured, figure
from containers import Containers
from remotes import agree, until
from sandbox import Sandbox
from scratch import scratch

USER = 10001
DAEMONS = {"kuma-sync-1": "http://127.0.0.1:8484", "kuma-sync-2": "http://127.0.0.1:8485"}
CONFIG = """\
[kuma]
url = "http://kuma:7223"
[irp]
url = "http://irp:8443"
[poll]
interval = "1s"
sweep_interval = "2s"
[retry]
base = "500ms"
max = "2s"
"""
SIDES = """\
services:
  kuma:
    image: localhost/kuma-sync
    command: [sim, kuma, --listen, "0.0.0.0:7223", --token, kuma-token, --alerts, "20"]
    ports: ["127.0.0.1:7223:7223"]
  irp:
    image: localhost/kuma-sync
    command: [sim, irp, --listen, "0.0.0.0:8443", --token, irp-token]
    ports: ["127.0.0.1:8443:8443"]
"""
STAND_INS = """\
ARG PYTHON_IMAGE
FROM ${PYTHON_IMAGE}
RUN install -D /dev/null /etc/postgresql-common/createcluster.conf \\
 && echo create_main_cluster = false > /etc/postgresql-common/createcluster.conf \\
 && apt-get update -qq \\
 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends postgresql prometheus
COPY --chmod=0755 stand-in.sh /usr/local/bin/
ENTRYPOINT ["stand-in.sh"]
"""
# Of the images' own ways as much as the compose file needs.
STAND_IN = """\
#!/bin/sh
set -eu
[ "${POSTGRES_DB:-}" ] || exec prometheus --config.file=/etc/prometheus/prometheus.yml --storage.tsdb.path=/prometheus
data=/var/lib/postgresql/data
as() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
bin=$(echo /usr/lib/postgresql/*/bin)
install -d -o postgres -m 0700 $data
if [ ! -s $data/PG_VERSION ]; then
    install -o postgres -m 0400 "$POSTGRES_PASSWORD_FILE" /tmp/password
    as $bin/initdb -D $data -U "$POSTGRES_USER" -A scram-sha-256 --pwfile=/tmp/password $POSTGRES_INITDB_ARGS
    echo 'host all all all scram-sha-256' >> $data/pg_hba.conf
    echo "CREATE DATABASE $POSTGRES_DB" | as $bin/postgres --single -D $data postgres
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups $bin/postgres -D $data -c listen_addresses='*' \
    -c unix_socket_directories=/tmp
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """The services of the compose file and two simulators, and what brings them up and down."""

    containers: Containers
    folder: Path

    @property
    def sandbox(self) -> Sandbox:
        """Where their doors are."""
        return self.containers.sandbox

    def compose(self, *words: str, within: float = 120) -> str:
        """Call podman-compose; return what it printed."""
        files = ["-f", f"{self.folder}/compose.several.yaml", "-f", f"{self.folder}/sides.yaml"]
        program = [str(Path(sys.executable).with_name("podman-compose")), "--podman-path", str(self.containers.command)]
        done = subprocess.run(
            self.sandbox.words(*program, "--in-pod=false", *files, *words),
            env={**os.environ, "POSTGRES_IMAGE": "localhost/stand-ins", "PROMETHEUS_IMAGE": "localhost/stand-ins"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=within,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def container(self, service: str) -> str:
        """Return the name of a service's container."""
        return f"kuma-sync-several_{service}_1"

    def logs(self) -> str:
        """What every service said last."""
        services = (*DAEMONS, "postgres", "prometheus", "kuma", "irp")
        told = {one: self.containers.podman("logs", "--tail", "15", self.container(one)).stdout for one in services}
        return "\n".join(f"--- {service}\n{lines}" for service, lines in told.items())

    def raises(self, alerts: int) -> None:
        """Let KUMA show new alerts."""
        for _ in range(alerts):
            assert self.sandbox.asks("http://127.0.0.1:7223/_sim/act", "kuma-token", {"do": "raise_alert"})

    def state(self, side: str) -> Any:
        """Return what a simulator holds."""
        port = {"kuma": 7223, "irp": 8443}[side]
        return self.sandbox.asks(f"http://127.0.0.1:{port}/_sim/state", f"{side}-token")

    def agrees(self, alerts: int) -> None:
        """Wait until each of so many alerts has one incident; none may ever have two."""

        def all_there() -> bool:
            kuma, irp = self.state("kuma"), self.state("irp")
            return bool(kuma and irp and sum(kuma["alerts"].values()) == alerts and agree(kuma, irp))

        until(all_there, self.logs, within=120)

    def figure(self, query: str) -> float | None:
        """Return the one value of a query to Prometheus; None where it has none."""
        told = self.sandbox.asks(f"http://127.0.0.1:9090/api/v1/query?query={query}")
        found = told["data"]["result"] if told else []
        return float(found[0]["value"][1]) if found else None

    def standing_by(self) -> list[str]:
        """Return the services that say they are ready, and stand by."""
        told = {one: self.sandbox.asks(f"{door}/readyz") for one, door in DAEMONS.items()}
        return [one for one, answer in told.items() if "standby" in json.dumps(answer)]

    def killed(self, service: str) -> None:
        """End the daemon of a container as the kernel does when memory runs out; what started it goes on."""
        shell = self.containers.inspected(self.container(service), "State.Pid")
        (daemon,) = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        os.kill(int(daemon), signal.SIGKILL)


@pytest.fixture(scope="module")
def images(image: Image) -> Image:
    """The image, and what stands in for those of PostgreSQL and Prometheus."""
    assured([] if Path(sys.executable).with_name("podman-compose").exists() else ["podman-compose"])
    with scratch("stand-ins") as folder:
        (folder / "Dockerfile").write_text(STAND_INS, encoding="utf-8")
        (folder / "stand-in.sh").write_text(STAND_IN, encoding="utf-8")
        image.containers.built(folder, image.base, "stand-ins")
    return image


@pytest.fixture
def composition(images: Image) -> Iterator[Composition]:
    with scratch("compose") as folder, Sandbox.opened(folder, network=True) as sandbox:
        shutil.copytree(ROOT / "deploy", folder / "deploy")
        (folder / "deploy/config.toml").write_text(CONFIG, encoding="utf-8")
        (folder / "deploy/sides.yaml").write_text(SIDES, encoding="utf-8")
        (folder / "deploy/secrets").mkdir()
        for secret in ("kuma-token", "irp-token", "store-password"):
            file = folder / "deploy/secrets" / secret
            file.write_text(secret, encoding="utf-8")
            file.chmod(0o400)
            os.chown(file, USER, USER)
        made = Composition(containers=replace(images.containers, sandbox=sandbox), folder=folder / "deploy")
        try:
            yield made
        finally:
            made.containers.podman("rm", "--all", "--force", "--time", "5")
            made.containers.podman("volume", "prune", "--force")


def test_a_copy_that_is_killed_or_stopped_loses_and_doubles_nothing(composition: Composition) -> None:
    began = time.monotonic()
    composition.compose("up", "-d", "--no-build", "--pull", "never")
    composition.agrees(20)
    until(lambda: len(composition.standing_by()) == 1, composition.logs)
    took = time.monotonic() - began
    (stands_by,) = composition.standing_by()
    (leads,) = DAEMONS.keys() - {stands_by}
    until(lambda: composition.figure('sum(up{job="kuma-sync"})') == 2, composition.logs)

    composition.raises(10)
    composition.killed(leads)
    composition.raises(10)
    composition.agrees(40)
    until(lambda: composition.sandbox.asks(f"{DAEMONS[leads]}/livez"), composition.logs)
    restarts = composition.containers.inspected(composition.container(leads), "RestartCount")

    composition.raises(10)
    composition.compose("stop", leads)
    composition.raises(10)
    composition.agrees(60)
    until(lambda: composition.figure('sum(up{job="kuma-sync"})') == 1, composition.logs)
    alarms = composition.sandbox.asks("http://127.0.0.1:9090/api/v1/rules")["data"]["groups"][0]["rules"]

    assert restarts == "1"
    assert composition.state("irp")["writes"]["create"] == 60
    assert {"KumaSyncCopyDown", "KumaSyncAbsent"} <= {alarm["name"] for alarm in alarms}
    assert {alarm["health"] for alarm in alarms} == {"ok"}
    figure(f"compose.several.yaml: 20 alerts delivered {took:.1f} s after `up` began")
