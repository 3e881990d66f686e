"""The sources of values: the environment, and one TOML file, which the environment overrides.

An error in the file names line and column, and quotes no value.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource

from kuma_sync.core.errors import ConfigError
from kuma_sync.core.routing import IRP
from kuma_sync.core.sentence import Sentence, sentence
from kuma_sync.settings.paths import read_text
from kuma_sync.settings.secrets import FILE
from kuma_sync.settings.section import Section
from kuma_sync.settings.sections import PREFIX, SECTIONS, IrpSection, Settings
from kuma_sync.settings.targets import same_name
from kuma_sync.settings.toml import parse_toml
from kuma_sync.settings.types import table as parsed_table

_TABLES = ("web.tokens", "web.passthrough", "web.console", "irp.options", "irp.secrets", "close.reasons")
_SURE = 0.8
"""How similar to a key a misspelt variable must be; others may belong to other programs."""

# With PYDANTIC_SETTINGS_DEBUG the library logs every value that a source gives, secrets too.
logging.getLogger("pydantic_settings").addFilter(lambda _record: False)

Tree = dict[str, Any]
_CONSOLE = ["web", "console"]


def _joined(one: Tree, other: Tree) -> Tree:
    """Return both trees as one; a table that is in both is joined, another value of `other` wins."""
    both = {key: _joined(one[key], other[key]) for key in one.keys() & other.keys() if _tables(one[key], other[key])}
    return {**one, **other, **both}


def _tables(*values: Any) -> bool:
    return all(isinstance(value, dict) for value in values)


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
        if parts[0] == "route":
            self.problems.append(ConfigError("route", f"cannot be given by {name}; write [[route]] into the file"))
            return
        path: list[str] = []
        table: Any = file
        for part in _levels(parts):
            if not isinstance(table, dict) or ".".join(path) in self.origins:
                wanted = f"expected a table, because the environment sets {name}"
                self.problems.append(ConfigError(".".join(path), wanted))
                return
            path.append(_entry(path, part, table))
            table = table.get(path[-1], {})
        self.origins[".".join(path)] = name
        if path[0] == "targets" or path[:2] == _CONSOLE:
            self._put(path, value)
        else:
            self._sections.setdefault(path[0], {})
            self._meant[PREFIX + "__".join(path)] = value

    def _put(self, path: list[str], value: Any) -> None:
        """Put a value below `targets` or the console, deeper than the library reads; a whole table is JSON."""
        if len(path) == len(("targets", "north")) or path == [*_CONSOLE, "oidc"]:
            with suppress(ValueError):  # the section says what it expects
                value = parsed_table(value)
        table = self._sections
        for part in path[:-1]:
            table = table.setdefault(part, {})
        table[path[-1]] = value

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._meant

    def __call__(self) -> Tree:
        """Return the library's result and the sections that it does not know, which are then refused."""
        return _joined(self._sections, super().__call__())


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
        for name, section in SECTIONS.items():
            _secrets_give_way(tree.get(name), given.get(name), section)
        written, changed = tree.get("targets"), given.get("targets")
        if isinstance(written, dict) and isinstance(changed, dict):
            for name, table in written.items():
                _secrets_give_way(table, changed.get(name), IrpSection)
        return tree


def _secrets_give_way(table: Any, given: Any, section: type[Section]) -> None:
    """Remove, in place, both forms of each secret of a section that the environment gives."""
    if isinstance(table, dict) and isinstance(given, dict):
        _give_way(table, given, section.secret_keys())
        for key in section.secret_tables():
            _give_way(table.get(key), given.get(key), None)
        for key, inner in section.inner_kinds().items():
            _secrets_give_way(table.get(key), given.get(key), inner)


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


def misspelt(env: Mapping[str, str]) -> dict[str, Sentence]:
    """Return a sentence for each misspelt variable that was not read, by the dotted key that it resembles."""
    found = {}
    for name in sorted(env):
        section, key = _meant(name)
        if key:
            dotted = f"{section}.{key}".replace("__", ".")
            right = f"{PREFIX}{section}__{key}".upper()
            found[dotted] = sentence(
                "the environment variable %(name)s is not read; write %(right)s, with two underscores",
                name=name,
                right=right,
            )
    return found


def _meant(name: str) -> tuple[str, str]:
    """Split a name with one underscore where there should be two."""
    if not name.lower().startswith(PREFIX) or _parts(name):
        return "", ""
    section, _, key = name[len(PREFIX) :].lower().partition("_")
    if section == "targets":
        return section, _key_of_target(key)
    if section not in SECTIONS:
        return "", ""
    for table in _TABLES:
        if f"{section}.{key}".startswith(f"{table}_"):
            return section, f"{table.partition('.')[2]}__{key.partition('_')[2]}"
    return section, next(iter(get_close_matches(key, SECTIONS[section].model_fields, n=1, cutoff=_SURE)), "")


def _key_of_target(text: str) -> str:
    """Split `north_token_file` into a target's name and its key; "" where no key is at the end."""
    keys = sorted((key for key in IrpSection.model_fields if text.endswith(f"_{key}")), key=len)
    return f"{text.removesuffix(f'_{keys[-1]}')}__{keys[-1]}" if keys else ""


def _levels(parts: list[str]) -> list[str]:
    """Return section, key and entry, with the target's name after the first of `targets`; an entry may hold `__`."""
    deeper = parts[0] == "targets" or parts[:2] == _CONSOLE
    deepest = len(("targets", "north", "options")) if deeper else len(("irp", "options"))
    return parts[:deepest] + (["__".join(parts[deepest:])] if len(parts) > deepest else [])


def _parts(name: str) -> list[str]:
    if not name.lower().startswith(PREFIX) or "__" not in name[len(PREFIX) :]:
        return []
    return name[len(PREFIX) :].lower().split("__")


def _entry(path: list[str], name: str, known: Iterable[str]) -> str:
    """Find the entry of a free table that a variable means: `_` also stands for `-` and for a space."""
    match path:
        case [] | ["targets", _]:
            return name
        case ["targets"]:
            return _alike(name, known) or name.replace("_", "-")
        case ["targets", _, *below]:
            return _entry([IRP, *below], name, known)
        case ["web", "console"]:
            return name
        case ["web", "console", key] if key in ("users", "roles"):
            return _one_form_of(name, known, new="-") if key == "users" else _alike(name, known) or name
        case [section, key] if section in SECTIONS and key in SECTIONS[section].secret_tables():
            # A name of ours for a caller is like one in a host's name, a name in a template has no "-".
            return _alike(name, known) or _one_form_of(name, known, new="-" if section == "web" else "_")
        case [_, _]:
            return _alike(name, known) or name
        case _:
            return name


def _alike(name: str, known: Iterable[str]) -> str:
    return next((entry for entry in known if same_name(entry) == name), "")


def _one_form_of(name: str, known: Iterable[str], *, new: str) -> str:
    """Find the entry of a table of secrets, of which the file may give the other form."""
    stem, suffix = (name.removesuffix(FILE), FILE) if name.endswith(FILE) else (name, "")
    found = _alike(stem, (entry.removesuffix(FILE) for entry in known))
    return (found or stem.replace("_", new)) + suffix
