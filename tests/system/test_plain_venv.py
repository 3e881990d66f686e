"""The wheel in a plain environment and by pipx, and the archive for machines without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import ROOT, assured, figure
from remotes import Remotes, resident, simulated, until

ALONE = ("unshare", "--net", "sh", "-e", "-c", 'ip link set lo up; exec "$@"', "alone")
# The commands from end to end, the decisions, and whole days.
REPRESENTATIVE = ("tests/cli", "tests/core", "tests/walk/test_walk_case.py", "tests/walk/test_walk_single_pass.py")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as `python -m build` makes it."""
    assured([])
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-d", str(folder), cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    figure(f"wheel: {wheel.stat().st_size / 1e6:.2f} MB without libraries")
    return wheel


@pytest.fixture(scope="module")
def plain(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain environment with the wheel, and what pip fetches for it."""
    venv = tmp_path_factory.mktemp("plain") / "venv"
    run(sys.executable, "-m", "venv", str(venv))
    run(str(venv / "bin/pip"), "install", "--quiet", "--only-binary", ":all:", str(wheel))
    return venv


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive, as `make bundle` builds it."""
    assured([tool for tool in ("unshare", "ip") if not shutil.which(tool)] if os.geteuid() == 0 else ["root"])
    folder = tmp_path_factory.mktemp("bundle")
    return Path(run("sh", str(ROOT / "deploy/offline/build.sh"), str(folder), PYTHON=sys.executable).split()[-1])


@pytest.fixture
def unpacked(bundle: Path, tmp_path: Path) -> Path:
    """What is in the archive."""
    with tarfile.open(bundle) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    return folder


@pytest.fixture
def remotes(tmp_path: Path) -> Iterator[Remotes]:
    """Two simulators, and a configuration for a daemon between them."""
    folder = tmp_path / "between"
    folder.mkdir(mode=0o700)
    with simulated(folder) as both:
        both.config.chmod(0o600)
        yield both


def run(*words: str, cwd: Path | None = None, code: int = 0, **env: str) -> str:
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1500,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


@contextmanager
def daemon(command: Path, remotes: Remotes, name: str) -> Iterator[None]:
    """Run the daemon until it is ready, and end it with SIGTERM; its start and memory become figures."""
    began = time.monotonic()
    words = [command, "run", "-c", remotes.config]
    process = subprocess.Popen(
        words, cwd=remotes.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        until(lambda: remotes.ready() or process.poll() is not None, lambda: f"{name} is not ready")
        took = time.monotonic() - began
        yield
        memory = resident(process.pid) if process.poll() is None else "ended"
    finally:
        process.terminate()
        told, _ = process.communicate(timeout=60)
    assert process.returncode == 0, told
    figure(f"{name}: ready after {took:.1f} s, {memory}")


def works(command: Path, remotes: Remotes, name: str) -> None:
    """Let an installed command carry alerts; say how large its folder is."""
    remotes.raises(4)
    with daemon(command, remotes, name):
        until(remotes.agrees, lambda: "one side has what the other has not")
    folder = command.resolve().parents[1]
    figure(f"{name}: {size(folder) / 1e6:.0f} MB on the disk")


def size(folder: Path) -> int:
    """Return the bytes on the disk."""
    return int(run("du", "-s", "-B1", str(folder)).split()[0])


def test_the_wheel_alone_makes_a_plain_environment_that_works(plain: Path, remotes: Remotes) -> None:
    works(plain / "bin/kuma-sync", remotes, "plain environment")


def test_pipx_installs_the_wheel_and_the_command_works(wheel: Path, remotes: Remotes, tmp_path: Path) -> None:
    assured([] if shutil.which("pipx") else ["pipx"])
    env = {"PIPX_HOME": str(tmp_path / "pipx"), "PIPX_BIN_DIR": str(tmp_path / "bin")}

    run("pipx", "install", str(wheel), **env)

    works(tmp_path / "bin/kuma-sync", remotes, "pipx")
    run("pipx", "uninstall", "kuma-sync", **env)
    assert not (tmp_path / "bin/kuma-sync").exists()


def test_the_suite_passes_with_the_installed_wheel_and_without_the_sources(plain: Path, tmp_path: Path) -> None:
    copied = tmp_path / "tests-alone"
    left_out = shutil.ignore_patterns("kuma_sync", "migrations", ".*", "build", "dist", "__pycache__")
    shutil.copytree(ROOT, copied, ignore=left_out)
    # What the tests need besides, after what the wheel needs; a plain path leads to nobody's editable sources.
    (libraries,) = plain.glob("lib/*/site-packages")
    (beside,) = (path for path in map(Path, sys.path) if path == Path(pytest.__file__).parents[1])
    (libraries / "for-tests.pth").write_text(f"{beside}\n", encoding="utf-8")
    python = str(plain / "bin/python")

    found = run(python, "-c", "import kuma_sync.store.migrate as m; print(m.__file__)", cwd=copied).strip()
    told = run(python, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", *REPRESENTATIVE, cwd=copied)

    assert Path(found).is_relative_to(libraries)
    figure(f"with the installed wheel: {told.strip().splitlines()[-1]}")


def test_without_any_network_the_archive_installs_and_works(
    bundle: Path, unpacked: Path, remotes: Remotes, tmp_path: Path
) -> None:
    venv = tmp_path / "opt"

    told = run(*ALONE, "sh", str(unpacked / "install.sh"), str(venv), PYTHON=sys.executable)
    run(*ALONE, "sh", str(unpacked / "install.sh"), str(venv), PYTHON=sys.executable)
    day = run(*ALONE, str(venv / "bin/kuma-sync"), "demo", "--seconds", "8", cwd=tmp_path)

    assert told.startswith("kuma-sync, version "), told
    assert "The daemon exited 0 after SIGTERM." in day
    assert (unpacked / "README.md").read_text(encoding="utf-8").startswith("# kuma-sync")
    figure(f"{bundle.name}: {bundle.stat().st_size / 1e6:.1f} MB")
    works(venv / "bin/kuma-sync", remotes, "archive without a network")


def test_a_damaged_archive_is_not_installed(unpacked: Path, tmp_path: Path) -> None:
    with next(unpacked.glob("wheels/httpx-*.whl")).open("ab") as wheel:
        wheel.write(b"x")

    told = run("sh", str(unpacked / "install.sh"), str(tmp_path / "opt"), code=1, PYTHON=sys.executable)

    assert "fetch the archive again" in told
    assert not (tmp_path / "opt").exists()


def test_another_python_than_the_archives_is_named(unpacked: Path, tmp_path: Path) -> None:
    (unpacked / "PYTHON_VERSION").write_text("3.99\n", encoding="utf-8")
    sums = run("sha256sum", "PYTHON_VERSION", cwd=unpacked)
    lines = (unpacked / "SHA256SUMS").read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not line.endswith("PYTHON_VERSION\n")]
    (unpacked / "SHA256SUMS").write_text("".join([*kept, sums]), encoding="utf-8")

    told = run("sh", str(unpacked / "install.sh"), str(tmp_path / "opt"), code=1, PYTHON=sys.executable)

    assert "this archive is for Python 3.99" in told
