"""The effective configuration for people's eyes, secrets masked: as plain values, as TOML, and its JSON Schema.

Must not: let a secret out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from kuma_sync.core.moments import rfc3339
from kuma_sync.settings.addresses import mask_proxy
from kuma_sync.settings.secret import MASK, SECRET_NAME, Secret
from kuma_sync.settings.sections import SECTIONS, Settings, secret_keys
from kuma_sync.settings.units import show_duration, show_size

_SIZES = {"max_alert_size"}


def masked(settings: Settings) -> dict[str, Any]:
    """Return the configuration as tables of plain values, every secret replaced by asterisks."""
    shown: dict[str, Any] = {}
    for section in SECTIONS:
        table = getattr(settings, section)
        shown[section] = {}
        for key in type(table).model_fields:
            shown[section].update(_entry(key, getattr(table, key)))
    return shown


def to_toml(settings: Settings) -> str:
    """Return the configuration as TOML text, every secret replaced by asterisks."""
    return "\n\n".join(_table(section, table) for section, table in masked(settings).items()) + "\n"


def json_schema() -> dict[str, Any]:
    """Return the configuration's JSON Schema, the `_file` form of every secret included."""
    schema = Settings.model_json_schema()
    schema["title"] = "kuma-sync"
    schema["required"] = [name for name in schema["required"] if name in {"kuma", "irp"}]
    for section, model in SECTIONS.items():
        properties = schema["$defs"][model.__name__]["properties"]
        for key in secret_keys(section):
            properties[key]["default"] = ""
            properties[f"{key}_file"] = {"type": "string", "default": "", "description": f"a file that holds {key}"}
    return schema


def _entry(key: str, value: Any) -> dict[str, Any]:
    match value:
        case Secret(path=Path() as path):
            return {f"{key}_file": str(path)}
        case Secret() if key == "proxy" and value:
            return {key: mask_proxy(value.reveal())}
        case Secret():
            return {key: MASK if value else ""}
        case Mapping() if key == "options":
            return {key: _option(key, value)}
        case Mapping():
            tables = [_entry(name, inner) for name, inner in value.items()]
            return {key: {name: inner for table in tables for name, inner in table.items()}}
        case _:
            return {key: _plain(key, value)}


def _option(name: str, value: Any) -> Any:
    """Mask whatever has the name of a secret: nobody knows what a site's own profile asks for."""
    match value:
        case _ if value and SECRET_NAME.search(name):
            return MASK
        case Mapping():
            return {key: _option(key, inner) for key, inner in value.items()}
        case list() | tuple():
            return [_option("", inner) for inner in value]
        case _:
            return _plain("", value)


def _plain(key: str, value: Any) -> Any:
    match value:
        case None:
            return ""
        case timedelta():
            return show_duration(value)
        case datetime():
            return rfc3339(value)
        case Enum() | Path():
            return str(value)
        case int() if key in _SIZES:
            return show_size(value)
        case float() if value.is_integer():
            return int(value)
        case list() | tuple():
            return [_plain("", inner) for inner in value]
        case _:
            return value


def _table(name: str, table: Mapping[str, Any]) -> str:
    lines = [f"[{name}]"]
    lines += [f"{_key(key)} = {_value(value)}" for key, value in table.items() if not isinstance(value, Mapping)]
    inner = [_table(f"{name}.{_key(key)}", value) for key, value in table.items() if isinstance(value, Mapping)]
    return "\n".join([*lines, *inner])


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _text(key)


def _value(value: Any) -> str:
    match value:
        case Mapping():
            return "{" + ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items()) + "}"
        case str():
            return _text(value)
        case Sequence():
            return "[" + ", ".join(_value(inner) for inner in value) + "]"
        case _:
            return json.dumps(value)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
