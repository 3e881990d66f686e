"""The manual pages: made from the help, one for each command, the same each time, without a complaint from groff."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kuma_sync.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


def made(folder: Path, **env: str) -> dict[str, str]:
    """The pages by their names."""
    words = [sys.executable, str(ROOT / "deploy" / "man.py"), str(folder)]
    subprocess.run(words, check=True, env={**os.environ, "PYTHONPATH": str(ROOT), **env})
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return made(tmp_path_factory.mktemp("man"))


def test_each_command_has_its_page_and_the_help_is_in_it(pages: dict[str, str]) -> None:
    assert {"kuma-sync.1", "kuma-sync-db-upgrade.1", *(f"kuma-sync-{name}.1" for name in COMMANDS)} <= pages.keys()
    assert "kuma\\-sync alerts \\-\\-state parked" in pages["kuma-sync-alerts.1"]
    assert ".SH EXIT STATUS\n0 shown, 1 the store cannot be read" in pages["kuma-sync-status.1"]
    assert ".SH ENVIRONMENT" in pages["kuma-sync.1"]
    assert not any("\b" in page or "[OPTIONS] [OPTIONS]" in page for page in pages.values())


def test_the_same_program_gives_the_same_pages(pages: dict[str, str], tmp_path: Path) -> None:
    again = made(tmp_path / "again", TZ="Asia/Almaty", COLUMNS="40", LC_ALL="C", PYTHONHASHSEED="7")
    dated = made(tmp_path / "dated", SOURCE_DATE_EPOCH="1767225600")

    assert again == pages
    assert '.TH "KUMA\\-SYNC" 1 "2026-01-01"' in dated["kuma-sync.1"]


@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_complains_about_no_page(pages: dict[str, str]) -> None:
    for name, page in pages.items():
        done = subprocess.run(
            ["groff", "-ww", "-man", "-Tutf8", "-K", "utf8", "-P-cbou"],
            input=page,
            capture_output=True,
            text=True,
            check=False,
        )

        assert (name, done.stderr) == (name, "")
        assert "NAME" in done.stdout


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_man_shows_a_page_as_it_is_read(pages: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "page.1").write_text(pages["kuma-sync-close.1"], encoding="utf-8")

    done = subprocess.run(
        ["man", "--warnings", "-l", str(tmp_path / "page.1")],
        env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8", "MANPAGER": "cat", "MAN_KEEP_FORMATTING": ""},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "kuma-sync close 5f0c2a3e --reason responded" in done.stdout
    assert "`" not in done.stdout
