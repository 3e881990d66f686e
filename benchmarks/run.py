"""Run every benchmark, print the table of figures, write the result and the figures section of docs/performance.md.

A benchmark that fails or is absent is said to be missing, and the others go on. A `--quick` or partial run writes
nothing unless it is told where.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from figures import Figure, Report, say, table
from paper import draw, fill, machine, section
from reading import links, stream
from stage import HERE, ROOT

ORDER = (
    *("stream", "memory", "quiet", "catchup", "freshness", "links", "handout", "console", "scaleout", "start"),
    "privacy",
)
LONGEST = 900
"""Seconds after which one benchmark is given up."""


def own(name: str, options: argparse.Namespace) -> Report:
    """Run one of the benchmarks that write a report."""
    command = [sys.executable, str(HERE / f"{name}.py")]
    command += ["--quick"] if options.quick else []
    if name in ("catchup", "console", "scaleout") and options.postgres:
        command += ["--postgres", options.postgres]
    if name == "catchup" and options.dlt_python:
        command += ["--dlt-python", options.dlt_python]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        subprocess.run([*command, "--json", str(path)], check=True, timeout=LONGEST)  # noqa: S603  # our own script
        return Report.read(path)


READERS: dict[str, Callable[[bool], Report]] = {"stream": stream, "links": links}


def measure(name: str, options: argparse.Namespace) -> Report | None:
    """Run one benchmark; None when it cannot be run."""
    say(f"\n== {name}")
    started = time.monotonic()
    try:
        if not (HERE / f"{name}.py").exists():
            raise FileNotFoundError(f"there is no {name}.py")
        report = READERS[name](options.quick) if name in READERS else own(name, options)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        say(f"{name} was not measured: {error}")
        return None
    say(f"== {name} took {time.monotonic() - started:.0f} s")
    return report


def write(folder: Path, found: dict[str, Report], missing: list[str]) -> None:
    """Write result, document and pictures under a root folder."""
    reports = found.values()
    figures = [figure for report in reports for figure in report.figures]
    curves = [curve for report in reports for curve in report.curves]
    details = {"machine": machine(), "missing": missing} | {
        key: value for report in reports for key, value in report.details.items()
    }
    Report(figures=figures, curves=curves, details=details).save(str(folder / "benchmarks" / "result.json"))
    pictures = draw(curves, folder / "docs" / "pictures")
    fill(folder / "docs" / "performance.md", section(figures, curves, missing, pictures))


def main() -> int:
    """Run what is asked for; 1 when something could not be measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small runs, to see that everything works")
    parser.add_argument("--only", nargs="+", choices=ORDER, default=ORDER)
    parser.add_argument(
        "--into", type=Path, help="the root folder to write to; else the repository's, after a full run"
    )
    parser.add_argument(
        "--postgres", default="", metavar="URL", help="a maintenance database; else a server is started"
    )
    here = sys.executable if find_spec("dlt") else ""
    parser.add_argument("--dlt-python", default=here, help="the interpreter of an environment that has dlt")
    options = parser.parse_args()
    started = time.monotonic()
    found = {name: report for name in options.only if (report := measure(name, options)) is not None}
    missing = [name for name in options.only if name not in found]
    missing += [] if options.dlt_python or "catchup" not in found else ["dlt, which is not installed"]
    figures: list[Figure] = [figure for report in found.values() for figure in report.figures]
    say("\n" + table([figure.row() for figure in figures]))
    say(f"\n{len(figures)} figures in {(time.monotonic() - started) / 60:.1f} minutes")
    for what in missing:
        say(f"not measured: {what}")
    if options.into or not (options.quick or options.only != ORDER):
        write(options.into or ROOT, found, missing)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
