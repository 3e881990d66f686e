"""What `[privacy]` costs: the same alerts parsed without it, and with fields left out and masked.

Parsing is all that it makes dearer; off, its price is one question an alert. Medians of rounds taken in turns, in one
process. Run: `.venv/bin/python benchmarks/privacy.py`
"""

from __future__ import annotations

import statistics
import time

from figures import Figure, Report, parser
from stream import make_alerts

from kuma_sync.core.privacy import Privacy
from kuma_sync.kuma.parse import Parsed, parse_alert

WAYS = {
    "off": Privacy(),
    "drop": Privacy(drop=("Field1", "*Password*", "Field2", "SourceUserName")),
    "drop and mask": Privacy(drop=("Field1", "*Password*"), mask=("Field2", "Field3", "*UserName"), key=bytes(32)),
}


def seconds(alerts: list[bytes], privacy: Privacy) -> float:
    """Parse them all; return the processor time it took: others on the machine do not count."""
    began = time.process_time()
    for raw in alerts:
        assert isinstance(parse_alert(raw, with_events=True, max_events=0, privacy=privacy), Parsed)  # noqa: S101
    return time.process_time() - began


def main() -> None:
    """Measure, print, save."""
    arguments = parser(__doc__, rounds=7).parse_args()
    alerts = make_alerts(10 if arguments.quick else 40, 100)
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(arguments.rounds):
        for way, privacy in WAYS.items():
            took[way].append(seconds(alerts, privacy))
    ratios = {way: [on / off for on, off in zip(took[way], took["off"], strict=True)] for way in WAYS}
    each = statistics.median(took["off"]) / len(alerts) * 1000
    figures = [
        Figure(
            name=f"an alert of 100 events parsed with [privacy] ({way}), against without",
            wanted=1.6,
            at_least=False,
            got=statistics.median(ratios[way]),
            spread=(min(ratios[way]), max(ratios[way])),
            baseline=f"{each:.2f} ms",
        )
        for way in WAYS
        if way != "off"
    ]
    Report(figures=figures).publish(arguments.json)


if __name__ == "__main__":
    main()
