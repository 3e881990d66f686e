"""The whole way from a path and an environment to Settings, and what must hold between keys.

Must not: touch the network, or the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings import units
from kuma_sync.settings.addresses import sqlite_path
from kuma_sync.settings.cautions import cautions
from kuma_sync.settings.paths import here, places_of
from kuma_sync.settings.problems import all_problems
from kuma_sync.settings.secret import Secret
from kuma_sync.settings.secrets import Gathering
from kuma_sync.settings.sections import SECTIONS, RetrySection, Section, Settings, StoreSection
from kuma_sync.settings.sources import Tree, misspelt, overlay, read_toml

_NEEDS_A_RESTART = ("store.url", "web.listen", "kuma.url", "kuma.instance", "irp.url", "irp.profile")

_READ_AT_START = ("web.cert_file", "web.key_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What came of reading a configuration: settings, or the error that names every problem.

    `sections` are those that are sound by themselves.
    """

    settings: Settings | None = None
    error: ConfigError | None = None
    sections: Mapping[str, Section] = field(default_factory=dict)


def load(path: Path | None, env: Mapping[str, str], *, remotes: bool = True) -> Settings:
    """Read the configuration; raise ConfigError: one sentence naming the key and what is expected, and no secret.

    Without `remotes` (a command that needs the store alone) tokens and certificates that this user cannot read are
    left out: systemd shows a service's credentials to the service only.
    """
    return _settings(read(path, env, remotes=remotes))


def load_store(path: Path | None, env: Mapping[str, str]) -> Settings:
    """Read what leads to the store, whatever is wrong with the rest, which is left at its defaults.

    For a command that looks at a daemon whose configuration was broken after it started. Raise ConfigError where even
    that cannot be read.
    """
    return _settings(_read(path, env, remotes=False, store_alone=True))


def _settings(reading: Reading) -> Settings:
    if reading.settings is None:
        raise reading.error or ConfigError("", "the configuration cannot be read")
    return reading.settings


def read(path: Path | None, env: Mapping[str, str], *, remotes: bool = True) -> Reading:
    """Read the configuration as `load` does, and raise nothing."""
    return _read(path, env, remotes=remotes)


def _read(path: Path | None, env: Mapping[str, str], *, remotes: bool, store_alone: bool = False) -> Reading:
    problems: list[ConfigError] = []
    lie = places_of(path, env)
    try:
        tree = read_toml(lie.beside / path.name) if path else {}
    except ConfigError as error:
        return Reading(error=error)
    origins = overlay(tree, env, problems)
    if store_alone:
        _keep_the_store(tree, problems)
    Gathering(places=lie, origins=origins, remotes=remotes, problems=problems).gather(tree)
    _complete(tree)
    context, settings = {"places": lie, "remotes": remotes}, None
    try:
        settings = Settings.model_validate(tree, context=context)
    except ValidationError as error:
        problems += all_problems(error, origins)
    if remotes:
        problems += _between_keys(tree, {problem.key for problem in problems})
    if problems or settings is None:
        first, *others = _in_order(problems, misspelt(env))
        return Reading(
            error=ConfigError(first.key, first.problem, others=others), sections=_sound(tree, context, problems)
        )
    settings._places = lie
    settings._former_store = _former_store(tree, settings)
    settings._warnings = cautions(settings, path, origins, env)
    return Reading(settings=settings, sections={name: getattr(settings, name) for name in SECTIONS})


def _keep_the_store(tree: Tree, problems: list[ConfigError]) -> None:
    """Leave out, in place, all that is said of other sections, and what is wrong with it."""
    store = tree.get("store", {})
    tree.clear()
    tree.update(store=store, **{side: {"url": "https://nowhere.invalid"} for side in ("kuma", "irp")})
    problems[:] = [problem for problem in problems if problem.key.partition(".")[0] == "store"]


def _sound(tree: Tree, context: dict[str, Any], problems: list[ConfigError]) -> dict[str, Section]:
    wrong = {problem.key.partition(".")[0] for problem in problems}
    return {
        name: model.model_validate(tree[name], context=context) for name, model in SECTIONS.items() if name not in wrong
    }


