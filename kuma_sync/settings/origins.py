"""Every key of the effective configuration with its value, masked, and where that comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kuma_sync.settings.export import masked
from kuma_sync.settings.sections import Settings


class Source(StrEnum):
    """Where the value of a key comes from."""

    FILE = "file"
    ENVIRONMENT = "environment"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key: its dotted name, its value as TOML writes it, secrets masked, and its source.

    `variable` is the environment variable that gave it.
    """

    name: str
    value: str
    source: Source
    variable: str = ""


def keys_of(settings: Settings) -> list[Key]:
    """Return all keys in the order of the sections."""
    return [_key(name, value, settings.origins) for name, value in _leaves(masked(settings))]


def named_in(tree: Mapping[str, Any]) -> dict[str, str]:
    """Return the dotted keys that a file gives, as `Settings.origins` has them. Must not keep a value."""
    return {name: "" for name, _value in _leaves(tree)}


def _key(name: str, value: Any, origins: Mapping[str, str]) -> Key:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    found = next((place for place in _places(name) if place in origins), None)
    if found is None:
        return Key(name=name, value=shown, source=Source.DEFAULT)
    variable = origins[found]
    return Key(name=name, value=shown, source=Source.ENVIRONMENT if variable else Source.FILE, variable=variable)


def _places(name: str) -> Iterator[str]:
    """Yield a key, and the tables that it is in: the environment may give a table as a whole."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def _leaves(tree: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        dotted = f"{place}.{name}" if place else str(name)
        match value:
            case Mapping() if value:
                yield from _leaves(value, dotted)
            case [{}, *_]:
                for number, inner in enumerate(value, 1):
                    yield from _leaves(inner, f"{dotted}[{number}]")
            case _:
                yield dotted, value
