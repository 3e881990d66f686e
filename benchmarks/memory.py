"""How much memory the daemon takes while one page of a gigabyte arrives and is delivered, eight requests in flight.

A real `kuma-sync run`; its peak is VmHWM. Each of the 250 alerts has a thousand events of four kilobytes, all of which
are passed on: the most that the defaults let through. The limit to compare with is the same daemon with nothing to do.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

from figures import Figure, Report, median, parser, say
from stage import Remotes, Tables, answers, configure, daemon, free_port, servers, until

ALERTS, EVENTS, EVENT_BYTES = 250, 1000, 4000
CONCURRENCY = 8
BATCH = 500
"""Events in one request, by the built-in profile."""


def peak(process: subprocess.Popen[bytes], field: str = "VmHWM") -> float:
    """Return a process's megabytes."""
    lines = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def take(alerts: int) -> dict[str, float]:
    """Let a daemon take the page; return its peaks in MB before and after, the seconds, the bytes on both sides."""
    with tempfile.TemporaryDirectory() as name, servers(events=EVENTS, event_bytes=EVENT_BYTES) as remotes:
        listen = f"127.0.0.1:{free_port()}"
        keys: Tables = {"poll": {"interval": "1s"}, "irp": {"concurrency": CONCURRENCY}, "web": {"listen": listen}}
        with daemon(configure(Path(name), remotes, keys)) as process:
            until(lambda: answers(f"http://{listen}/readyz"), within=60, process=process)
            idle = peak(process, "VmRSS")
            remotes.tell_kuma("count")
            started = time.perf_counter()
            remotes.tell_kuma(f"show?count={alerts}")
            until(lambda: delivered(remotes, alerts), within=550, process=process)
            seconds = time.perf_counter() - started
            found = {"idle_mb": idle, "peak_mb": peak(process), "seconds": seconds}
        return found | {
            "in_mb": remotes.tell_kuma("count")["bytes"] / 1e6,
            "out_mb": remotes.made()["bytes"] / 1e6,
        }


def delivered(remotes: Remotes, alerts: int) -> bool:
    """Tell whether every alert's events have arrived."""
    made = remotes.made()
    return bool(made["made"] >= alerts and made["posts"] >= alerts * EVENTS / BATCH)


def main() -> None:
    """Measure, print, save."""
    arguments = parser(__doc__, rounds=1).parse_args()
    alerts = 12 if arguments.quick else ALERTS
    rounds = []
    for _ in range(1 if arguments.quick else arguments.rounds):
        rounds.append(take(alerts))
        say(f"{rounds[-1]}")
    figure = Figure(
        name=f"one page of {alerts} × 4 MB, concurrency {CONCURRENCY}: peak memory",
        wanted=150,
        at_least=False,
        unit=" MB",
        got=median(rounds, "peak_mb"),
        baseline=f"{median(rounds, 'idle_mb'):.0f} MB with nothing to do; {median(rounds, 'in_mb'):.0f} MB came, "
        f"{median(rounds, 'out_mb'):.0f} MB went, in {median(rounds, 'seconds'):.0f} s",
    )
    report = Report(figures=[figure], details={"memory": rounds})
    report.publish(arguments.json)


if __name__ == "__main__":
    main()
