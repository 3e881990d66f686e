"""All events the program logs, read from its source: one thing has one name, and what failed says why."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "kuma_sync"
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")

OTHER_NAMES = {"subject": "alert_id", "id": "alert_id", "alert": "alert_id", "worker": "queue", "why": "reason"}
"""What a field must not be called, and its name instead."""

WHY = {"reason", "reasons", "problem", "error"}


@cache
def events() -> dict[str, list[set[str]]]:
    """Return every event with the fields of each place that logs it; what comes by ** is left out."""
    found = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=[ast.Constant(value=str(event)), *_]
                ) if level in LEVELS:
                    found[event].append({keyword.arg for keyword in node.keywords if keyword.arg})
    return found


def test_one_thing_has_one_name_in_all_log_events() -> None:
    misnamed = {
        f"{event}: {field} is {OTHER_NAMES[field]}"
        for event, places in events().items()
        for fields in places
        for field in fields & OTHER_NAMES.keys()
    }

    assert len(events()) > 40
    assert misnamed == set()


def test_an_event_has_the_same_fields_wherever_it_is_logged() -> None:
    assert {event: places for event, places in events().items() if any(fields != places[0] for fields in places)} == {}


def test_every_event_of_something_that_failed_says_why() -> None:
    endings = ("_failed", "_parked", "_unreadable", "_unavailable", "_refused", "_paused", "_lost")
    told = {event: fields for event, places in events().items() for fields in places if event.endswith(endings)}

    assert {"job_parked", "delivery_failed", "side_paused"} <= told.keys()
    unexplained = {event for event, fields in told.items() if not fields & WHY}
    assert unexplained == {"log_lines_lost"}, "what keeps lines from being written is told to nobody"
