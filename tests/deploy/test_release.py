"""What `make release-check` does: goes on after a failure, tells what is impossible, lists licences that are true."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
RELEASE = ROOT / "deploy" / "release"


def loaded(name: str) -> ModuleType:
    spec = spec_from_file_location(f"release_{name}", RELEASE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_check_goes_on_after_a_failure_and_prints_one_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check = loaded("check")
    monkeypatch.setattr(check, "LOGS", tmp_path)
    monkeypatch.chdir(tmp_path)
    lines = [
        check.Line(name="first", command=["false"]),
        check.Line(name="second", command=["sh", "-c", "echo one; echo nobody to ask; exit 77"]),
        check.Line(name="third", reason="it needs root"),
        check.Line(name="last", command=["true"]),
    ]

    code = check.check(lines)
    table = [" ".join(line.split()) for line in capsys.readouterr().out.partition("\n\n")[2].splitlines()]

    assert code == 1
    assert table == [
        "line result time",
        f"first failed: exit code 1, see {tmp_path}/first.log 0:00",
        "second not possible here: nobody to ask 0:00",
        "third not possible here: it needs root 0:00",
        "last ok 0:00",
    ]
    assert check.check(lines[1:]) == 0


def test_the_check_has_a_line_for_each_python_that_the_package_names() -> None:
    check = loaded("check")
    classifiers = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    assert all(f"Python :: {version}" in classifiers for version in check.PYTHONS)
    assert len([line for line in check.lines() if "on Python" in line.name]) == len(check.PYTHONS) - 1
    assert check.interpreter("2.0") is None


ANSWERS = {
    '{"dependencies": [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "version": "2", "vulns": []}]}': (
        0,
        "no advisory is known for any of 2 releases",
    ),
    '{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1"}]}]}': (1, "a 1: CVE-1"),
    '{"dependencies": [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not found"}]}': (
        77,
        "1 of 2 releases were not audited: the advisory service does not know them",
    ),
    "": (77, "2 of 2 releases were not audited: the advisory service could not be asked: pip-audit said nothing"),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_could_not_be_audited_is_never_called_clean(answer: str, tmp_path: Path) -> None:
    lock, tool = tmp_path / "some.lock", tmp_path / "pip-audit"
    lock.write_text("a==1 \\\n    --hash=sha256:0\nb==2 \\\n    --hash=sha256:0\nc==3 ; sys_platform == 'win32' \\\n")
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\n")
    tool.chmod(0o755)

    words = [sys.executable, str(RELEASE / "audit.py"), str(tool), str(lock)]
    audit = subprocess.run(words, capture_output=True, text=True, check=False)

    assert (audit.returncode, audit.stdout) == (ANSWERS[answer][0], f"some.lock: {ANSWERS[answer][1]}\n")


def test_the_list_of_licences_is_what_the_libraries_tell() -> None:
    words = [sys.executable, str(RELEASE / "licences.py"), str(ROOT / "docs" / "licences.md"), "--check"]
    check = subprocess.run(words, capture_output=True, text=True, check=False)

    assert (check.returncode, check.stderr) == (0, "")


@pytest.mark.parametrize(
    ("licence", "good"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("Apache-2.0 AND MIT", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-3.0-only", False),
        ("unknown", False),
    ],
)
def test_a_licence_that_nobody_judged_is_not_let_pass(licence: str, good: bool) -> None:
    assert loaded("licences")._permissive(licence) is good
