"""The systemd unit: systemd itself judges it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[2] / "deploy" / "kuma-sync.service"

TARGETS = ("basic", "multi-user", "network-online", "shutdown", "sysinit", "time-sync")
EXPOSURE_ALLOWED = 15  # tenths; systemd's scale goes from 0 (nothing exposed) to 100

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed (Debian: package systemd)"
)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """Return a copy of the unit whose program exists on this machine, among the targets that it leans on."""
    folder = tmp_path / "units"
    folder.mkdir()
    for target in TARGETS:
        (folder / f"{target}.target").write_text(f"[Unit]\nDescription={target}\n", encoding="utf-8")
    copy = folder / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    copy.write_text(re.sub(r"(?m)^(ExecStart)=/opt/\S+", rf"\1={shutil.which('true')}", text), encoding="utf-8")
    return copy


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Let systemd judge a unit among those beside it, and not among those of this machine."""
    env = {**os.environ, "SYSTEMD_UNIT_PATH": str(Path(arguments[-1]).parent)}
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False, env=env)


def values(key: str) -> list[str]:
    return re.findall(rf"(?m)^{key}=(.*)$", UNIT.read_text(encoding="utf-8"))


def seconds(key: str) -> int:
    (value,) = values(key)
    return int(value.removesuffix("s"))


@needs_systemd
def test_systemd_has_nothing_to_say_about_the_unit(unit: Path) -> None:
    """It exits with 0 on unknown keys and bad values too, so any line is a failure."""
    result = analyze("verify", str(unit))

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@needs_systemd
def test_what_another_package_did_wrong_on_this_machine_is_not_ours(
    unit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "postgresql.service").write_text("[Service]\nTypo=yes\n", encoding="utf-8")
    monkeypatch.setenv("SYSTEMD_UNIT_PATH", f"{tmp_path}:")

    result = analyze("verify", str(unit))

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@needs_systemd
def test_systemd_does_say_something_about_a_misspelt_key(unit: Path) -> None:
    unit.write_text(unit.read_text(encoding="utf-8").replace("DynamicUser=", "DynamicUsers="), encoding="utf-8")

    assert "DynamicUsers" in analyze("verify", str(unit)).stderr


@needs_systemd
def test_little_is_exposed(unit: Path) -> None:
    result = analyze("security", "--offline=true", f"--threshold={EXPOSURE_ALLOWED}", "--no-pager", str(unit))

    assert result.returncode == 0, result.stdout + result.stderr


def test_systemd_waits_longer_for_the_end_than_the_daemon_does() -> None:
    from kuma_sync.settings.sections import RunSection

    assert seconds("TimeoutStopSec") > RunSection().grace.total_seconds()


def test_a_configuration_error_is_not_tried_again() -> None:
    assert values("Restart") == ["on-failure"]
    assert values("RestartPreventExitStatus") == ["2"]


def test_a_reload_fails_where_the_check_does_and_the_daemon_hears_of_it_all_the_same() -> None:
    (reload,) = values("ExecReload")

    program = values("ExecStart")[0].removesuffix(" run")
    assert reload.startswith("+/bin/sh -c "), "with a `-` its failure would count for nothing"
    assert reload.endswith(f" {program} config check; code=$?; kill -HUP $MAINPID; exit $code'")


def test_what_is_installed_can_be_read_by_the_services_user_whatever_roots_umask() -> None:
    """Root's own may be 077; then the program would be root's alone."""
    for page in ("README.md", "README.ru.md", "deploy/kuma-sync.service"):
        text = (UNIT.parents[1] / page).read_text(encoding="utf-8")
        assert re.search(r"(?m)^(#   )?umask 022\n(#   )?python3 -m venv /opt/kuma-sync$", text), page


def test_the_secrets_it_documents_are_the_secrets_it_loads() -> None:
    named = set(re.findall(r"\$\{CREDENTIALS_DIRECTORY\}/([\w-]+)", UNIT.read_text(encoding="utf-8")))

    assert {value.split(":")[0] for value in values("LoadCredential")} == named == {"kuma-token", "irp-token"}
