"""Run all that a release must pass, go on after a failure, and print one table at the end: `make release-check`.

    python deploy/release/check.py [--only test,audit] [--without system]

Exit code 1 if anything failed. What cannot be done on this machine says why, and fails nothing. What each line printed
is in build/release-check.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / "build" / "release-check"
PYTHONS = ("3.11", "3.12", "3.13")
IMPOSSIBLE = 77
"""The exit code of a command that cannot do its work here; its last line is the reason."""

OK, FAILED, NOT_HERE = "ok", "failed", "not possible here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the table: a command, or the reason why there is none on this machine."""

    name: str
    command: Sequence[str] = ()
    variables: dict[str, str] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a line, and the seconds that it took."""

    name: str
    result: str
    reason: str = ""
    seconds: float = 0.0


def lines() -> list[Line]:
    """Return all lines, in the order in which they are run."""
    python = {"PYTHON": sys.executable}
    tools = ROOT / ".venv-release" / "bin"
    locks = [str(path) for path in sorted(ROOT.glob("requirements*.lock"))]
    return [
        _made("check"),
        Line(name="licences", command=[sys.executable, "deploy/release/licences.py", "docs/licences.md", "--check"]),
        Line(name="audit", command=[sys.executable, "deploy/release/audit.py", str(tools / "pip-audit"), *locks]),
        Line(name="reproducible wheel", command=["deploy/release/reproducible.sh"], variables=python),
        _made("sbom"),
        _made("test"),
        _made("demo"),
        _made("fuzz"),
        _system(),
        *(_other(version) for version in PYTHONS if version != _own()),
    ]


def _made(target: str, *words: str) -> Line:
    return Line(name=target, command=["make", target, *words])


def _system() -> Line:
    if os.geteuid() != 0 or shutil.which("dpkg") is None:
        return Line(name="system", reason="it needs root, on Debian")
    return _made("system", "SYSTEM_TESTS=required")


def _own() -> str:
    return ".".join(map(str, sys.version_info[:2]))


def _other(version: str) -> Line:
    """Return the line of the suite on another Python."""
    name, found = f"test on Python {version}", interpreter(version)
    if found is None:
        return Line(
            name=name, reason=f"there is no Python {version} with ssl, sqlite3 and venv on the PATH or in pyenv"
        )
    return Line(name=name, command=["make", "test", f"PYTHON={found}", f"VENV=build/python{version}"])


def interpreter(version: str) -> str | None:
    """Return an interpreter of a version that can run the suite, if there is one."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    inside = [str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python{version}"), reverse=True)]
    asks = f"import ssl, sqlite3, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != {version!r})"
    for candidate in [shutil.which(f"python{version}"), *inside]:
        if candidate and subprocess.run([candidate, "-c", asks], capture_output=True, check=False).returncode == 0:  # noqa: S603
            return candidate
    return None


def run(line: Line) -> Result:
    """Run a line to its end; its output goes to a file."""
    if line.reason:
        return Result(name=line.name, result=NOT_HERE, reason=line.reason)
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{line.name.replace(' ', '-')}.log"
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        code = subprocess.run(  # noqa: S603  # our own commands
            line.command, cwd=ROOT, env={**os.environ, **line.variables}, stdout=output, stderr=output, check=False
        ).returncode
    seconds = time.monotonic() - began
    if code == 0:
        return Result(name=line.name, result=OK, seconds=seconds)
    if code == IMPOSSIBLE:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return Result(name=line.name, result=NOT_HERE, reason=said[-1] if said else "no reason given", seconds=seconds)
    where = log.relative_to(ROOT) if log.is_relative_to(ROOT) else log
    return Result(name=line.name, result=FAILED, reason=f"exit code {code}, see {where}", seconds=seconds)


def table(results: Sequence[Result]) -> str:
    """Return the table."""
    rows = [("line", "result", "time")]
    for each in results:
        text = f"{each.result}: {each.reason}" if each.reason else each.result
        rows.append((each.name, text, f"{int(each.seconds) // 60}:{int(each.seconds) % 60:02}"))
    first, second = (max(len(row[at]) for row in rows) for at in (0, 1))
    return "".join(f"{name:<{first}}  {text:<{second}}  {took:>6}\n" for name, text, took in rows)


def check(wanted: Sequence[Line]) -> int:
    """Run lines one after the other, print the table, and return the exit code."""
    results: list[Result] = []
    try:
        for line in wanted:
            sys.stdout.write(f"{line.name} …\n")
            sys.stdout.flush()
            results.append(run(line))
    finally:
        sys.stdout.write(f"\n{table(results)}")
    return int(any(each.result == FAILED for each in results))


def main() -> int:
    """Choose the lines that are wanted, and run them."""
    every = lines()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(line.name for line in every), help="names of lines, with commas")
    parser.add_argument("--without", default="", help="names of lines, with commas")
    given = parser.parse_args()
    only, without = given.only.split(","), given.without.split(",")
    if unknown := {*only, *without} - {line.name for line in every} - {""}:
        parser.error(
            f"there is no line {', '.join(sorted(unknown))}; there are {', '.join(line.name for line in every)}"
        )
    return check([line for line in every if line.name in only and line.name not in without])


if __name__ == "__main__":
    sys.exit(main())
