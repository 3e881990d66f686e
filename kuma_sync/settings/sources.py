"""Where values come from: one TOML file, then the environment, which wins. The result is a plain tree of tables.

Must not: judge values (the sections do). A broken file is named with line and column, no value quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings.sections import SECTIONS, secret_keys
from kuma_sync.settings.text import read_text
from kuma_sync.settings.toml import parse_toml

PREFIX = "KUMA_SYNC_"
_FILE = "_file"
_TABLES = ("web.tokens", "irp.options", "close.reasons")
_SURE = 0.8
"""How much a misspelt variable must look like a key; others may be somebody else's."""

Tree = dict[str, Any]


def read_toml(path: Path) -> Tree:
    """Read a TOML file; raise ConfigError naming the file, the place in it, and what is odd there."""
    try:
        return parse_toml(read_text(path))
    except FileNotFoundError:
        raise ConfigError(str(path), "there is no such file") from None
    except OSError as error:
        raise ConfigError(str(path), f"the file cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ConfigError(str(path), str(error)) from None


def from_environment(env: Mapping[str, str]) -> bool:
    """Tell whether any key is given by the environment."""
    return any(_parts(name) for name in env)


def overlay(tree: Tree, env: Mapping[str, str], problems: list[ConfigError]) -> dict[str, str]:
    """Put `KUMA_SYNC_<SECTION>__<KEY>` over what the file said; return which variable gave which dotted key.

    A variable that cannot be put anywhere becomes one of the `problems`.
    """
    origins: dict[str, str] = {}
    for name in sorted(env):
        parts = _parts(name)
        if not parts:
            continue
        section, key, *rest = parts
        table = tree.setdefault(section, {})
        path = [section, key]
        if rest:
            table = table.setdefault(key, {}) if isinstance(table, dict) else table
            path.append(_entry(path, "__".join(rest), table if isinstance(table, dict) else {}))
        if not isinstance(table, dict):
            wanted = f"expected a table, because the environment sets {name}"
            problems.append(ConfigError(".".join(path[:-1]), wanted))
            continue
        if env[name]:
            _forget_other_form(table, path, origins)
        table[path[-1]] = env[name]
        origins[".".join(path)] = name
    return origins


def misspelt(env: Mapping[str, str]) -> dict[str, str]:
    """Return a sentence for each variable that means a key of ours by its name, but is not read, by dotted key."""
    found = {}
    for name in sorted(env):
        section, key = _meant(name)
        if key:
            dotted = f"{section}.{key}"
            right = f"{PREFIX}{section}__{key}".upper()
            found[dotted] = f"the environment variable {name} is not read; write {right}, with two underscores"
    return found


def _meant(name: str) -> tuple[str, str]:
    """Split a name with one underscore where there should be two."""
    if not name.upper().startswith(PREFIX) or _parts(name):
        return "", ""
    section, _, key = name[len(PREFIX) :].lower().partition("_")
    if section not in SECTIONS:
        return "", ""
    for table in _TABLES:
        if f"{section}.{key}".startswith(f"{table}_"):
            return section, f"{table.partition('.')[2]}__{key.partition('_')[2]}"
    known = [*SECTIONS[section].model_fields, *(f"{one}{_FILE}" for one in secret_keys(section))]
    return section, next(iter(get_close_matches(key, known, n=1, cutoff=_SURE)), "")


def _parts(name: str) -> list[str]:
    if not name.upper().startswith(PREFIX) or "__" not in name[len(PREFIX) :]:
        return []
    return name[len(PREFIX) :].lower().split("__")


def _entry(path: list[str], name: str, known: Iterable[str]) -> str:
    """Find the entry of a free table that a variable means: `_` also stands for `-` and for a space."""
    for entry in known:
        if re.sub(r"[-\s]", "_", entry.lower()) == name:
            return entry
    if path != ["web", "tokens"]:
        return name
    stem, suffix = (name.removesuffix(_FILE), _FILE) if name.endswith(_FILE) else (name, "")
    for entry in known:
        if re.sub(r"[-\s]", "_", entry.removesuffix(_FILE).lower()) == stem:
            return entry.removesuffix(_FILE) + suffix
    return stem.replace("_", "-") + suffix


def _forget_other_form(table: Tree, path: list[str], origins: Mapping[str, str]) -> None:
    """Let `x` from the environment win over `x_file` from the file, and the other way round."""
    *where, key = path
    stem = key.removesuffix(_FILE)
    secret = where == ["web", "tokens"] or (where[0] in SECTIONS and len(where) == 1 and stem in secret_keys(where[0]))
    other = stem if key.endswith(_FILE) else key + _FILE
    if secret and ".".join([*where, other]) not in origins:
        table.pop(other, None)
