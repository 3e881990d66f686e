"""The types of configuration values: each reads what TOML or the environment gave.

Must not: know sections or keys.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

from kuma_sync.core.closing import Reason, parse_reason
from kuma_sync.settings import addresses, units
from kuma_sync.settings.paths import Places, places_of, profile_path, readable_file
from kuma_sync.settings.secret import Secret


def _places(info: ValidationInfo) -> Places | None:
    """Return where relative paths lead; None for a section that is made by itself."""
    return (info.context or {}).get("places")


def _optional_file(value: Any, info: ValidationInfo) -> Path | None:
    try:
        return None if value == "" else readable_file(value, _places(info) or places_of(None, {}))
    except ValueError:
        if (info.context or {}).get("remotes", True):
            raise
        return None


def _store_address(value: Any, info: ValidationInfo) -> str:
    url, lie = addresses.store_address(value), _places(info)
    path = addresses.sqlite_path(url)
    return f"sqlite:///{lie.written(path)}" if path and lie else url


def _profile(value: str, info: ValidationInfo) -> str:
    lie = _places(info)
    return profile_path(_nonempty(value), lie) if lie else _nonempty(value)


def _whole_number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a whole number")  # noqa: TRY004  # pydantic takes ValueErrors only
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number")  # noqa: TRY004  # pydantic takes ValueErrors only
    return value


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than zero")
    return value


def _positive_size(value: int) -> int:
    if value <= 0:
        raise ValueError("must be more than zero")
    return value


def _lower(value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else value


def _words(value: Any) -> Any:
    """Read a list that came as text, which is all the environment has: JSON, or separated by commas."""
    if not isinstance(value, str):
        return value
    if value.strip().startswith("["):
        return _json(value, "expected a list")
    return [word for part in value.split(",") if (word := part.strip())]


def table(value: Any) -> Any:
    """Read a table that came as JSON text, which is all the environment has."""
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


def _text(reader: Callable[[Any], str]) -> BeforeValidator:
    return BeforeValidator(reader)


def _nonempty(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value


def _key_part(value: str) -> str:
    if not value or any(sign.isspace() or sign == ":" or not sign.isprintable() for sign in value):
        raise ValueError("expected a name without spaces and colons")
    return value


_DURATION_SCHEMA = WithJsonSchema(
    {"type": ["string", "number"], "description": "500ms, 30s, 10m, 2h, 90d, or a number of seconds"}
)
Duration = Annotated[timedelta, BeforeValidator(units.duration), _DURATION_SCHEMA]
PositiveDuration = Annotated[timedelta, AfterValidator(_positive), BeforeValidator(units.duration), _DURATION_SCHEMA]
Size = Annotated[
    int,
    BeforeValidator(units.size),
    AfterValidator(_positive_size),
    WithJsonSchema({"type": ["string", "integer"], "description": "512KB, 32MB, 1GB, or a number of bytes"}),
]
Moment = Annotated[
    datetime | None,
    BeforeValidator(units.moment),
    WithJsonSchema({"type": "string", "description": "RFC 3339, or empty"}),
]
Whole = Annotated[int, Field(ge=0), BeforeValidator(_whole_number)]
Percent = Annotated[int, Field(ge=0, le=100), BeforeValidator(_whole_number)]
Share = Annotated[int, Field(ge=1, le=1000), BeforeValidator(_whole_number)]
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_number)]
OptionalFile = Annotated[Path | None, BeforeValidator(_optional_file), WithJsonSchema({"type": "string"})]
KumaUrl = Annotated[str, _text(addresses.kuma_address)]
WebUrl = Annotated[str, _text(addresses.web_address)]
OptionalWebUrl = Annotated[str, _text(addresses.optional_web_address)]
ListenAddress = Annotated[str, _text(addresses.listen_address)]
StoreUrl = Annotated[str, BeforeValidator(_store_address)]
ProfileName = Annotated[str, AfterValidator(_profile)]
"""A built-in profile's name, or the path of a file."""
Words = BeforeValidator(_words)
"""A list that may also come as one text."""
Table = BeforeValidator(table)
"""A table that may also come as JSON."""
Options = BeforeValidator(_options)
"""The profile's free values."""
Lower = BeforeValidator(_lower)
"""A choice compared without case."""
NonEmpty = Annotated[str, AfterValidator(_nonempty)]
KeyPart = Annotated[str, AfterValidator(_key_part)]
_REASON_SCHEMA = {"type": "string", "enum": [str(reason) for reason in Reason]}
CloseReason = Annotated[Reason, BeforeValidator(_reason), WithJsonSchema(_REASON_SCHEMA)]
OptionalReason = Annotated[
    Reason | None,
    BeforeValidator(_optional_reason),
    WithJsonSchema({"type": "string", "enum": ["", *(str(reason) for reason in Reason)]}),
]
SecretText = Annotated[Secret, WithJsonSchema({"type": "string", "writeOnly": True})]
