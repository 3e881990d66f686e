"""The wheel: built here without a network, unpacked elsewhere, and run from there as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from kuma_sync import __version__

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `pip` would build it from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel holds, far from the checkout."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """An empty working directory."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def run(installed: Path, *arguments: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the unpacked wheel before everything else, the checkout included."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1", **settings}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_wheel_holds_all_that_the_program_reads_at_run_time(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())

    migrations = {
        f"kuma_sync/migrations/{path.relative_to(ROOT / 'migrations')}" for path in ROOT.glob("migrations/**/*.py")
    }
    package = {
        str(path.relative_to(ROOT))
        for path in ROOT.glob("kuma_sync/**/*")
        if path.is_file() and path.parent.name != "__pycache__"
    }

    assert len(migrations) > 1
    assert {Path(name).suffix for name in package} >= {".py", ".toml", ".html", ".css", ".po"}
    assert (migrations | package | {"kuma_sync/config.example.toml"}) - names == set()


def test_the_archive_of_the_sources_gives_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path), "-t"]
    subprocess.run([*build, "sdist"], cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(tmp_path / f"kuma_sync-{__version__}.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / f"kuma_sync-{__version__}"
    subprocess.run([*build, "wheel"], cwd=unpacked, check=True, capture_output=True)
    (again,) = tmp_path.glob("*.whl")

    assert again.read_bytes() == wheel.read_bytes()
    wanted = ("Makefile", "Dockerfile", ".dockerignore", ".ci/run", "requirements.lock", "deploy/deb/build.py")
    assert [name for name in (*wanted, "tests/test_package.py") if not (unpacked / name).is_file()] == []


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        names = archive.namelist()

    assert tops == {"kuma_sync", f"kuma_sync-{__version__}.dist-info"}
    assert [name for name in names if "__pycache__" in name or name.endswith((".db", ".lock"))] == []


def test_the_wheel_brings_the_command_and_says_what_it_needs(wheel: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    with zipfile.ZipFile(wheel) as archive:
        info = f"kuma_sync-{__version__}.dist-info"
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
        metadata = archive.read(f"{info}/METADATA").decode()

    assert "kuma-sync = kuma_sync.__main__:main" in entry_points
    assert f"Requires-Python: {project['requires-python']}" in metadata
    assert metadata.count("\nRequires-Dist: ") == len(project["dependencies"]) + sum(
        map(len, project["optional-dependencies"].values())
    )


def test_the_unpacked_copy_is_the_one_that_runs(installed: Path, elsewhere: Path) -> None:
    found = run(installed, "-c", "import kuma_sync; print(kuma_sync.__file__)", cwd=elsewhere)

    assert Path(found.stdout.strip()).is_relative_to(installed), found.stdout + found.stderr


def test_it_tells_its_version(installed: Path, elsewhere: Path) -> None:
    told = run(installed, "-m", "kuma_sync", "--version", cwd=elsewhere)

    assert (told.returncode, told.stderr) == (0, "")
    assert __version__ in told.stdout


def test_it_writes_the_example_configuration_once(installed: Path, elsewhere: Path) -> None:
    first = run(installed, "-m", "kuma_sync", "init", cwd=elsewhere)
    again = run(installed, "-m", "kuma_sync", "init", cwd=elsewhere)

    assert first.returncode == 0, first.stderr
    assert (elsewhere / "config.toml").read_text(encoding="utf-8") == (ROOT / "config.example.toml").read_text(
        encoding="utf-8"
    )
    assert again.returncode != 0


def test_it_lists_the_built_in_profiles(installed: Path, elsewhere: Path) -> None:
    listed = run(installed, "-m", "kuma_sync", "profile", "list", cwd=elsewhere)

    assert listed.returncode == 0, listed.stderr
    assert "security-vision" in listed.stdout


def test_it_makes_the_tables_of_a_new_store(installed: Path, elsewhere: Path) -> None:
    addresses = {
        "KUMA_SYNC_KUMA__URL": "kuma.example.com",
        "KUMA_SYNC_KUMA__TOKEN": "a-token",
        "KUMA_SYNC_IRP__URL": "https://sv.example.com",
        "KUMA_SYNC_IRP__TOKEN": "a-token",
        "KUMA_SYNC_STORE__URL": f"sqlite:///{elsewhere}/store.db",
    }

    upgraded = run(installed, "-m", "kuma_sync", "db", "upgrade", cwd=elsewhere, **addresses)
    current = run(installed, "-m", "kuma_sync", "db", "current", cwd=elsewhere, **addresses)

    newest = max(path.stem.split("_")[0] for path in (ROOT / "migrations" / "versions").glob("[0-9]*.py"))
    assert upgraded.returncode == 0, upgraded.stderr
    assert (elsewhere / "store.db").exists()
    assert current.returncode == 0, current.stderr
    assert newest in current.stdout
