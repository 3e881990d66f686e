"""Images and containers without Docker: built by buildah, run by podman, in a storage and a sandbox of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox import Sandbox

PIP = ("/etc/ssl/certs", "/etc/pip.conf")
"""How this machine's pip is configured, and whom it trusts."""
TOOLS = ("buildah", "podman", "crun", "unshare", "nsenter", "ip")
# Control groups cannot be made in every sandbox, nor may every root raise limits; names need netavark and aardvark.
SETTINGS = """\
[containers]
cgroups = "disabled"
default_ulimits = []
[network]
network_backend = "netavark"
"""
PODMAN = """\
#!/bin/sh
export CONTAINERS_CONF={folder}/containers.conf
exec podman --root {folder}/storage --runroot {folder}/run --storage-driver overlay \
    --network-config-dir {folder}/networks --cgroup-manager cgroupfs --events-backend file --runtime crun \
    --log-level fatal "$@"
"""


def lacking() -> list[str]:
    """Name what is not here."""
    return [tool for tool in TOOLS if shutil.which(tool) is None] if os.geteuid() == 0 else ["root"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Containers:
    """Podman with its storage below a folder."""

    folder: Path
    sandbox: Sandbox

    @classmethod
    def prepared(cls, folder: Path, sandbox: Sandbox) -> Containers:
        """Write podman's configuration, and a command that uses it."""
        (folder / "containers.conf").write_text(SETTINGS, encoding="utf-8")
        made = cls(folder=folder, sandbox=sandbox)
        made.command.write_text(PODMAN.format(folder=folder), encoding="utf-8")
        made.command.chmod(0o755)
        return made

    @property
    def command(self) -> Path:
        """The command `podman` for this storage."""
        return self.folder / "podman"

    def based(self, archive: Path) -> str:
        """Make a base image like python:3-slim of an unpacked Debian's archive; return its name."""
        made = self.podman("import", "--quiet", str(archive), "localhost/python:slim", within=300)
        assert made.returncode == 0, made.stdout
        return "localhost/python:slim"

    def built(self, sources: Path, base: str, name: str, *, borrowed: tuple[str, ...] = ()) -> str:
        """Build an image; return its name. What is borrowed of this machine's files is seen by the build alone."""
        mounts = [word for path in borrowed if Path(path).exists() for word in ("--volume", f"{path}:{path}:ro")]
        storage = ["--root", f"{self.folder}/storage", "--runroot", f"{self.folder}/run", "--storage-driver", "overlay"]
        words = ["buildah", *storage, "bud", "--isolation", "chroot", "--pull-never", "--format", "docker", *mounts]
        given = ["--build-arg", f"PYTHON_IMAGE={base}", "--tag", f"localhost/{name}", str(sources)]
        made = self._called(*words, *given, within=600)
        assert made.returncode == 0, made.stdout[-4000:]
        return f"localhost/{name}"

    def podman(self, *words: str, within: float = 60) -> subprocess.CompletedProcess[str]:
        """Call podman; what it prints is in `stdout`, errors too."""
        return self._called(str(self.command), *words, within=within)

    def _called(self, *words: str, within: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.sandbox.words(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
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
        begun = self.podman("run", "--detach", "--name", name, "--network", "host", *rights, *options, image)
        try:
            assert begun.returncode == 0, begun.stdout
            yield name
        finally:
            self.podman("rm", "--force", "--time", "10", name)

    def inside(self, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside a container."""
        return self.podman("exec", name, *words)

    def inspected(self, name: str, key: str) -> str:
        """Return what podman knows of a container."""
        return self.podman("inspect", "--format", f"{{{{.{key}}}}}", name).stdout.strip()
