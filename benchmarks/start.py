"""How long a start takes: `kuma-sync run` to the first poll's request at KUMA, and `kuma-sync --help` to its end.

With the store of an earlier run, and with none. The baseline is the interpreter alone.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figures import Figure, Report, median, parser
from stage import Remotes, configure, daemon, servers, until

HELP = (sys.executable, "-m", "kuma_sync", "--help")
NOTHING = (sys.executable, "-c", "pass")


def first_poll(remotes: Remotes, config: Path) -> float:
    """Return the seconds from the start of the daemon to the first poll's request."""
    moments: list[float] = []
    remotes.tell_kuma("count")
    started = time.monotonic()

    def asked() -> bool:
        moments.extend(remotes.tell_kuma("count")["requests"])
        return bool(moments)

    with daemon(config) as process:
        until(asked, within=30, process=process)
    return moments[0] - started


def takes(*command: str) -> float:
    """Return the seconds that a command runs."""
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # the program itself
    return time.monotonic() - started


def one_round() -> dict[str, float]:
    """Start everything once."""
    with tempfile.TemporaryDirectory() as name, servers() as remotes:
        config = configure(Path(name), remotes)
        return {
            "new": first_poll(remotes, config),
            "known": first_poll(remotes, config),
            "help": takes(*HELP),
            "nothing": takes(*NOTHING),
        }


def main() -> None:
    """Measure, print, save."""
    arguments = parser(__doc__, rounds=7).parse_args()
    rounds = [one_round() for _ in range(2 if arguments.quick else arguments.rounds)]
    alone = f"{median(rounds, 'nothing') * 1000:.0f} ms the interpreter alone"

    def figure(name: str, wanted: float, key: str) -> Figure:
        spread = min(one[key] for one in rounds), max(one[key] for one in rounds)
        got = median(rounds, key)
        return Figure(name=name, wanted=wanted, at_least=False, unit=" s", got=got, spread=spread, baseline=alone)

    figures = [
        figure("start of `run` to the first poll, store of an earlier run", 1.5, "known"),
        figure("the same with a new store", 1.5, "new"),
        figure("`kuma-sync --help`", 0.3, "help"),
    ]
    report = Report(figures=figures, details={"start": rounds})
    report.publish(arguments.json)


if __name__ == "__main__":
    main()
