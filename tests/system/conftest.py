"""Real machines to install on. They need root and some minutes, so only `make system` runs them.

SYSTEM_TESTS=run skips, with the reason, what cannot run here; SYSTEM_TESTS=required fails instead.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from debian import Machine, lacking, packed, unpacked

ROOT = Path(__file__).resolve().parents[2]


FIGURES: list[str] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures for docs/deployment.md."""
    for line in FIGURES:
        terminalreporter.write_line(line)


def assured(missing: list[str]) -> None:
    """Skip the test that asks, or fail it where it must not be skipped."""
    wanted = os.environ.get("SYSTEM_TESTS")
    if not wanted:
        pytest.skip("`make system` runs this")
    if missing:
        ending = pytest.fail if wanted == "required" else pytest.skip
        ending(f"this needs {', '.join(missing)}")


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built as `make deb` does."""
    assured(lacking())
    folder = tmp_path_factory.mktemp("deb")
    words = [sys.executable, str(ROOT / "deploy/deb/build.py"), str(folder)]
    built = subprocess.run(words, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return Path(built.stdout.strip())


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The archive of a Debian of the same release as this one."""
    assured(lacking())
    archive = packed(tmp_path_factory.mktemp("debian"))
    yield archive
    archive.unlink()


@pytest.fixture(scope="session")
def machine(debian: Path) -> Iterator[Machine]:
    """A booted Debian without a network; not in pytest's folder, which later runs clean up: it has mounts in it."""
    with (
        TemporaryDirectory(prefix="kuma-sync-machine-") as folder,
        unpacked(debian, Path(folder)) as root,
        Machine.booted(root) as booted,
    ):
        yield booted
