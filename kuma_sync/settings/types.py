"""The types of values in the configuration: durations, sizes, addresses and the like.

Errors are ValueErrors that say what is expected.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    JsonValue,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from kuma_sync.core.closing import Reason, parse_reason
from kuma_sync.core.moments import rfc3339
from kuma_sync.settings import addresses
from kuma_sync.settings.paths import Places, places_of, profile_path, readable_file
from kuma_sync.settings.secret import masked_values

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")
_SECONDS = {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"(\d{1,15})\s*(B|KB|MB|GB|)", re.IGNORECASE)
_BYTES = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_LONGEST = 36500 * 86400


def duration(value: Any) -> timedelta:
    """Read `"500ms" "30s" "10m" "2h" "90d"` or a number of seconds."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(_number_or_text(value).strip())
    if not match:
        raise ValueError('expected a duration such as "500ms", "30s", "10m", "2h" or "90d", or a number of seconds')
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > _LONGEST:
        raise ValueError("expected a duration of at most 100 years")
    return timedelta(seconds=seconds)


def size(value: Any) -> int:
    """Read `"512KB" "32MB" "1GB"` (1 KB is 1024 bytes) or a number of bytes."""
    match = _SIZE.fullmatch(_number_or_text(value).strip())
    if not match:
        raise ValueError('expected a size such as "512KB" or "32MB", or a number of bytes')
    return int(match[1]) * _BYTES[match[2].upper()]


def moment(value: Any) -> datetime | None:
    """Read an RFC 3339 time with its offset (or TOML's own), as UTC; `""` is None."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and _RFC_3339.fullmatch(value.strip()):
        value = _datetime(value.strip())
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError('expected a time with its offset, such as "2026-01-31T00:00:00Z"')
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("expected a time that lies between the years 1 and 9999 in UTC too") from None


def show_duration(value: timedelta) -> str:
    """Write a duration in the largest unit that keeps it whole."""
    milliseconds = round(value.total_seconds() * 1000)
    for unit, factor in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % factor == 0:
            return f"{milliseconds // factor}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def show_size(value: int) -> str:
    """Write a size in the largest unit that keeps it whole."""
    for unit in ("GB", "MB", "KB"):
        if value and value % _BYTES[unit] == 0:
            return f"{value // _BYTES[unit]}{unit}"
    return f"{value}B"


def _number_or_text(value: Any) -> str:
    """Return the number that the patterns find; a boolean is refused, though Python takes it for a number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return "?"
    return value if isinstance(value, str) else f"{value:f}".rstrip("0").rstrip(".") if value else "0"