def _complete(tree: Tree) -> None:
    """Give every section its table; an empty address counts as none."""
    for section in SECTIONS:
        table = tree.setdefault(section, {})
        if isinstance(table, dict) and table.get("url") == "" and section != "store":
            del table["url"]


def _in_order(problems: list[ConfigError], unread: Mapping[str, str]) -> list[ConfigError]:
    """Put the problems in the order of the sections, each once; one that a misspelt variable made names it."""
    order = list(SECTIONS)
    hinted: dict[str, ConfigError] = {}
    for problem in problems:
        hint = next((unread[key] for key in (problem.key, f"{problem.key}_file") if key in unread), "")
        told = ConfigError(problem.key, f"{problem.problem}; {hint}") if hint else problem
        hinted.setdefault(str(told), told)

    def place(problem: ConfigError) -> int:
        section = problem.key.partition(".")[0]
        return order.index(section) if section in order else len(order)

    return sorted(hinted.values(), key=place)


def _former_store(tree: Tree, settings: Settings) -> Path | None:
    """Return where a relative path led when it was taken from the current folder, if that is elsewhere."""
    written = tree["store"].get("url", StoreSection.model_fields["url"].default)
    path = sqlite_path(written.strip())
    if not path or Path(path).is_absolute():
        return None
    former = here() / path
    return None if former == Path(sqlite_path(settings.store.url)) else former


def frozen_changes(old: Settings, new: Settings) -> list[str]:
    """Return the keys that changed although only a restart may change them."""
    return [key for key in _NEEDS_A_RESTART if _value(old, key) != _value(new, key)]


def waiting_changes(old: Settings, new: Settings) -> list[str]:
    """Return the keys whose change takes effect at the next start only: what was opened with them stays open."""
    changed = [key for key in _READ_AT_START if _value(old, key) != _value(new, key)]
    before, after = old.store.password, new.store.password
    # The same file is read again for every connection.
    same = before.path == after.path and (after.path is not None or before.reveal() == after.reveal())
    return changed if same else [*changed, "store.password"]


def changed_keys(old: Settings, new: Settings) -> list[str]:
    """Return the dotted names of the keys that differ, never what they say; entries of a table count one by one."""
    return [
        name
        for section in SECTIONS
        for key in SECTIONS[section].model_fields
        for name in _differing(f"{section}.{key}", _value(old, f"{section}.{key}"), _value(new, f"{section}.{key}"))
    ]


def _differing(name: str, old: object, new: object) -> list[str]:
    match old, new:
        case Secret(), Secret():
            return [] if (old.path, old.reveal()) == (new.path, new.reveal()) else [name]
        case Mapping(), Mapping():
            entries = sorted({*old, *new})
            return [
                found for entry in entries for found in _differing(f"{name}.{entry}", old.get(entry), new.get(entry))
            ]
        case _:
            return [] if old == new else [name]


def _value(settings: Settings, dotted: str) -> object:
    section, key = dotted.split(".")
    return getattr(getattr(settings, section), key)


def _between_keys(tree: Tree, wrong: set[str]) -> Iterator[ConfigError]:
    """Say what does not fit together, of keys that are not `wrong` by themselves."""
    kuma, irp, web = (_table(tree, name) for name in ("kuma", "irp", "web"))
    if not kuma.get("token") and not wrong & {"kuma", "kuma.token", "kuma.token_file"}:
        yield ConfigError("kuma.token", "is required (or kuma.token_file)")
    for name, table in (("kuma", kuma), ("irp", irp)):
        if table.get("client_key") and not table.get("client_cert") and f"{name}.client_key" not in wrong:
            yield ConfigError(f"{name}.client_cert", f"is required, because {name}.client_key is set")
    if web.get("key_file") and not web.get("cert_file") and "web.key_file" not in wrong:
        yield ConfigError("web.cert_file", "is required, because web.key_file is set")
    retry = _table(tree, "retry")
    base, longest = (_span(retry.get(key, RetrySection.model_fields[key].default)) for key in ("base", "max"))
    if base and longest and longest < base:
        yield ConfigError("retry.max", "must not be shorter than retry.base")


def _table(tree: Tree, name: str) -> dict[str, Any]:
    table = tree.get(name)
    return table if isinstance(table, dict) else {}


def _span(written: Any) -> timedelta | None:
    try:
        return units.duration(written)
    except ValueError:
        return None
