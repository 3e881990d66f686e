"""Real machines to install on. They need root and some minutes, so only `make system` runs them.

SYSTEM_TESTS=run skips, with the reason, what cannot run here; SYSTEM_TESTS=required fails instead.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import containers
import debian as debians
import pytest
from containers import Containers
from debian import Machine
from sandbox import Sandbox
from scratch import scratch, swept
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parents[2]
SHARED = "SYSTEM_TESTS_FOLDER"
"""The folder that the processes of a run share: the archive of a Debian, and the figures."""

PLACES = {
    "containers": ("test_image", "test_compose"),
    "machine": ("test_debian_package", "test_debian_service"),
    "environments": ("test_plain_venv",),
}
"""What one process runs, because it shares what takes long to make: an image, a machine."""


class ByPlace(LoadScopeScheduling):
    """Give each process one of the places after the other."""

    def _split_scope(self, nodeid: str) -> str:
        module = Path(nodeid.split("::", maxsplit=1)[0]).stem
        return next((place for place, modules in PLACES.items() if module in modules), module)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    """Share the tests out by place, where they are run alone."""
    return ByPlace(config, log) if os.environ.get("SYSTEM_TESTS") else None


def pytest_configure(config: pytest.Config) -> None:
    """Once a run: remove what a killed run left behind, and make the folder that its processes share."""
    if os.environ.get("SYSTEM_TESTS") and not hasattr(config, "workerinput"):
        swept()
        folder = ExitStack()
        os.environ[SHARED] = str(folder.enter_context(scratch("shared")))
        config.add_cleanup(folder.close)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures for docs/deployment.md."""
    figures = Path(os.environ.get(SHARED, "/nowhere")) / "figures"
    for line in figures.read_text(encoding="utf-8").splitlines() if figures.exists() else []:
        terminalreporter.write_line(line)


def figure(text: str) -> None:
    """Keep a figure for the end of the run."""
    with (Path(os.environ[SHARED]) / "figures").open("a", encoding="utf-8") as figures:
        figures.write(f"{text}\n")


def assured(missing: list[str]) -> None:
    """Skip the test that asks, or fail it where it must not be skipped."""
    wanted = os.environ.get("SYSTEM_TESTS")
    if not wanted or SHARED not in os.environ:
        pytest.skip("`make system` runs this")
    if missing:
        ending = pytest.fail if wanted == "required" else pytest.skip
        ending(f"this needs {', '.join(missing)}")


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built as `make deb` does."""
    assured(debians.lacking())
    folder = tmp_path_factory.mktemp("deb")
    words = [sys.executable, str(ROOT / "deploy/deb/build.py"), str(folder)]
    built = subprocess.run(words, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return Path(built.stdout.strip())


@pytest.fixture(scope="session")
def debian() -> Path:
    """The archive of a Debian of the same release as this one; whichever process needs it first makes it."""
    assured(debians.lacking())
    archive = Path(os.environ[SHARED]) / "debian.tar"
    with archive.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            debians.packed(archive)
    return archive


@pytest.fixture(scope="session")
def machine(debian: Path) -> Iterator[Machine]:
    """A booted Debian without a network."""
    with scratch("machine") as folder, Machine.booted(debians.unpacked(debian, folder)) as booted:
        yield booted


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The image, its base, and what holds both."""

    containers: Containers
    name: str
    base: str


@pytest.fixture(scope="session")
def image(debian: Path) -> Iterator[Image]:
    """The image, built from the sources on a base that is made here."""
    assured(containers.lacking())
    with scratch("containers") as folder, Sandbox.opened(folder) as sandbox:
        made = Containers.prepared(folder, sandbox)
        base = made.based(debian)
        yield Image(containers=made, name=made.built(ROOT, base, "kuma-sync", borrowed=containers.PIP), base=base)