def _datetime(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The context of one reading of a configuration; a section made on its own has no `places`.

    Without `remotes`, files of all but the store may be out of reach. `tree` becomes what the sources said, merged.
    `instead` has the sections of targets that lack a file, without it.
    """

    places: Places | None = None
    remotes: bool = True
    tree: dict[str, Any] = field(default_factory=dict)
    instead: dict[str, Any] = field(default_factory=dict)


GIVEN: ContextVar[Given] = ContextVar("GIVEN", default=Given())  # noqa: B039  # its tree stays empty
"""Validators find it here: a model of pydantic-settings passes no context on to them."""


def file_of(value: Any, *, secret: bool = False) -> Path:
    """Return the path of a file that can be read; raise ValueError."""
    return readable_file(value, GIVEN.get().places or places_of(None, {}), secret=secret)


def out_of_reach(value: Any) -> bool:
    """Tell whether a file is unreadable, but also not needed, because the command needs only the store."""
    if GIVEN.get().remotes:
        return False
    try:
        file_of(value)
    except ValueError:
        return True
    return False


def _optional_file(value: Any) -> Path | None:
    if value == "" or out_of_reach(value):
        return None
    if not isinstance(value, str | Path):
        raise ValueError("expected the path of a file")  # noqa: TRY004  # pydantic takes ValueErrors only
    try:
        return file_of(value)
    except ValueError as error:
        raise PydanticCustomError("file", "{error}", {"error": str(error)}) from None


def _store_address(value: Any) -> str:
    url, places = addresses.store_address(value), GIVEN.get().places
    path = addresses.sqlite_path(url)
    return f"sqlite:///{places.written(path)}" if path and places else url


def _profile(value: str) -> str:
    places = GIVEN.get().places
    return profile_path(_nonempty(value), places) if places else _nonempty(value)


def _goes_with(other: str) -> AfterValidator:
    """Require a certificate if its key is given; the problem names the certificate."""

    def together(value: Path | None, info: ValidationInfo) -> Path | None:
        if value and info.data.get(other, value) is None and GIVEN.get().remotes:
            raise PydanticCustomError("other_missing", "the other is missing", {"other": other})
        return value

    return AfterValidator(together)


def _no_boolean(expected: str) -> BeforeValidator:
    def number(value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError(expected)  # noqa: TRY004  # pydantic takes ValueErrors only
        return value

    return BeforeValidator(number)


def _positive(value: timedelta | None) -> timedelta | None:
    if value is not None and value <= timedelta(0):
        raise ValueError("must be longer than zero")
    return value


def _positive_size(value: int) -> int:
    if value <= 0:
        raise ValueError("must be more than zero")
    return value


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _words(value: Any) -> Any:
    """Read a list; text from the environment is JSON, or separated by commas."""
    if not isinstance(value, str):
        return value
    if value.strip().startswith("["):
        return _json(value, "expected a list")
    return [word for part in value.split(",") if (word := part.strip())]


def table(value: Any) -> Any:
    """Read a table; text from the environment is JSON."""
    return _json(value, "expected a table") if isinstance(value, str) else value


def _options(value: Any) -> Any:
    """Keep `organization` there: the default profile names it."""
    options = table(value)
    return {"organization": "", **options} if isinstance(options, dict) else options


def _json(text: str, expected: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(expected) from None


def _reason(value: Any) -> Reason:
    reason = parse_reason(value) if isinstance(value, str) else None
    if reason is None:
        raise ValueError(f"is not known, expected one of {', '.join(Reason)}")
    return reason


def _optional_reason(value: Any) -> Reason | None:
    return None if value == "" else _reason(value)


def _required(reader: Callable[[Any], str]) -> BeforeValidator:
    """Read a required value; empty text counts as missing."""

    def given(value: Any) -> str:
        if value == "":
            raise PydanticCustomError("missing", "is required")
        return reader(value)

    return BeforeValidator(given)


def _nonempty(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def _key_part(value: str) -> str:
    if not value or any(sign.isspace() or sign == ":" or not sign.isprintable() for sign in value):
        raise ValueError("expected a name without spaces and colons")
    return value


def _shown(shower: Callable[[Any], Any]) -> PlainSerializer:
    return PlainSerializer(lambda value: "" if value is None else shower(value))


_DURATION_SCHEMA = WithJsonSchema(
    {"type": ["string", "number"], "description": "500ms, 30s, 10m, 2h, 90d, or a number of seconds"}
)
_SIZE_SCHEMA = WithJsonSchema({"type": ["string", "integer"], "description": "512KB, 32MB, 1GB, or a number of bytes"})
_MOMENT_SCHEMA = WithJsonSchema({"type": "string", "description": "RFC 3339, or empty"})
_REASONS = [str(reason) for reason in Reason]
_WHOLE = _no_boolean("expected a whole number")

Duration = Annotated[timedelta, BeforeValidator(duration), _shown(show_duration), _DURATION_SCHEMA]
PositiveDuration = Annotated[Duration, AfterValidator(_positive)]
OptionalDuration = Annotated[
    timedelta | None,
    AfterValidator(_positive),
    BeforeValidator(lambda value: None if value == "" else duration(value)),
    _shown(show_duration),
    WithJsonSchema({"type": ["string", "number"], "description": "30s, 10m, 2h, a number of seconds, or empty"}),
]
Size = Annotated[int, BeforeValidator(size), AfterValidator(_positive_size), _shown(show_size), _SIZE_SCHEMA]
Moment = Annotated[datetime | None, BeforeValidator(moment), _shown(rfc3339), _MOMENT_SCHEMA]
Whole = Annotated[int, Field(ge=0), _WHOLE]
Percent = Annotated[int, Field(ge=0, le=100), _WHOLE]
Share = Annotated[int, Field(ge=1, le=1000), _WHOLE]
Rate = Annotated[
    float,
    Field(ge=0, allow_inf_nan=False),
    _no_boolean("expected a number"),
    _shown(lambda rate: int(rate) if rate.is_integer() else rate),
]
OptionalFile = Annotated[Path | None, BeforeValidator(_optional_file), _shown(str), WithJsonSchema({"type": "string"})]
ClientKey = Annotated[OptionalFile, _goes_with("client_cert")]
DoorKey = Annotated[OptionalFile, _goes_with("cert_file")]
KumaUrl = Annotated[str, _required(addresses.kuma_address)]
OptionalWebUrl = Annotated[str, BeforeValidator(addresses.optional_web_address)]
ListenAddress = Annotated[str, BeforeValidator(addresses.listen_address)]
StoreUrl = Annotated[str, BeforeValidator(_store_address)]
ProfileName = Annotated[str, AfterValidator(_profile)]
"""A built-in profile's name, or the path of a file."""
Words = BeforeValidator(_words)
"""A list that may also come as one text."""
Table = BeforeValidator(table)
"""A table that may also come as JSON."""
Options = Annotated[Mapping[str, JsonValue], BeforeValidator(_options), _shown(masked_values)]
"""The profile's free values; a value with a secret's name is shown masked."""
Lower = BeforeValidator(_lower)
"""A choice compared without case."""
NonEmpty = Annotated[str, AfterValidator(_nonempty)]
KeyPart = Annotated[str, AfterValidator(_key_part)]
CloseReason = Annotated[
    Reason, BeforeValidator(_reason), _shown(str), WithJsonSchema({"type": "string", "enum": _REASONS})
]
OptionalReason = Annotated[
    Reason | None,
    BeforeValidator(_optional_reason),
    _shown(str),
    WithJsonSchema({"type": "string", "enum": ["", *_REASONS]}),
]
