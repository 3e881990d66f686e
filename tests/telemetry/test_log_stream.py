"""What happens to the log stream happens to it alone; a fault that repeats does not fill it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_log_lines import configured, lines, our_logger

from kuma_sync.telemetry import logs
from kuma_sync.telemetry.outlet import ATOMIC, MOST_ALIKE, Outlet, Repeats

FOREIGN = logging.getLogger("uvicorn.error")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for end in (reading, writing):
        with contextlib.suppress(OSError):
            os.close(end)


def into(descriptor: int) -> None:
    """Configure the log to go there."""
    logs.configure(format="json", stream=os.fdopen(descriptor, "w", closefd=False))


def said(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("what", ["a full disk", "a broken pipe"])
def test_lines_that_cannot_be_written_are_counted_and_told_when_it_goes_on(
    tmp_path: Path, pipe: tuple[int, int], what: str
) -> None:
    reading, writing = pipe
    if what == "a full disk":
        os.dup2(os.open("/dev/full", os.O_WRONLY), writing)
    else:
        os.close(reading)
    into(writing)

    for number in range(3):
        our_logger().info("alert_delivered", number=number)
    os.dup2(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT, 0o600), writing)
    our_logger().info("alert_delivered", number=3)
    our_logger().info("alert_delivered", number=4)

    told = [(line["event"], line.get("number", line.get("count"))) for line in said(tmp_path / "log")]
    assert told == [("alert_delivered", 3), ("log_lines_lost", 3), ("alert_delivered", 4)]


def test_a_reader_that_does_not_read_holds_nobody_up_for_long(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    into(writing)
    text, began = "x" * 4 * ATOMIC, time.monotonic()

    for number in range(200):
        our_logger().info("alert_delivered", number=number, text=text)
    took = time.monotonic() - began
    os.set_blocking(reading, False)
    first = os.read(reading, 1 << 20)
    our_logger().info("alert_delivered", number=200)
    rest = os.read(reading, 1 << 20)

    assert took < 5, "three megabytes that nobody read"
    whole = [json.loads(line)["number"] for line in first.splitlines()[:-1]]
    assert whole == list(range(len(whole)))
    cut, *after = rest.splitlines()
    assert cut == b"", "a line of its own after one that was cut off"
    told = [json.loads(line) for line in after]
    assert [line["event"] for line in told] == ["alert_delivered", "log_lines_lost"]
    assert told[1]["count"] == 200 - len(whole)


def test_a_line_longer_than_a_pipe_takes_at_once_is_written_whole(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    lost: list[int] = []

    Outlet(writing, lost=lost.append).write("x" * ATOMIC * 3 + "\n")

    assert os.read(reading, 1 << 20) == b"x" * ATOMIC * 3 + b"\n"
    assert lost == []


def test_a_warning_that_repeats_is_some_lines_and_a_count() -> None:
    stream = configured()

    for number in range(MOST_ALIKE + 25):
        our_logger().warning("job_parked", subject=str(number))
        FOREIGN.warning("Invalid HTTP request received.")
        our_logger().info("incident_created", alert_id=str(number))
    our_logger().error("brake_holds_creates", held=1)
    logs.tell_repeats(everything=True)

    events = [line["event"] for line in lines(stream)]
    assert events.count("job_parked") == events.count("Invalid HTTP request received.") == MOST_ALIKE
    assert events.count("incident_created") == MOST_ALIKE + 25, "what was done is told each time"
    assert events.count("brake_holds_creates") == 1
    left_out = {line["of"]: line["count"] for line in lines(stream) if line["event"] == "lines_left_out"}
    assert left_out == {"job_parked": 25, "Invalid HTTP request received.": 25}


def test_what_repeats_is_told_anew_after_a_minute() -> None:
    now, told = 0.0, list[tuple[str, int]]()
    repeats = Repeats(told=lambda event, count: told.append((event, count)), clock=lambda: now)
    record = logging.makeLogRecord({"name": "x", "levelno": logging.ERROR, "msg": "it is broken\nin detail"})

    passed = [repeats.filter(record) for _ in range(MOST_ALIKE + 3)]
    now = 59.0
    repeats.tell()
    early = list(told)
    now = 60.0
    repeats.tell()
    again = repeats.filter(record)

    assert passed == [True] * MOST_ALIKE + [False] * 3
    assert (early, told, again) == ([], [("it is broken", 3)], True)


def test_very_many_kinds_of_lines_take_no_memory() -> None:
    told: list[tuple[str, int]] = []
    repeats = Repeats(told=lambda event, count: told.append((event, count)))

    for number in range(5000):
        repeats.filter(logging.makeLogRecord({"name": "x", "levelno": logging.ERROR, "msg": f"line {number}"}))

    assert len(repeats._kinds) <= 1000
    assert told == []


HOSTILE = "\x1b]0;owned\x07 \x9b31m \u202eevil\u2066 \u200b end\r\nnext"


@pytest.mark.parametrize(("style", "escape"), [("json", "\\u001b"), ("console", "\\x1b")])
def test_no_line_holds_what_a_terminal_would_obey(style: str, escape: str) -> None:
    stream = configured(style=style)

    our_logger().info("alert_delivered", alert_id=HOSTILE, deep={"a": [HOSTILE]})
    FOREIGN.warning("said %s", HOSTILE)

    text = stream.getvalue()
    assert all(line.isprintable() for line in text.splitlines())
    assert len(text.splitlines()) == 2
    assert escape in text
    if style == "json":
        assert lines(stream)[0]["alert_id"] == HOSTILE
