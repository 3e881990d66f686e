"""The Debian package: installed, upgraded, removed and purged as an administrator would, on a booted machine."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FIGURES
from debian import Machine
from installation import Installation

ROOT = Path(__file__).resolve().parents[2]
INSTALL = "apt-get install -qq -y -o Dpkg::Use-Pty=0"
# What dpkg, apt and the journal write for every package. The accounts stay, as Debian's policy has it.
NOT_OURS = (
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/var/cache",
    "/var/log",
    "/var/lib/systemd",
    "/run",
    "/tmp",
    "/root",
    "/srv",
)


@pytest.fixture
def bare(machine: Machine) -> Machine:
    """The machine without the package."""
    machine.run("systemctl stop 'kuma-sync*'; dpkg --purge kuma-sync")
    return machine


@pytest.fixture
def running(bare: Machine, package: Path) -> Iterator[Installation]:
    """The package installed, and its service at work."""
    bare.brought(package)
    bare.does(f"{INSTALL} /srv/{package.name}")
    service = Installation(machine=bare)
    service.prepared()
    service.started()
    yield service
    service.removed()


@pytest.fixture(scope="session")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the next version, with one file more and one less."""
    tree = tmp_path_factory.mktemp("newer") / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text(encoding="utf-8").replace("\nVersion: ", "\nVersion: 9."), encoding="utf-8")
    (tree / "opt/kuma-sync/newer.txt").touch()
    (unneeded,) = tree.glob("opt/kuma-sync/lib/*/site-packages/uvicorn/loops/uvloop.py")
    unneeded.unlink()
    path = tree.with_name("kuma-sync_9_all.deb")
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(path)], check=True)
    return path


def files(machine: Machine) -> set[str]:
    """Every file of the machine but those that any package leaves."""
    found = machine.does("find / -xdev \\( -path /proc -o -path /sys -o -path /dev \\) -prune -o -print").splitlines()
    return {path for path in found if not path.startswith(NOT_OURS)}


def test_the_same_sources_give_the_same_bytes(package: Path, tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "deploy/deb/build.py"), str(tmp_path)]
    subprocess.run(words, check=True, capture_output=True, umask=0o077)

    (again,) = tmp_path.iterdir()
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(package.read_bytes()).digest()
    FIGURES.append(f"{package.name}: {package.stat().st_size / 1e6:.1f} MB")


def test_it_is_installed_with_all_that_belongs_to_it_and_does_not_start(bare: Machine, package: Path) -> None:
    bare.brought(package)
    told = bare.does(f"umask 077; {INSTALL} /srv/{package.name}")
    checked = bare.run("CREDENTIALS_DIRECTORY=/etc/kuma-sync kuma-sync config check")

    assert "arning" not in told, told
    assert "rror" not in told, told
    assert bare.run("systemctl is-enabled kuma-sync").stdout.strip() == "disabled"
    assert bare.run("systemctl is-active kuma-sync").stdout.strip() == "inactive"
    assert checked.returncode == 2
    assert "kuma.url: is required" in checked.stdout
    assert "/etc/kuma-sync/kuma-token" in checked.stdout
    assert bare.does("command -v kuma-sync").strip() == "/usr/bin/kuma-sync"
    assert bare.does("runuser -u nobody -- kuma-sync --version").startswith("kuma-sync, version ")
    assert bare.does("man -w kuma-sync-close").strip() == "/usr/share/man/man1/kuma-sync-close.1.gz"
    assert "kuma-sync" in bare.does(
        ". /usr/share/bash-completion/bash_completion; _completion_loader kuma-sync; complete -p kuma-sync"
    )
    assert bare.does("getent passwd kuma-sync").strip().endswith(":/var/lib/kuma-sync:/usr/sbin/nologin")
    assert bare.does("stat -c '%U %a' /var/lib/kuma-sync").strip() == "kuma-sync 700"
    assert bare.run("dpkg --verify kuma-sync").stdout == ""


