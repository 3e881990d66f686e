"""The configuration as it is shown, secrets masked: as tables, as TOML, and as its JSON Schema."""

from __future__ import annotations

from typing import Any

import tomli_w

from kuma_sync.core.routing import IRP
from kuma_sync.settings.sections import Settings


def masked(settings: Settings) -> dict[str, Any]:
    """Return the configuration as tables of plain values, every secret replaced by asterisks."""
    absent = {name for name in ("targets", "route") if not getattr(settings, name)}
    return settings.model_dump(exclude=absent if settings.has_plain else {*absent, IRP})


def to_toml(settings: Settings) -> str:
    """Return the configuration as TOML text, every secret replaced by asterisks."""
    return tomli_w.dumps(masked(settings))


def json_schema() -> dict[str, Any]:
    """Return the configuration's JSON Schema, the `_file` form of every secret included."""
    either = [{"required": [IRP]}, {"required": ["targets"]}]
    return {**Settings.model_json_schema(), "title": "kuma-sync", "required": ["kuma"], "anyOf": either}
