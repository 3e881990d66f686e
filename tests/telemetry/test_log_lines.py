"""What reaches the log stream, how it looks, and what never reaches it."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from kuma_sync import __version__
from kuma_sync.core.errors import Permanent, StoreUnavailable
from kuma_sync.settings import Secret, load
from kuma_sync.telemetry import logs, redact

SECRET = "canary-5c1f"


def our_logger() -> Any:
    return structlog.wrap_logger(
        logging.getLogger("kuma_sync.test"),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=structlog.get_config()["processors"],
    )


def fail(error: Exception) -> None:
    raise error


def configured(level: str = "info", style: Any = "json") -> io.StringIO:
    stream = io.StringIO()
    logs.configure(level=level, format=style, stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_with_its_fields() -> None:
    stream = configured()

    our_logger().info("alert_delivered", alert_id="a-1", attempts=2, at=datetime(2026, 1, 31, tzinfo=UTC))

    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "alert_delivered",
        "level": "info",
        "logger": "kuma_sync.test",
        "alert_id": "a-1",
        "attempts": 2,
        "at": "2026-01-31T00:00:00+00:00",
    }


def test_a_logger_of_a_module_of_ours_follows_the_level() -> None:
    stream = configured("warning")

    our_logger().info("not_worth_it")
    our_logger().warning("worth_it")

    assert [line["event"] for line in lines(stream)] == ["worth_it"]


def test_bound_context_travels_along() -> None:
    stream = configured()

    with structlog.contextvars.bound_contextvars(job=7):
        our_logger().info("job_done")

    assert lines(stream)[0]["job"] == 7


def test_without_a_terminal_auto_is_json_and_console_is_for_people() -> None:
    automatic, console = configured(style="auto"), configured(style="console")
    our_logger().info("alert_delivered", alert_id="a-1")
    logs.configure(level="info", format="auto", stream=automatic)
    our_logger().info("alert_delivered", alert_id="a-1")

    assert lines(automatic)[0]["alert_id"] == "a-1"
    assert "alert_id=a-1" in console.getvalue()
    assert not console.getvalue().startswith("{")


@pytest.mark.parametrize(
    "name", ["httpx", "aiohttp.client", "aiosqlite", "apscheduler.scheduler", "alembic", "uvicorn.error"]
)
def test_other_libraries_are_heard_from_warning_on_even_at_debug(name: str) -> None:
    stream = configured("debug")

    logging.getLogger(name).debug("GET https://kuma/?token=%s", SECRET)
    logging.getLogger(name).info("GET https://kuma/?token=%s", SECRET)
    logging.getLogger(name).warning("something is wrong")

    assert [line["event"] for line in lines(stream)] == ["something is wrong"]
    assert SECRET not in stream.getvalue()


@pytest.mark.parametrize("name", ["stamina", "stamina.instrumentation._structlog", "uvicorn.access"])
def test_some_loggers_are_never_heard(name: str) -> None:
    stream = configured("debug")

    logging.getLogger(name).error("stamina.retry_scheduled args=%s", SECRET)

    assert stream.getvalue() == ""


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_secret_is_masked_by_its_keys_name(style: str) -> None:
    stream = configured("debug", style)

    our_logger().debug(
        "request_made",
        token="canary-a",
        KUMA_PASSWORD="canary-b",
        headers={"Authorization": "Bearer canary-c", "X-Api-Key": "canary-d", "Set-Cookie": "canary-e"},
        pairs=[{"client_secret": "canary-f"}],
        secret_changed=True,
    )

    assert "canary" not in stream.getvalue()
    assert stream.getvalue().count("**********") == 6
    assert "rue" in stream.getvalue()


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_known_secret_is_masked_wherever_it_turns_up(style: str) -> None:
    stream = configured("debug", style)
    logs.hide(SECRET, "", "ab")

    our_logger().debug(f"said_{SECRET}", url=f"https://x/{SECRET}", deep={"a": [SECRET, {SECRET}]}, name="ab")
    logging.getLogger("uvicorn.error").error("said %s", SECRET)
    try:
        fail(StoreUnavailable(f"refused {SECRET}"))
    except StoreUnavailable:
        our_logger().exception("store_lost")

    assert SECRET not in stream.getvalue()
    assert "ab" in stream.getvalue()
    assert stream.getvalue().count("**********") == 6


def test_a_known_secret_is_masked_as_a_part_of_an_address_too() -> None:
    logs.hide("pass/w+rd of ours")

    assert redact.masked("https://x/?p=pass%2Fw%2Brd%20of%20ours") == "https://x/?p=**********"


def test_an_exception_is_told_by_type_and_frames_and_never_by_a_foreign_message() -> None:
    stream = configured()
    try:
        try:
            fail(ValueError("content of an event"))
        except ValueError as error:
            raise Permanent(remote="irp", operation="create", summary="422", detail="content of an answer") from error
    except Permanent as error:
        our_logger().error("job_failed", exc_info=True, error=error, cause=error.__cause__)
    try:
        fail(ExceptionGroup("several", [KeyError("content of an event")]))
    except ExceptionGroup:
        logging.getLogger("asyncio").exception("Task exception was never retrieved\nfuture: content of an event")

    first, second = lines(stream)
    assert "content" not in stream.getvalue()
    assert first["exception"].startswith("Permanent: irp create: 422\n")
    assert "caused by ValueError\n" in first["exception"]
    assert "test_log_lines.py:" in first["exception"]
    assert (first["error"], first["cause"]) == ("Permanent: irp create: 422", "ValueError")
    assert second["event"] == "Task exception was never retrieved"
    assert "| KeyError" in second["exception"]


def test_a_secret_of_the_configuration_never_shows_in_a_debug_line() -> None:
    stream = configured("debug")
    env = {"KUMA_SYNC_KUMA__URL": "kuma", "KUMA_SYNC_KUMA__TOKEN": SECRET, "KUMA_SYNC_IRP__URL": "irp"}
    settings = load(None, {**env, "KUMA_SYNC_KUMA__PROXY": f"http://u:{SECRET}@proxy:1"})

    our_logger().debug("loaded", settings=settings, kuma=settings.kuma, one=Secret(SECRET))

    assert "kuma" in lines(stream)[0]["settings"]
    assert SECRET not in stream.getvalue()


def test_an_ecs_line_has_its_fields_where_the_schema_has_them() -> None:
    stream = configured(style="ecs")

    our_logger().warning("delivery_failed", alert_id="a-1", target="north", reason="answered 503", attempts=2)

    (line,) = lines(stream)
    assert line.pop("@timestamp").endswith("Z")
    assert line.pop("ecs.version")
    assert (
        line.pop("log.level") == "warning"
    )  # the library leaves it so, first in the line: both forms are the schema's
    assert line == {
        "message": "delivery_failed: answered 503",
        "log": {"logger": "kuma_sync.test"},
        "event": {"action": "delivery_failed", "dataset": "kuma-sync"},
        "service": {"name": "kuma-sync", "version": __version__},
        "error": {"message": "answered 503"},
        "kuma_sync": {"alert_id": "a-1", "target": "north", "reason": "answered 503", "attempts": 2},
    }


def test_an_ecs_line_of_an_exception_is_one_line_with_its_frames() -> None:
    stream = configured(style="ecs")

    try:
        fail(ValueError(SECRET))
    except ValueError as error:
        our_logger().exception("job_failed", error=type(error).__name__)

    (line,) = lines(stream)
    assert line["error"]["type"] == "ValueError"
    assert "in fail" in line["error"]["stack_trace"]
    assert SECRET not in stream.getvalue()


def test_secrets_and_odd_signs_are_masked_in_ecs_lines_too() -> None:
    stream = configured(style="ecs")
    logs.hide(SECRET)

    our_logger().error("side_paused", reason=f"at {SECRET}\x1b[31m\u202e", token="another", table={"a.b": SECRET})
    logging.getLogger("another.library").warning("it said %s", SECRET)

    ours, foreign = lines(stream)
    assert SECRET not in stream.getvalue()
    assert "another" not in json.dumps(ours)
    assert "\x1b" not in stream.getvalue()
    assert isinstance(ours["kuma_sync"]["table"], str)
    assert foreign["log"]["logger"] == "another.library"


def test_no_field_of_ours_can_break_an_ecs_line() -> None:
    """A name that the schema has, or one with a point, would clash with a field of another kind."""
    stream = configured(style="ecs")

    our_logger().info("odd", log="text", message="text", **{"log.level": "x", "error.message": 5, "service": [1]})

    (line,) = lines(stream)
    assert line["log.level"] == "info"
    assert line["message"] == "odd"
    assert line["kuma_sync"] == {
        "log": "text",
        "message": "text",
        "log_level": "x",
        "error_message": 5,
        "service": [1],
    }
