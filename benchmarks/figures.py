"""The results of a benchmark as JSON and text: figures with their limits, curves, and the numbers behind both."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table: what was measured against what, the wanted limit, the median found.

    `unit` follows the number ("×", "ms", " MB"); `baseline` is the other side's own figure, in words.
    """

    name: str
    wanted: float
    at_least: bool
    got: float
    unit: str = "×"
    baseline: str = ""
    spread: tuple[float, float] | None = None

    @property
    def holds(self) -> bool:
        """Tell whether it is reached."""
        return self.got >= self.wanted if self.at_least else self.got <= self.wanted

    def row(self) -> list[str]:
        """Return its cells: figure, wanted, got, spread, baseline."""
        sign = "≥" if self.at_least else "≤"
        spread = " – ".join(f"{end:.4g}" for end in self.spread) if self.spread else ""
        got = f"{self.got:.4g}{self.unit}" + ("" if self.holds else " **missed**")
        return [self.name, f"{sign} {self.wanted:.4g}{self.unit}", got, spread, self.baseline]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """How a cost grows: `lines` holds a series of (x, y) under each name."""

    name: str
    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one script found."""

    figures: list[Figure] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    details: dict[str, object] = field(default_factory=dict)

    def save(self, path: str) -> None:
        """Write it as JSON, where a path is given."""
        if path:
            Path(path).write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read what `save` wrote."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            figures=[Figure(**one) for one in found["figures"]],
            curves=[Curve(**one) for one in found["curves"]],
            details=found["details"],
        )

    def publish(self, path: str) -> None:
        """Print the figures, and save them where a path is given."""
        self.show()
        self.save(path)

    def show(self) -> None:
        """Print it."""
        say(table([figure.row() for figure in self.figures]))
        for curve in self.curves:
            say(f"{curve.title} ({curve.y})")
            for name, points in curve.lines.items():
                say(f"  {name}: " + ", ".join(f"{x:g}: {y:.4g}" for x, y in points))
        for name, value in self.details.items():
            say(f"{name}: {value}")


HEADINGS = ["figure", "wanted", "got", "lowest – highest", "baseline"]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of the figures' rows."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def median(rounds: Iterable[Mapping[str, float]], key: str) -> float:
    """Return the median of one number over the rounds."""
    return statistics.median(one[key] for one in rounds)


def ratios(over: Iterable[float], under: Iterable[float]) -> tuple[float, tuple[float, float]]:
    """Return the median, the lowest and the highest of the rounds' ratios."""
    found = [one / other for one, other in zip(over, under, strict=True)]
    return statistics.median(found), (min(found), max(found))


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def parser(description: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """Return a parser with the arguments that every benchmark takes."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="a small run, to see that it works")
    made.add_argument("--json", default="", metavar="FILE", help="write the result there, too")
    made.add_argument("--rounds", type=int, default=rounds, help="runs of which the median is taken")
    return made
