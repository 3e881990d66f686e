"""Writes the result of a storm: a table for people, and the same as JSON."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kinds import Kinds
from oracle import Verdict

Figures = dict[str, int | float]


@dataclass(kw_only=True)
class Report:
    """What came of one half: the figures in the table's order, and everything that is wrong."""

    seed: int
    minutes: float
    database: str
    folder: Path
    figures: Figures
    faults: Counter[str]
    deeds: Counter[str]
    parked: Counter[str]
    verdict: Verdict
    troubles: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    kinds: Kinds = field(default_factory=Kinds)

    @property
    def good(self) -> bool:
        """Tell whether the program kept what it promises."""
        return not self.wrong

    @property
    def wrong(self) -> list[str]:
        """Say what is wrong."""
        return [*self.troubles, *self.verdict.lines()]

    @property
    def replay(self) -> str:
        """Return the command that plays it once more."""
        words = f"--minutes {self.minutes:g} --seed {self.seed} --database {self.database} {self.kinds.words}"
        return f"PYTHONPATH=tests .venv/bin/python tests/storm/run.py {words.strip()}"

    def as_json(self) -> dict[str, object]:
        """Return everything as plain values."""
        return {
            "database": self.database,
            "good": self.good,
            "figures": self.figures,
            "faults": dict(sorted(self.faults.items())),
            "deeds": dict(sorted(self.deeds.items())),
            "parked": dict(self.parked.most_common()),
            "left_out": self.left_out,
            "wrong": self.wrong,
            "replay": self.replay,
        }

    def told(self) -> list[str]:
        """Say in words how it ended."""
        lines = [f"{self.database}: {line}" for line in self.left_out]
        if self.good:
            return [*lines, f"{self.database}: all is as it should be"]
        lines += [f"{self.database}: {line}" for line in self.wrong[:40]]
        return [*lines, f"{self.database}: {len(self.wrong)} WRONG; look into {self.folder}; replay: {self.replay}"]


def figures(verdict: Verdict, counts: Figures, waits: Sequence[float]) -> Figures:
    """Put the figures into their order: what happened, what it led to, what is wrong."""
    return {
        **counts,
        "fresh alert to incident, median s": round(statistics.median(waits), 1) if waits else 0,
        "fresh alert to incident, longest s": round(max(waits, default=0), 1),
        "excused: died with the reader": len(verdict.excused),
        "closed before they were read, recorded as missed": len(verdict.missed),
        "there before the first read, left alone": len(verdict.left_alone),
        "deleted by the desk, not made anew": len(verdict.deleted),
        "lost": len(verdict.lost),
        "doubled": len(verdict.doubled),
        "at the wrong target": len(verdict.misrouted),
        "differing": len(verdict.differing),
        "wrong closings": len(verdict.closings),
        "edits overwritten": len(verdict.edits),
    }


def table(reports: Sequence[Report]) -> list[str]:
    """Lay the halves side by side, and say below how each ended."""
    lines = [_row("", [report.database for report in reports])]
    lines += _block("", [Counter(report.figures) for report in reports])
    for title in ("parked", "deeds", "faults"):
        lines += [_row(title, [sum(getattr(report, title).values()) for report in reports])]
        lines += _block("  ", [getattr(report, title) for report in reports])
    return [*lines, *(line for report in reports for line in report.told())]


def write_json(file: Path, reports: Sequence[Report]) -> None:
    """Write everything as JSON."""
    first = reports[0]
    whole = {"seed": first.seed, "minutes": first.minutes, "good": all(report.good for report in reports)}
    file.write_text(json.dumps({**whole, "halves": [report.as_json() for report in reports]}, indent=2) + "\n")


def _block(indent: str, halves: list[Counter[str]]) -> list[str]:
    names = list(dict.fromkeys(name for half in halves for name in half))
    names = sorted(names) if indent else names
    return [_row(indent + name, [half.get(name, "-") for half in halves]) for name in names]


def _row(label: str, values: Sequence[object]) -> str:
    return f"{label:<52}" + "".join(f"{value!s:>12}" for value in values)
