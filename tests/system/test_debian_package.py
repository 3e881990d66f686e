"""The Debian package: installed, upgraded, removed and purged as an administrator would, on a booted machine."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, figure
from debian import Machine
from installation import Installation

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


@pytest.fixture(scope="session")
def untouched(machine: Machine) -> set[str]:
    """The files of the machine before the package came."""
    return files(machine)


@pytest.fixture
def bare(machine: Machine, untouched: set[str]) -> Machine:
    """The machine without the package."""
    machine.run("systemctl stop 'kuma-sync*'; dpkg --purge kuma-sync")
    return machine


@pytest.fixture
def running(machine: Machine, untouched: set[str], package: Path) -> Iterator[Installation]:
    """The package installed, and its service at work."""
    yield from at_work(machine, package)


@pytest.fixture
def outdated(machine: Machine, untouched: set[str], older: Path) -> Iterator[Installation]:
    """The version before it installed, and its service at work."""
    yield from at_work(machine, older)


@pytest.fixture(scope="session")
def older(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the version before, with a file that is there no more."""
    return repacked(package, tmp_path_factory.mktemp("older"), "0.0.1", "kuma_sync/only_older.py")


@pytest.fixture(scope="session")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the next version, with one file more."""
    return repacked(package, tmp_path_factory.mktemp("newer"), "9.0", "kuma_sync/only_newer.py")


def repacked(package: Path, folder: Path, version: str, more: str) -> Path:
    """Make a package of another version, with an empty module more."""
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    text = re.sub(r"(?m)^Version: .*", f"Version: {version}", control.read_text(encoding="utf-8"))
    control.write_text(text, encoding="utf-8")
    (libraries,) = tree.glob("opt/kuma-sync/lib/*/site-packages")
    (libraries / more).touch()
    path = folder / f"kuma-sync_{version}_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(path)], check=True)
    shutil.rmtree(tree)
    return path


def at_work(machine: Machine, package: Path) -> Iterator[Installation]:
    """Install a version, unless it is there, and let its service work; at the end it is stopped and forgotten."""
    if installed(machine) != version_of(package):
        machine.run("systemctl stop 'kuma-sync*'; dpkg --purge kuma-sync")
        machine.brought(package)
        machine.does(f"{INSTALL} /srv/{package.name}")
    service = Installation(machine=machine)
    service.prepared()
    service.started()
    yield service
    service.removed()


def version_of(package: Path) -> str:
    return subprocess.run(["dpkg-deb", "-f", package, "Version"], check=True, capture_output=True, text=True).stdout


def installed(machine: Machine) -> str:
    """The version that is installed; nothing, if it is not whole."""
    status = machine.run("dpkg-query -W -f '${db:Status-Status} ${Version}\\n' kuma-sync").stdout
    return status.removeprefix("installed ") if status.startswith("installed ") else ""


def files(machine: Machine) -> set[str]:
    """Every file of the machine but those that any package leaves."""
    found = machine.does("find / -xdev \\( -path /proc -o -path /sys -o -path /dev \\) -prune -o -print").splitlines()
    return {path for path in found if not path.startswith(NOT_OURS)}


def test_the_same_sources_give_the_same_bytes(package: Path, tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "deploy/deb/build.py"), str(tmp_path)]
    subprocess.run(words, check=True, capture_output=True, umask=0o077)

    (again,) = tmp_path.iterdir()
    assert hashlib.sha256(again.read_bytes()).digest() == hashlib.sha256(package.read_bytes()).digest()
    figure(f"{package.name}: {package.stat().st_size / 1e6:.1f} MB")


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


def test_two_upgrades_keep_the_configuration_and_restart_only_what_ran(
    outdated: Installation, package: Path, newer: Path
) -> None:
    machine = outdated.machine
    machine.does(f"cp {outdated.config} /etc/kuma-sync/idle.toml")
    kept = machine.does(f"cat {outdated.config}")
    ran = [machine.has(outdated.unit, "InvocationID")]

    for step in (package, newer):
        machine.brought(step)
        outdated.raises(5)
        told = machine.does(f"{INSTALL} /srv/{step.name}")
        outdated.raises(5)
        outdated.agrees()
        ran.append(machine.has(outdated.unit, "InvocationID"))

        assert "arning" not in told, told
        assert installed(machine) == version_of(step)
        assert machine.does(f"cat {outdated.config}") == kept
        assert machine.has(outdated.unit, "ActiveState") == "active"
        assert machine.run("systemctl is-active kuma-sync@idle").stdout.strip() == "inactive"
        assert machine.run("ls /run/kuma-sync.stopped").returncode != 0
        assert machine.does("find /opt/kuma-sync -name 'only_older*'") == "", "its compiled form, too"
    assert "" not in ran
    assert len(set(ran)) == 3
    assert machine.does("find /opt/kuma-sync -name only_newer.py") != ""


def test_an_upgrade_leaves_a_stopped_service_stopped(running: Installation, newer: Path) -> None:
    machine = running.machine
    machine.does(f"systemctl stop {running.unit}")
    machine.brought(newer)

    machine.does(f"{INSTALL} /srv/{newer.name}")

    assert machine.has(running.unit, "ActiveState") == "inactive"


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


def test_a_purge_leaves_nothing_but_the_user(running: Installation, untouched: set[str]) -> None:
    machine = running.machine
    machine.does(f"systemctl enable -q {running.unit}")
    during = files(machine)

    told = machine.does("apt-get purge -qq -y kuma-sync")
    running.removed()

    assert "/opt/kuma-sync/bin/kuma-sync" in during - untouched
    assert files(machine) - untouched == set(), told
    assert "arning" not in told, told
    assert machine.does("getent passwd kuma-sync") != ""
    assert machine.run("systemctl list-units --all --plain --no-legend 'kuma-sync*'").stdout == ""
