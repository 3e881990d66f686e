"""Profiles from files: built-in ones and a site's own; every mistake becomes a sentence with file and key."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kuma_sync.core.errors import ConfigError
from kuma_sync.irp.profile import Profile
from kuma_sync.settings.load import is_file
from kuma_sync.settings.paths import read_text
from kuma_sync.settings.toml import parse_toml
from kuma_sync.settings.validation import expected, known_keys, meant

KEY = "irp.profile"

_BUILT_IN = resources.files("kuma_sync.irp") / "profiles"


def built_in() -> list[str]:
    """Return the names of the built-in profiles."""
    return sorted(entry.name.removesuffix(".toml") for entry in _BUILT_IN.iterdir() if entry.name.endswith(".toml"))


def profile_text(name: str) -> str:
    """Return a built-in profile as TOML, ready to copy and change. Raises ConfigError for an unknown name."""
    if name not in built_in():
        raise ConfigError(KEY, f'there is no built-in profile "{name}"{meant(name, built_in())}')
    return (_BUILT_IN / f"{name}.toml").read_text(encoding="utf-8")


def load_profile(name_or_path: str, key: str = KEY) -> Profile:
    """Read a profile by built-in name or by the path of a TOML file.

    `key` is where it is named. Raises ConfigError(`key`) with file, operation and key in one sentence.
    """
    if name_or_path in built_in():
        return parse_profile(profile_text(name_or_path), source=name_or_path)
    path = Path(name_or_path)
    if "/" not in name_or_path and not name_or_path.endswith(".toml") and not is_file(path, key):
        raise ConfigError(
            key, f'"{name_or_path}" is neither a built-in profile nor a file{meant(name_or_path, built_in())}'
        )
    try:
        text = read_text(path)
    except OSError as error:
        raise ConfigError(key, f"{name_or_path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        why = "it is no path" if "\x00" in name_or_path else str(error)
        raise ConfigError(key, f"{name_or_path} {why}") from None
    return parse_profile(text, source=name_or_path, key=key)


@lru_cache(maxsize=16)
def parse_profile(text: str, *, source: str, key: str = KEY) -> Profile:
    """Read a profile's TOML; `source` names it in errors. The same text is the same profile, already compiled."""
    try:
        tree = parse_toml(text)
    except ValueError as error:
        raise ConfigError(key, f"{source} {error}") from None
    try:
        return Profile.parse(tree, source=source)
    except ValidationError as error:
        first, *others = [ConfigError(key, f"{source}: {sentence}") for sentence in _sentences(error)]
        raise ConfigError(key, first.problem, others=others) from None


def _sentences(error: ValidationError) -> list[str]:
    every = error.errors(include_url=False)
    # A key misspelt is one missing too; the spelling is the better news.
    every.sort(key=lambda one: one["type"] != "extra_forbidden")
    return list(dict.fromkeys(map(_sentence, every)))


def _sentence(found: Mapping[str, Any]) -> str:
    place = [str(part) for part in found["loc"]]
    where = ".".join(part for part in place if part != "[key]")
    match found["type"]:
        case "extra_forbidden":
            return f"{where} is not known{meant(place[-1], known_keys(Profile, place[:-1]))}"
        case "whole":
            return str(found["msg"])
        case "missing" if len(place) == 1:
            return f"the section [{where}] is missing"
        case "missing":
            return f"{where} is missing"
        case _:
            return f"{where}: {expected(found)}"
