"""The sources of values: the environment, and one TOML file, which the environment overrides.

An error in the file names line and column, and quotes no value.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings.paths import read_text
from kuma_sync.settings.secrets import FILE
from kuma_sync.settings.sections import PREFIX, SECTIONS, Settings, secret_keys
from kuma_sync.settings.toml import parse_toml

_TABLES = ("web.tokens", "irp.options", "close.reasons")
_SURE = 0.8
"""How similar to a key a misspelt variable must be; others may belong to other programs."""

# With PYDANTIC_SETTINGS_DEBUG the library logs every value that a source gives, secrets too.
logging.getLogger("pydantic_settings").addFilter(lambda _record: False)

Tree = dict[str, Any]


class Environment(EnvSettingsSource):
    """`KUMA_SYNC_<SECTION>__<KEY>` of an explicit mapping; `origins` says which variable gave which dotted key.

    A variable that cannot be put anywhere becomes one of the `problems`. `only` names the sections read, if not all.
    """

    def __init__(self, env: Mapping[str, str], file: Tree, only: Collection[str] = ()) -> None:
        self.origins: dict[str, str] = {}
        self.problems: list[ConfigError] = []
        self._meant: dict[str, str | None] = {}
        self._sections: Tree = {}
        for name in sorted(env, key=str.lower):
            parts = _parts(name)
            if parts and (not only or parts[0] in only):
                self._take(name, env[name], parts, file)
        super().__init__(Settings)

    def _take(self, name: str, value: str, parts: list[str], file: Tree) -> None:
        section, key, *rest = parts
        where, table = section, file.get(section, {})
        if rest and isinstance(table, dict):
            where, table = f"{section}.{key}", table.get(key, {})
        if not isinstance(table, dict) or (rest and where in self.origins):
            wanted = f"expected a table, because the environment sets {name}"
            self.problems.append(ConfigError(where, wanted))
            return
        path = [section, key]
        if rest:
            path.append(_entry(path, "__".join(rest), table))
        self._sections[section] = {}
        self._meant[PREFIX + "__".join(path)] = value
        self.origins[".".join(path)] = name

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._meant

    def __call__(self) -> Tree:
        """Return the library's result and the sections that it does not know, which are then refused."""
        return {**self._sections, **super().__call__()}


class TomlFile(TomlConfigSettingsSource):
    """One TOML file. The environment's form of a secret (`x` or `x_file`) overrides the other form in the file."""

    def __init__(self, path: Path, only: Collection[str] = ()) -> None:
        self._only = only
        super().__init__(Settings, toml_file=path)

    def _read_files(self, files: Any, deep_merge: bool = False) -> Tree:  # noqa: ARG002  # there is one
        tree = read_toml(files)
        return {name: table for name, table in tree.items() if name in self._only} if self._only else tree

    def __call__(self) -> Tree:
        """Return the file's values, except those that the environment overrides."""
        tree, given = super().__call__(), self.current_state
        for section in SECTIONS:
            _give_way(tree.get(section), given.get(section), secret_keys(section))
        web = tree.get("web")
        if isinstance(web, dict):
            _give_way(web.get("tokens"), given.get("web", {}).get("tokens"), None)
        return tree


def _give_way(table: Any, given: Any, secrets: Collection[str] | None) -> None:
    """Remove, in place, both forms of each given secret; None means that all keys are secrets."""
    if isinstance(table, dict) and isinstance(given, dict):
        won = {key.removesuffix(FILE) for key, value in given.items() if value}
        for key in [key for key in table if key.removesuffix(FILE) in won]:
            if secrets is None or key.removesuffix(FILE) in secrets:
                del table[key]


def read_toml(path: Path) -> Tree:
    """Read a TOML file; raise ConfigError with the file, the place in it, and what is wrong there."""
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


def misspelt(env: Mapping[str, str]) -> dict[str, str]:
    """Return a sentence for each misspelt variable that was not read, by the dotted key that it resembles."""
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
    if not name.lower().startswith(PREFIX) or _parts(name):
        return "", ""
    section, _, key = name[len(PREFIX) :].lower().partition("_")
    if section not in SECTIONS:
        return "", ""
    for table in _TABLES:
        if f"{section}.{key}".startswith(f"{table}_"):
            return section, f"{table.partition('.')[2]}__{key.partition('_')[2]}"
    return section, next(iter(get_close_matches(key, SECTIONS[section].model_fields, n=1, cutoff=_SURE)), "")


def _parts(name: str) -> list[str]:
    if not name.lower().startswith(PREFIX) or "__" not in name[len(PREFIX) :]:
        return []
    return name[len(PREFIX) :].lower().split("__")


def _entry(path: list[str], name: str, known: Iterable[str]) -> str:
    """Find the entry of a free table that a variable means: `_` also stands for `-` and for a space."""
    for entry in known:
        if re.sub(r"[-\s]", "_", entry.lower()) == name:
            return entry
    if path != ["web", "tokens"]:
        return name
    stem, suffix = (name.removesuffix(FILE), FILE) if name.endswith(FILE) else (name, "")
    for entry in known:
        if re.sub(r"[-\s]", "_", entry.removesuffix(FILE).lower()) == stem:
            return entry.removesuffix(FILE) + suffix
    return stem.replace("_", "-") + suffix
