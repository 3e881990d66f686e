"""A Debian with its own systemd, booted by systemd-nspawn from packages of the release that this machine runs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import ASK, ENTER

PACKAGES = (
    *("python3", "python3-venv", "ca-certificates"),
    *("systemd-sysv", "dbus", "procps", "iproute2", "man-db", "bash-completion"),
)
TOOLS = ("mmdebstrap", "systemd-nspawn", "nsenter", "unshare", "dpkg-deb", "tar")
BOOT = f"""\
{ENTER}exec systemd-nspawn --quiet --directory "$1" --boot --register=no --keep-unit --private-network --console=pipe
"""


def lacking() -> list[str]:
    """Name what is not here."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if not missing and not _sources():
        missing = ["the sources of Debian's packages in /etc/apt"]
    return missing if os.geteuid() == 0 else ["root"]


def _sources() -> list[Path]:
    """Return the files that say where this machine has Debian's packages from."""
    apt = Path("/etc/apt")
    return [path for path in (apt / "sources.list", apt / "sources.list.d/debian.sources") if path.is_file()]


def _release() -> str:
    """Return the name of the Debian that runs here."""
    lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)["VERSION_CODENAME"]


def packed(archive: Path) -> None:
    """Make an archive of a Debian of the release that runs here, with what a machine and an image's base need."""
    begun = archive.with_name("begun.tar")
    hook = 'chroot "$1" ln -s python3 /usr/bin/python'
    words = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    made = subprocess.run(
        [*words, f"--customize-hook={hook}", _release(), str(begun), *map(str, _sources())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    begun.rename(archive)


def unpacked(archive: Path, folder: Path) -> Path:
    """Return the root folder of a new machine."""
    root = folder / "root"
    root.mkdir()
    subprocess.run(["tar", "-C", str(root), "-xf", str(archive)], check=True)
    (root / "etc/hostname").write_text("system-test\n", encoding="utf-8")
    return root


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A running machine: its root folder, and the process number of its systemd."""

    root: Path
    leader: int

    @classmethod
    @contextmanager
    def booted(cls, root: Path) -> Iterator[Machine]:
        """Boot, and power off at the end."""
        log = root.with_name("console.log")
        with log.open("wb") as console:
            words = ["unshare", "--mount", "sh", "-e", "-c", BOOT, "boot", str(root)]
            nspawn = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
            )
            try:
                machine = cls(root=root, leader=_leader(nspawn, log))
                machine.until("systemctl is-system-running", lambda told: told.strip() in ("running", "degraded"))
                yield machine
            finally:
                _ended(nspawn)

    def run(self, command: str, *, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a line of shell as root inside; what it prints is in `stdout`, errors too."""
        words = ["nsenter", "--target", str(self.leader), "--all", "env", "-i", "HOME=/root", "LC_ALL=C.UTF-8"]
        path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.run(
            [*words, path, "DEBIAN_FRONTEND=noninteractive", "bash", "-c", command],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=240,
        )

    def brought(self, file: Path) -> None:
        """Copy a file to /srv."""
        shutil.copy(file, self.root / "srv")

    def does(self, command: str, *, text: str = "") -> str:
        """Run a line of shell that must succeed."""
        done = self.run(command, text=text)
        assert done.returncode == 0, f"{command}\n{done.returncode}: {done.stdout}"
        return done.stdout

    def until(self, command: str, told: Callable[[str], bool], *, within: float = 90) -> str:
        """Run a line of shell until its output is as wanted; return the output."""
        end = time.monotonic() + within
        while not told(found := self.run(command).stdout):
            assert time.monotonic() < end, f"{command}\n{found}\n{self.run('journalctl --no-pager -n 40').stdout}"
            time.sleep(0.2)
        return found

    def has(self, unit: str, key: str) -> str:
        """Return a property of a unit."""
        return self.does(f"systemctl show --value -p {key} {unit}").strip()

    def until_unit(self, unit: str, key: str, told: Callable[[str], bool], *, within: float = 90) -> str:
        """Wait for a property of a unit."""
        return self.until(f"systemctl show --value -p {key} {unit}", lambda found: told(found.strip()), within=within)

    def asks(self, url: str, token: str, body: dict[str, Any] | None = None) -> Any:
        """Ask an address on the machine's loopback."""
        return json.loads(self.does(f"python3 -c {shlex.quote(ASK)}", text=json.dumps([url, token, body])))


def _leader(nspawn: subprocess.Popen[bytes], log: Path) -> int:
    """Wait until systemd runs as the only child of systemd-nspawn, and answers."""
    children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children")
    end = time.monotonic() + 120
    while time.monotonic() < end and nspawn.poll() is None:
        found = [int(one) for one in children.read_text().split()]
        for pid in found:
            answers = ["nsenter", "--target", str(pid), "--all", "systemctl", "is-system-running"]
            told = subprocess.run(answers, capture_output=True, text=True, check=False)
            if told.stdout.strip() in ("starting", "running", "degraded"):
                return pid
        time.sleep(0.2)
    raise AssertionError(f"the machine did not boot: {log.read_text(errors='replace')[-2000:]}")


def _ended(nspawn: subprocess.Popen[bytes]) -> None:
    """Power off as the firmware's button does."""
    nspawn.send_signal(signal.SIGTERM)
    try:
        nspawn.wait(60)
    except subprocess.TimeoutExpired:
        nspawn.kill()
        nspawn.wait()
