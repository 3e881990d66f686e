"""The wheel in a plain environment, and the archive for machines without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from conftest import FIGURES, assured

ROOT = Path(__file__).resolve().parents[2]
DEMO = ("demo", "--seconds", "8")
ALONE = ("unshare", "--net", "sh", "-e", "-c", 'ip link set lo up; exec "$@"', "alone")


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


def run(*words: str, cwd: Path | None = None, code: int = 0, **env: str) -> str:
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def test_the_wheel_alone_makes_a_plain_environment_that_works(tmp_path: Path) -> None:
    assured([])
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), cwd=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"))

    run(str(tmp_path / "venv/bin/pip"), "install", "--quiet", "--only-binary", ":all:", str(wheel))
    told = run(str(tmp_path / "venv/bin/kuma-sync"), *DEMO, cwd=tmp_path)

    assert "The daemon exited 0 after SIGTERM." in told
    FIGURES.append(f"wheel: {wheel.stat().st_size / 1e6:.2f} MB")


def test_without_any_network_the_archive_installs_and_works(bundle: Path, unpacked: Path, tmp_path: Path) -> None:
    venv = tmp_path / "opt"

    told = run(*ALONE, "sh", str(unpacked / "install.sh"), str(venv), PYTHON=sys.executable)
    run(*ALONE, "sh", str(unpacked / "install.sh"), str(venv), PYTHON=sys.executable)
    day = run(*ALONE, str(venv / "bin/kuma-sync"), *DEMO, cwd=tmp_path)

    assert told.startswith("kuma-sync, version "), told
    assert "The daemon exited 0 after SIGTERM." in day
    FIGURES.append(f"{bundle.name}: {bundle.stat().st_size / 1e6:.1f} MB")


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
