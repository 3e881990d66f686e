"""Write the figures section of docs/performance.md after a run, and a picture per curve.

matplotlib is needed for pictures only; without it there are none.
"""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from figures import Curve, Figure, table

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def machine() -> str:
    """Describe what the figures were taken on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores of {cpu}, {memory:.0f} GB, {platform.system()} {platform.release().split('-')[0]}, "
        f"CPython {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def section(figures: Sequence[Figure], curves: Sequence[Curve], missing: Sequence[str], pictures: Sequence[str]) -> str:
    """Return what belongs between the document's two marks."""
    lines = [
        f"Taken on {datetime.now(UTC):%Y-%m-%d} on {machine()}; everything over loopback.",
        "",
        table([figure.row() for figure in figures]),
        "",
        *(f"Not measured: {what}." for what in missing),
    ]
    for curve in curves:
        lines += ["", f"### {curve.title}", ""]
        if curve.name in pictures:
            lines += [f"![{curve.title}](pictures/{curve.name}.svg)", ""]
        lines += _points(curve)
    return "\n".join(lines).strip() + "\n"


def _points(curve: Curve) -> list[str]:
    numbers = [x for x, _ in next(iter(curve.lines.values()))]
    head = [curve.x, *(f"{number:,.0f}" for number in numbers)]
    rows = [[name, *(f"{y:.3g}" if y < 1000 else f"{y:,.0f}" for _, y in line)] for name, line in curve.lines.items()]
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]


def fill(document: Path, text: str) -> None:
    """Put the section between the marks of the document."""
    before, _, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    document.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")


def draw(curves: Sequence[Curve], folder: Path) -> list[str]:
    """Draw each curve; return the names of those drawn."""
    if find_spec("matplotlib") is None:
        return []
    import matplotlib as mpl  # noqa: PLC0415  # only the benchmarks' own environment has it

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "kuma-sync"  # the same curve makes the same file
    folder.mkdir(parents=True, exist_ok=True)
    for curve in curves:
        _draw(curve, folder / f"{curve.name}.svg")
    return [curve.name for curve in curves]


def _draw(curve: Curve, path: Path) -> None:
    from matplotlib import pyplot, ticker  # noqa: PLC0415  # as above

    picture, panels = pyplot.subplots(1, len(curve.lines), figsize=(4.2 * len(curve.lines), 3), squeeze=False)
    for panel, (name, points) in zip(panels[0], curve.lines.items(), strict=True):
        panel.plot([x for x, _ in points], [y for _, y in points], marker="o")
        panel.set(xlabel=curve.x, title=name)
        panel.xaxis.set_major_formatter(ticker.EngFormatter(sep=""))
        panel.set_ylim(0, 1.1 * max(y for _, y in points))
        panel.grid(visible=True, alpha=0.3)
    picture.suptitle(curve.title)
    picture.tight_layout()
    picture.savefig(path, metadata={"Date": None})
    pyplot.close(picture)
    # Neither a trailing blank nor a generator's address belongs into the repository.
    lines = [line.rstrip() for line in path.read_text(encoding="utf-8").splitlines()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
