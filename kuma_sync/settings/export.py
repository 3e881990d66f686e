"""The effective configuration for people's eyes, secrets masked: as plain values, as TOML, and its JSON Schema.

The types of the values say how each is shown (`fields`, `secrets`).
"""

from __future__ import annotations

from typing import Any

import tomli_w

from kuma_sync.settings.sections import Settings


def masked(settings: Settings) -> dict[str, Any]:
    """Return the configuration as tables of plain values, every secret replaced by asterisks."""
    return settings.model_dump()


def to_toml(settings: Settings) -> str:
    """Return the configuration as TOML text, every secret replaced by asterisks."""
    return tomli_w.dumps(masked(settings))


def json_schema() -> dict[str, Any]:
    """Return the configuration's JSON Schema, the `_file` form of every secret included."""
    return {**Settings.model_json_schema(), "title": "kuma-sync", "required": ["kuma", "irp"]}