def test_installing_it_once_more_changes_and_says_nothing(running: Installation) -> None:
    machine = running.machine
    before = files(machine)

    machine.does("dpkg --configure -a; /var/lib/dpkg/info/kuma-sync.postinst configure 0.1.0")
    again = machine.does("/var/lib/dpkg/info/kuma-sync.postinst configure 0.1.0")

    assert again == ""
    assert files(machine) == before
    assert machine.has(running.unit, "ActiveState") == "active"


def test_an_upgrade_keeps_the_configuration_and_restarts_only_what_ran(running: Installation, newer: Path) -> None:
    machine = running.machine
    machine.does(f"cp {running.config} /etc/kuma-sync/idle.toml")
    before, kept = machine.has(running.unit, "InvocationID"), machine.does(f"cat {running.config}")
    machine.brought(newer)

    running.raises(5)
    told = machine.does(f"{INSTALL} /srv/{newer.name}")
    running.raises(5)
    running.agrees()

    assert "arning" not in told, told
    assert machine.does(f"cat {running.config}") == kept
    assert machine.has(running.unit, "ActiveState") == "active"
    assert machine.has(running.unit, "InvocationID") not in ("", before)
    assert machine.run("systemctl is-active kuma-sync@idle").stdout.strip() == "inactive"
    assert machine.run("ls /run/kuma-sync.stopped").returncode != 0
    assert machine.does("find /opt/kuma-sync -name 'uvloop.*' -path '*/loops/*'") == "", "its compiled form, too"
    assert machine.does("find /opt/kuma-sync -name newer.txt") != ""


def test_an_upgrade_leaves_a_stopped_service_stopped(running: Installation, newer: Path) -> None:
    machine = running.machine
    machine.does(f"systemctl stop {running.unit}")
    machine.brought(newer)

    machine.does(f"{INSTALL} /srv/{newer.name}")

    assert machine.has(running.unit, "ActiveState") == "inactive"


def test_the_store_of_a_service_that_was_installed_from_the_sources_is_found(running: Installation) -> None:
    machine, own = running.machine, "/etc/systemd/system/kuma-sync.service"
    machine.does(f"systemctl stop {running.unit}")
    machine.does(f"cat > {own}; systemctl daemon-reload", text=(ROOT / "deploy/kuma-sync.service").read_text())
    running.started()
    before = machine.does("stat -c %F /var/lib/kuma-sync").strip()

    machine.does(f"systemctl stop {running.unit}; rm {own}; systemctl daemon-reload")
    running.raises(2)
    running.started()

    assert (before, machine.does("stat -c %F /var/lib/kuma-sync").strip()) == ("symbolic link", "directory")
    assert machine.does("stat -c %U /var/lib/kuma-sync/kuma-sync.db").strip() == "kuma-sync"


def test_after_a_removal_configuration_and_store_are_still_there(running: Installation, package: Path) -> None:
    machine = running.machine
    machine.does(f"systemctl enable -q {running.unit}")

    machine.does("apt-get remove -qq -y kuma-sync")
    left = machine.does("ls /etc/kuma-sync /var/lib/kuma-sync").split()
    gone = machine.run("ls -d /opt/kuma-sync /usr/bin/kuma-sync /etc/systemd/system/*/kuma-sync.service 2> /dev/null")
    machine.does(f"{INSTALL} /srv/{package.name}")
    machine.does(f"systemctl enable --now -q {running.unit}")
    running.agrees()

    assert {"config.toml", "kuma-token", "irp-token", "kuma-sync.db"} <= set(left)
    assert gone.stdout == ""


def test_a_purge_leaves_nothing_but_the_user(bare: Machine, package: Path) -> None:
    bare.brought(package)
    before = files(bare)
    bare.does(f"{INSTALL} /srv/{package.name}")
    service = Installation(machine=bare)
    service.prepared()
    service.started()
    bare.does(f"systemctl enable -q {service.unit}")
    during = files(bare)

    told = bare.does("apt-get purge -qq -y kuma-sync")
    service.removed()

    assert "/opt/kuma-sync/bin/kuma-sync" in during - before
    assert files(bare) - before == set(), told
    assert "arning" not in told, told
    assert bare.does("getent passwd kuma-sync") != ""
    assert bare.run("systemctl list-units --all --plain --no-legend 'kuma-sync*'").stdout == ""
