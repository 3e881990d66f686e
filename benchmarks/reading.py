"""Turn the output of stream.py and links.py into figures and curves."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from figures import Curve, Figure, Report
from stage import HERE

LONGEST = 900


def _printed(script: str, *options: str) -> str:
    command = [sys.executable, str(HERE / script), *options]
    return subprocess.run(command, check=True, timeout=LONGEST, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603  # our own script


def stream(quick: bool) -> Report:
    """Run stream.py: the reading of one large page."""
    size = ["--alerts", "25", "--events", "50", "--rounds", "1"] if quick else ["--rounds", "5"]
    found = json.loads(_printed("stream.py", "--json", "--forms", "length", "tls", *size))
    ways: dict[str, dict[str, float]] = found["forms"]["length"]
    whole, bare, ours = ways["whole"], ways["bare"], ways["kuma"]
    bare_tls, ours_tls = (found["forms"]["tls"][way] for way in ("bare", "kuma"))
    name = f"page of {found['page_mb']:.0f} MB, 10 % changed"

    def speeds(way: dict[str, float], what: str, ours: dict[str, float] = ours) -> str:
        return f"{way['ms']:.0f} ms {what}, {ours['ms']:.0f} ms ours"

    figures = [
        Figure(
            name=f"{name}: whole path against `aread()` and a decoder",
            wanted=3,
            at_least=True,
            got=whole["ms"] / ours["ms"],
            baseline=speeds(whole, "`aread()`"),
        ),
        Figure(
            name="the same: its extra memory is so many times ours",
            wanted=20,
            at_least=True,
            got=whole["peak_mb"] / max(ours["peak_mb"], 0.1),
            baseline=f"{whole['peak_mb']:.0f} MB `aread()`, {ours['peak_mb']:.1f} MB ours",
        ),
        Figure(
            name="the same: speed against bare httpx streaming",
            wanted=0.85,
            at_least=True,
            got=bare["ms"] / ours["ms"],
            baseline=speeds(bare, "bare streaming"),
        ),
        Figure(
            name="the same: longest stall of the event loop",
            wanted=10,
            at_least=False,
            unit=" ms",
            got=ours["stall_ms"],
            baseline=f"{whole['stall_ms']:.0f} ms `aread()`",
        ),
        Figure(
            name="the same page over TLS: speed against bare httpx streaming",
            wanted=0.8,
            at_least=True,
            got=bare_tls["ms"] / ours_tls["ms"],
            baseline=speeds(bare_tls, "bare streaming", ours_tls),
        ),
    ]
    return Report(figures=figures, details={"stream": found})


def links(quick: bool) -> Report:
    """Run links.py for more and more settled links."""
    numbers = [1000, 10_000] if quick else [10_000, 100_000, 1_000_000]
    passes = ["--passes", "6"] if quick else []
    found = [json.loads(_printed("links.py", "--links", str(n), *passes).splitlines()[0]) for n in numbers]
    kinds: dict[str, Any] = found[-1]["passes"]
    figures = [
        Figure(
            name=f"{kind} with {numbers[-1]:,} settled links against an empty store",
            wanted=1.1,
            at_least=False,
            got=row["ratio"],
            baseline=f"{row['empty_ms']:.1f} ms empty, {row['full_ms']:.1f} ms full",
        )
        for kind, row in kinds.items()
    ]
    lines = {
        f"{kind}, ms": [
            (0.0, kinds[kind]["empty_ms"]),
            *((float(n), one["passes"][kind]["full_ms"]) for n, one in zip(numbers, found, strict=True)),
        ]
        for kind in kinds
    }
    curve = Curve(name="links", title="One pass, by settled links in the store", x="settled links", y="ms", lines=lines)
    return Report(figures=figures, curves=[curve], details={"links": found})
