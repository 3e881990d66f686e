"""The service of the Debian package, between two simulators, under a real systemd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import figure
from debian import Machine
from installation import Installation

EXPOSURE_ALLOWED = 12  # tenths


@pytest.fixture(scope="module")
def installed(machine: Machine, package: Path) -> Machine:
    """The machine with the package."""
    machine.brought(package)
    machine.does(f"apt-get install -qq -y /srv/{package.name}")
    return machine


@pytest.fixture
def service(installed: Machine) -> Iterator[Installation]:
    """The plain service, ready to be started."""
    one = Installation(machine=installed)
    one.prepared()
    yield one
    one.removed()


def test_it_runs_as_its_own_user_with_its_credentials_and_tells_how_it_is(service: Installation) -> None:
    machine = service.machine

    service.started()
    ready = service.status_text(lambda text: text == "ready")
    service.side("irp", "STOP")
    service.raises(1)
    unwell = service.status_text(lambda text: text.startswith("not ready"))
    service.side("irp", "CONT")
    service.status_text(lambda text: text == "ready")
    service.agrees()

    pid = machine.has(service.unit, "MainPID")
    assert machine.has(service.unit, "ActiveState") == "active", (ready, unwell)
    assert machine.does(f"stat -c %U /proc/{pid}").strip() == "kuma-sync"
    assert machine.run("runuser -u kuma-sync -- cat /etc/kuma-sync/kuma-token").returncode != 0
    assert machine.does(f"grep -E '^(Cap(Eff|Bnd)|NoNewPrivs|Seccomp):' /proc/{pid}/status").split() == [
        *("CapEff:", "0" * 16, "CapBnd:", "0" * 16),
        *("NoNewPrivs:", "1", "Seccomp:", "2"),
    ]
    assert machine.does("stat -c '%U %a' /var/lib/kuma-sync/kuma-sync.db").strip() == "kuma-sync 600"
    assert "sqlite:////var/lib/kuma-sync/kuma-sync.db" in machine.does("cd /; kuma-sync status")
    started = (
        machine.has(service.unit, "ActiveEnterTimestampMonotonic"),
        machine.has(service.unit, "ExecMainStartTimestampMonotonic"),
    )
    memory = machine.does(f"grep VmRSS /proc/{pid}/status").split()[1]
    took = (int(started[0]) - int(started[1])) / 1e6
    figure(f"service: ready after {took:.1f} s, {int(memory) / 1024:.0f} MB resident with four alerts")


def test_after_kill_9_it_is_back_and_nothing_is_lost_or_doubled(service: Installation) -> None:
    machine = service.machine
    service.started()

    service.raises(20)
    machine.does(f"systemctl kill -s KILL {service.unit}")
    service.raises(5)
    machine.until_unit(service.unit, "NRestarts", lambda found: found == "1", within=20)
    service.agrees()

    assert machine.has(service.unit, "ActiveState") == "active"


def test_a_hung_daemon_is_ended_by_the_watchdog_and_started_anew(service: Installation) -> None:
    machine = service.machine
    drop_in = f"/etc/systemd/system/{service.unit}.d"
    machine.does(f"mkdir {drop_in}; cat > {drop_in}/soon.conf", text="[Service]\nWatchdogSec=4s\n")
    machine.does("systemctl daemon-reload")
    service.started()

    machine.does(f"kill -STOP {machine.has(service.unit, 'MainPID')}")
    service.raises(3)
    machine.until_unit(service.unit, "NRestarts", lambda found: found == "1")
    service.agrees()

    assert "Watchdog timeout (limit 4s)!" in service.journal()
    assert machine.has(service.unit, "ActiveState") == "active"


def test_a_reload_takes_a_new_configuration_and_keeps_the_old_one_on_an_error(service: Installation) -> None:
    machine = service.machine
    service.started()
    before = machine.has(service.unit, "MainPID")

    service.edited('interval = "1s"', 'interval = "2s"')
    machine.does(f"systemctl reload {service.unit}")
    machine.until(f"journalctl -o cat -u {service.unit}", lambda text: '"configuration_reloaded"' in text)
    service.edited('interval = "2s"', 'intervall = "2s"')
    refused = machine.run(f"systemctl reload {service.unit}")
    service.status_text(lambda text: "configuration on disk refused: poll.intervall" in text)
    service.raises(3)
    service.agrees()
    service.edited("intervall", "interval")
    machine.does(f"systemctl reload {service.unit}")
    service.status_text(lambda text: text == "ready")

    assert refused.returncode != 0
    assert machine.has(service.unit, "MainPID") == before


def test_a_stop_is_clean(service: Installation) -> None:
    machine = service.machine
    service.started()

    machine.does(f"systemctl stop {service.unit}")

    told = service.journal()
    assert f"{service.unit}: Deactivated successfully." in told
    assert '"event": "stopped"' in told
    assert '"event": "stopped_at_once"' not in told


def test_a_wrong_configuration_ends_it_with_2_and_it_is_not_started_again(service: Installation) -> None:
    machine = service.machine
    service.edited('interval = "1s"', 'interval = "soon"')

    started = machine.run(f"systemctl start {service.unit}")

    assert started.returncode != 0
    assert [machine.has(service.unit, key) for key in ("ActiveState", "ExecMainStatus", "NRestarts")] == [
        "failed",
        "2",
        "0",
    ]
    assert "poll.interval" in service.journal()


@pytest.mark.parametrize("unit", ["kuma-sync.service", "kuma-sync@north.service"])
def test_little_is_exposed(installed: Machine, unit: str) -> None:
    judged = installed.run(f"systemd-analyze security --no-pager --threshold={EXPOSURE_ALLOWED} {unit}")

    assert judged.returncode == 0, judged.stdout
    figure(judged.stdout.strip().splitlines()[-1])


def test_systemd_has_nothing_to_say_about_the_units(installed: Machine) -> None:
    """It exits with 0 on unknown keys and bad values too, so any line is a failure."""
    folder = "/lib/systemd/system"

    assert installed.does(f"systemd-analyze verify {folder}/kuma-sync.service {folder}/kuma-sync@north.service") == ""


def test_the_template_unit_runs_two_installations_side_by_side(installed: Machine) -> None:
    north, south = (
        Installation(machine=installed, name=name, port=port) for name, port in (("north", 21000), ("south", 22000))
    )
    for one in (north, south):
        one.prepared()
    try:
        for one in (north, south):
            one.started()
        north.raises(2)
        north.agrees()
        installed.does(f"systemctl stop {south.unit}")
        north.raises(2)
        north.agrees()
        told = {one.name: installed.run(f"kuma-sync status --exit-code -c {one.config}") for one in (north, south)}

        assert installed.has(north.unit, "ActiveState") == "active"
        assert "daemon running since" in told["north"].stdout
        assert told["south"].returncode == 3, told["south"].stdout
        stores = installed.does("find /var/lib/kuma-sync -name '*.db' -printf '%P %U\\n' | sort").splitlines()
        assert [line.split()[0] for line in stores] == ["north/kuma-sync.db", "south/kuma-sync.db"]
    finally:
        for one in (north, south):
            one.removed()
