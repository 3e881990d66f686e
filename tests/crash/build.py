"""The test build of the program: it ends at a named point as if its process were killed there, cleaning nothing up.

By hand: `python tests/crash/build.py POINT VISIT -- run --once -c config.toml`. An empty POINT never ends it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from kuma_sync import cli
from kuma_sync.sync import failpoint

DIED = 137
"""The exit code of a process that ended at its point; a shell says the same of one that was killed."""


def dies_at(point: str, visit: int) -> Callable[[str], None]:
    """Return what a process does at every point it passes."""
    visits = 0

    def at(passed: str) -> None:
        nonlocal visits
        visits += passed == point
        if passed == point and visits == visit:
            os._exit(DIED)

    return at


def run(point: str, visit: int, words: Sequence[str]) -> None:
    """Be the command `words`."""
    failpoint.at = dies_at(point, visit)
    cli.main(words)


def _main() -> None:
    point, visit, dashes, *words = sys.argv[1:]
    if dashes != "--" or point not in ("", *failpoint.POINTS):
        sys.exit(f"usage: build.py POINT VISIT -- WORDS…; points: {', '.join(failpoint.POINTS)}")
    run(point, int(visit), words)


if __name__ == "__main__":
    _main()
