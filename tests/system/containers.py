"""Images and containers without Docker: built by buildah, run by podman, in a storage of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TOOLS = ("buildah", "podman", "crun", "unshare")
# crun takes neither this machine's older tree of control groups, nor limits that it may not raise.
PODMAN = """\
mount --make-rprivate / && umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup
exec podman "$@" 2>&1
"""


def lacking() -> list[str]:
    """Name what is not here."""
    return [tool for tool in TOOLS if shutil.which(tool) is None] if os.geteuid() == 0 else ["root"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers:
    """Podman with its storage below a folder."""

    folder: Path

    @property
    def _storage(self) -> list[str]:
        return [*("--root", f"{self.folder}/storage", "--runroot", f"{self.folder}/run"), "--storage-driver", "overlay"]

    def based(self, archive: Path) -> str:
        """Make a base image like python:3-slim of an unpacked Debian's archive; return its name."""
        _done(["podman", *self._storage, "import", "--quiet", str(archive), "localhost/python:slim"])
        return "localhost/python:slim"

    def built(self, sources: Path, base: str) -> str:
        """Build the image; return its name. pip is configured as it is on this machine."""
        trusted = [path for path in ("/etc/ssl/certs", "/etc/pip.conf") if Path(path).exists()]
        mounts = [word for path in trusted for word in ("--volume", f"{path}:{path}:ro")]
        words = ["buildah", *self._storage, "bud", "--isolation", "chroot", "--pull-never", "--format", "docker"]
        name = "localhost/kuma-sync:test"
        _done([*words, *mounts, "--build-arg", f"PYTHON_IMAGE={base}", "--tag", name, str(sources)])
        return name

    def podman(self, *words: str, within: float = 60) -> subprocess.CompletedProcess[str]:
        """Call podman; what it prints is in `stdout`, errors too."""
        (self.folder / "containers.conf").write_text("[containers]\ndefault_ulimits = []\n", encoding="utf-8")
        env = {**os.environ, "CONTAINERS_CONF": f"{self.folder}/containers.conf"}
        fixed = [
            "--cgroup-manager",
            "cgroupfs",
            "--events-backend",
            "file",
            "--runtime",
            "crun",
            "--log-level",
            "fatal",
        ]
        return subprocess.run(
            ["unshare", "--mount", "sh", "-e", "-c", PODMAN, "podman", *self._storage, *fixed, *words],
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=within,
        )

    def size(self, image: str) -> tuple[int, int]:
        """Return the bytes and the layers of an image."""
        told = self.podman("image", "inspect", "--format", "{{.Size}} {{len .RootFS.Layers}}", image).stdout.split()
        return int(told[0]), int(told[1])

    @contextmanager
    def running(self, name: str, *options: str, image: str) -> Iterator[str]:
        """Run a container with as few rights as there are; remove it at the end."""
        rights = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        machine = ["--cgroups=disabled", "--network", "host"]
        begun = self.podman("run", "--detach", "--name", name, *machine, *rights, *options, image)
        try:
            assert begun.returncode == 0, begun.stdout
            yield name
        finally:
            self.podman("rm", "--force", "--time", "10", name)

    def inside(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside a container."""
        return self.podman("exec", name, *words)

    def state(self, name: str, key: str) -> str:
        """Return a part of a container's state."""
        return self.podman("inspect", "--format", f"{{{{.State.{key}}}}}", name).stdout.strip()


def _done(words: list[str]) -> None:
    made = subprocess.run(words, capture_output=True, text=True, check=False)
    assert made.returncode == 0, f"{' '.join(words)}\n{made.stdout[-2000:]}{made.stderr[-2000:]}"
