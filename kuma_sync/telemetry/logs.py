"""One output of log lines: ours through structlog, other libraries' warnings through the standard library.

Loggers come from `structlog.get_logger()`; events are constant names with fields. Only our own loggers follow the
configured level; other libraries are always heard from WARNING on, since below it they show requests (httpx),
parameters (aiosqlite) and arguments (stamina).
"""

from __future__ import annotations

import atexit
import json
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog
from ecs_logging import StructlogFormatter

from kuma_sync import __version__
from kuma_sync.core.text import printable, printable_json
from kuma_sync.telemetry import console as console_lines
from kuma_sync.telemetry.outlet import Outlet, Repeats, is_journal, takes_colour, with_priority
from kuma_sync.telemetry.redact import first_line, hide, redact, safe_traceback

__all__ = ["configure", "hide", "tell_repeats"]

Format = Literal["auto", "console", "json", "ecs"]

log = structlog.get_logger(__name__)

SILENT = ("stamina", "uvicorn.access")
"""stamina's own hook logs arguments of the calls it retries; and there is no access log."""


def configure(*, level: str = "info", format: Format = "auto", stream: TextIO | None = None, over: str = "") -> None:
    """Send all log lines to `stream` (stderr) as `format`; may be called again, the last call wins.

    Where that is systemd's journal, every line carries its priority. `over` is written before each line: on a terminal
    it erases what tells the progress.
    """
    stream = stream or sys.stderr
    terminal = stream.isatty()
    console = format == "console" or (format == "auto" and terminal)
    ours = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    tell_repeats(everything=True)
    handler = logging.StreamHandler(_outlet(stream))
    formatter = _formatter("console" if console else format, colours=console and takes_colour(stream))
    handler.setFormatter(_Prioritised(formatter) if is_journal(stream) else _Over(formatter, over))
    handler.addFilter(_repeats)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(ours, logging.WARNING))
    logging.getLogger("kuma_sync").setLevel(ours)
    for name in SILENT:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def tell_repeats(*, everything: bool = False) -> None:
    """Say how many lines were left out because there were many like them; call it now and then."""
    _repeats.tell(everything=everything)


def _outlet(stream: TextIO) -> TextIO | Outlet:
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return stream
    return Outlet(descriptor, lost=_lost)


def _lost(count: int) -> None:
    log.warning("log_lines_lost", count=count)


def _left_out(event: str, count: int) -> None:
    log.warning("lines_left_out", of=event, count=count)


_repeats = Repeats(told=_left_out)
atexit.register(tell_repeats, everything=True)


class _Prioritised(logging.Formatter):
    """Adds the journal's priority to the output of another formatter."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Write a record, its priority before each of its lines."""
        return with_priority(self._inner.format(record), record.levelno)


class _Over(logging.Formatter):
    """Writes something before the output of another formatter."""

    def __init__(self, inner: logging.Formatter, before: str) -> None:
        super().__init__()
        self._inner = inner
        self._before = before

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        return self._before + self._inner.format(record)


def _formatter(format: Format, *, colours: bool) -> logging.Formatter:
    time: Any = structlog.processors.TimeStamper(fmt="iso", utc=True)
    shown: list[Any]
    match format:
        case "console":
            time = console_lines.LOCAL_TIME
            shown = [_shown, console_lines.without_our_logger, console_lines.renderer(colours=colours)]
        case "ecs":
            shown = [_as_ecs, StructlogFormatter(ensure_ascii=False), _json_shown]
        case _:
            shown = [structlog.processors.JSONRenderer(ensure_ascii=False), _json_shown]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[first_line],
        processors=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            safe_traceback,
            time,
            redact,
            *shown,
        ],
    )


def _as_ecs(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put the fields of a line where the Elastic Common Schema has them, as a structlog processor.

    Ours are below `kuma_sync`, each of one kind over all lines: an index refuses a field that is now text, now a list.
    """
    name, level = str(event.pop("event", "")), str(event.pop("level", "info"))
    failure = event.pop("reason", event.pop("problem", ""))
    ecs: dict[str, Any] = {
        "@timestamp": event.pop("timestamp", None),
        "log.level": level,
        "log.logger": event.pop("logger", ""),
        "event": f"{name}: {failure}" if failure else name,
        "event.action": name,
        "event.dataset": "kuma-sync",
        "service.name": "kuma-sync",
        "service.version": __version__,
    }
    if failure and level in ("warning", "error", "critical"):
        ecs["error.message"] = str(failure)
    if kind := event.pop("error", ""):
        ecs["error.type"] = str(kind)
    if "exception" in event:
        ecs["error.stack_trace"] = event.pop("exception")
    ours = {key.replace(".", "_"): _one_kind(value) for key, value in event.items()}
    if failure:
        ours["reason"] = str(failure)
    return {**ecs, **({"kuma_sync": ours} if ours else {})}


def _one_kind(value: Any) -> Any:
    """Return a value as an index takes it: numbers, truths and lists stay, a table becomes JSON text."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


def _shown(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Escape a terminal's control characters, as a structlog processor; a traceback keeps its lines."""
    return {key: _plain(value, keep="\n" if key == "exception" else "") for key, value in event.items()}


def _plain(value: Any, *, keep: str) -> Any:
    match value:
        case str():
            return printable(value, keep=keep)
        case dict():
            return {printable(str(name)): _plain(inner, keep="") for name, inner in value.items()}
        case list():
            return [_plain(inner, keep="") for inner in value]
        case _:
            return value


def _json_shown(_logger: Any, _method: str, line: str) -> str:
    return printable_json(line)
