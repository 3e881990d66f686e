"""Log lines for people: local time, level, event, fields; the level coloured on a terminal."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from structlog.dev import Column, ConsoleRenderer, KeyValueColumnFormatter, plain_traceback
from structlog.processors import TimeStamper

LEVEL_WIDTH = len("critical")
EVENT_WIDTH = 24
"""Most names of events are shorter; fields then begin in one column."""

_RESET, _DIM, _BOLD = "\x1b[0m", "\x1b[2m", "\x1b[1m"
_LEVELS = {
    "debug": _DIM,
    "info": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[1;31m",
    "critical": "\x1b[1;31m",
}

LOCAL_TIME = TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False)


def renderer(*, colours: bool) -> ConsoleRenderer:
    """Return what makes a line of an event."""
    reset, dim, bold = (_RESET, _DIM, _BOLD) if colours else ("", "", "")

    def level(key: str, value: object) -> str:  # noqa: ARG001  # as structlog calls it
        word = str(value).ljust(LEVEL_WIDTH)
        return f"{_LEVELS.get(str(value), '')}{word}{reset}" if colours else word

    def plain_value(style: str, width: int = 0) -> KeyValueColumnFormatter:
        return KeyValueColumnFormatter(
            key_style=None, value_style=style, reset_style=reset, value_repr=str, width=width
        )

    return ConsoleRenderer(
        columns=[
            Column("timestamp", plain_value(dim)),
            Column("level", level),
            Column("event", plain_value(bold, EVENT_WIDTH)),
            Column("", KeyValueColumnFormatter(key_style=dim, value_style="", reset_style=reset, value_repr=_value)),
        ],
        exception_formatter=plain_traceback,
    )


def without_our_logger(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Leave out the name of our own loggers, as a structlog processor: the event says enough."""
    if str(event.get("logger", "")).startswith("kuma_sync"):
        del event["logger"]
    return event


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(str, value)) + "]"
    text = str(value)
    quoted = isinstance(value, str) and (not text or set(text) & set(' "='))
    return '"' + text.replace('"', '\\"') + '"' if quoted else text
