"""From a path and an environment to Settings: find the file, read it, and collect every problem."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import InitSettingsSource, PydanticBaseSettingsSource

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings.addresses import sqlite_path
from kuma_sync.settings.broken import lacking_files, sentence, without_files
from kuma_sync.settings.origins import named_in
from kuma_sync.settings.paths import SYSTEM_WIDE, here, places_of
from kuma_sync.settings.secret import Secret
from kuma_sync.settings.section import Section
from kuma_sync.settings.sections import SECTIONS, IrpSection, Settings, StoreSection
from kuma_sync.settings.sources import Environment, TomlFile, from_environment, misspelt
from kuma_sync.settings.targets import key_of
from kuma_sync.settings.types import GIVEN, Given
from kuma_sync.settings.validation import dotted, findings, problem_of
from kuma_sync.settings.warnings import ambiguous_tokens, cautions

_NEEDS_A_RESTART = ("store.url", "web.listen", "kuma.url", "kuma.instance")
_TARGETS_NEED = ("url", "profile")
_NOWHERE = {side: {"url": "https://nowhere.invalid"} for side in ("kuma", "irp")}
_EXAMPLE = "config.example.toml"
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The result of reading a configuration: settings, or the error that names every problem.

    `sections` and `irps` (by name, as in Settings) are those without a problem of their own.
    """

    settings: Settings | None = None
    error: ConfigError | None = None
    sections: Mapping[str, Section] = field(default_factory=dict)
    irps: Mapping[str, IrpSection] = field(default_factory=dict)


def load(path: Path | None, env: Mapping[str, str], *, remotes: bool = True) -> Settings:
    """Read the configuration; raise ConfigError: one sentence naming the key and what is expected, and no secret.

    Without `remotes` (a command that needs the store alone) tokens and certificates that this user cannot read are
    left out: systemd shows a service's credentials to the service only.
    """
    return _settings(read(path, env, remotes=remotes))


def load_store(path: Path | None, env: Mapping[str, str]) -> Settings:
    """Read only the part that names the store; all else has its default value. Raise ConfigError.

    For a command that looks at a running daemon after its configuration file was broken.
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
    places, only = places_of(path, env), {"store"} if store_alone else set()
    try:
        files = [TomlFile(places.beside / path.name, only)] if path else []
    except ConfigError as error:
        return Reading(error=error)
    environment = Environment(env, files[0].toml_data if files else {}, only)
    init = InitSettingsSource(Settings, _NOWHERE if store_alone else {})
    given = Given(places=places, remotes=remotes)
    settings, sections, irps = copy_context().run(_validated, given, (init, environment, *files), environment)
    if settings is None:
        unread = {key: str(said) for key, said in misspelt(env).items()}
        problems = _in_order(environment.problems, unread)
        return Reading(error=_one_error(problems), sections=sections, irps=irps)
    if ambiguous := list(ambiguous_tokens(settings)):
        return Reading(error=_one_error(ambiguous), sections=sections, irps=irps)
    store = given.tree.get("store", {})
    if "store.url" in environment.origins and not store.get("password"):
        environment.origins["store.password"] = environment.origins["store.url"]
    settings._places = places
    settings._former_store = _former_store(store, settings)
    settings._file = places.beside / path.name if path else None
    settings._origins = {**named_in(files[0].toml_data if files else {}), **environment.origins}
    settings._warnings = cautions(settings, path, environment.origins, env)
    return Reading(settings=settings, sections=sections, irps=irps)


def _one_error(problems: list[ConfigError]) -> ConfigError:
    first, *others = problems
    return ConfigError(first.key, first.problem, others=others)


def _validated(
    given: Given, sources: tuple[PydanticBaseSettingsSource, ...], environment: Environment
) -> tuple[Settings | None, dict[str, Section], dict[str, IrpSection]]:
    """Return the settings, if there is no problem with them, and the sections and IRPs that are sound by themselves."""
    GIVEN.set(given)
    settings, broken = _tried(given, sources, environment)
    wrong = {problem.key for problem in environment.problems}
    if settings is not None and not wrong:
        settings._plain = "irp" in given.tree or not given.tree.get("targets")
        settings._broken = broken
        unusable = set() if "irp" in settings.irps else {"irp"}
        return settings, {name: getattr(settings, name) for name in SECTIONS if name not in unusable}, {**settings.irps}
    return None, *_sound(given.tree, wrong)


def _tried(
    given: Given, sources: tuple[PydanticBaseSettingsSource, ...], environment: Environment
) -> tuple[Settings | None, dict[str, str]]:
    """Read the settings; a second time without the files that some of several IRPs lack."""
    broken: dict[str, str] = {}
    for _attempt in ("as it is", "without files"):
        try:
            return Settings(_build_sources=(sources, {})), broken  # type: ignore[call-arg]  # mypy knows the fields alone
        except ValidationError as error:
            found = findings(error)
            lacking = {} if environment.problems else lacking_files(found, given.tree)
            if not lacking or broken:
                environment.problems += [problem_of(one, environment.origins) for one in found]
                return None, {}
            for name, about in lacking.items():
                broken[name] = sentence(problem_of(one, environment.origins) for one in about)
                given.instead[name] = without_files(name, about, given)
    return None, {}


def _sound(tree: Mapping[str, Any], wrong: Collection[str]) -> tuple[dict[str, Section], dict[str, IrpSection]]:
    """Return what has no problem of its own, of a configuration that has some."""
    first = {key.partition(".")[0] for key in wrong}
    absent = {"irp"} if "irp" not in tree and tree.get("targets") else set[str]()
    names = [name for name in SECTIONS if name not in first | absent]
    sections = {name: SECTIONS[name].model_validate(tree.get(name, {})) for name in names}
    irps = {"irp": irp} if isinstance(irp := sections.get("irp"), IrpSection) else {}
    named = tree.get("targets", {}) if "targets" not in wrong else {}
    for name, table in named.items():
        if not any(f"{key}.".startswith(f"{dotted(('targets', name))}.") for key in wrong):
            irps[name] = IrpSection.model_validate(table)
    return sections, irps


def _in_order(problems: list[ConfigError], unread: Mapping[str, str]) -> list[ConfigError]:
    """Sort the problems by section, each once; a problem caused by a misspelt variable names the variable."""
    order = list(Settings.model_fields)
    hinted: dict[str, ConfigError] = {}
    for problem in problems:
        hint = next((unread[key] for key in (problem.key, f"{problem.key}_file") if key in unread), "")
        told = ConfigError(problem.key, f"{problem.problem}; {hint}") if hint else problem
        hinted.setdefault(str(told), told)

    def place(problem: ConfigError) -> int:
        section = problem.key.partition(".")[0].partition("[")[0]
        return order.index(section) if section in order else len(order)

    return sorted(hinted.values(), key=place)


def _former_store(store: Mapping[str, Any], settings: Settings) -> Path | None:
    """Return the store's path by the old rule (relative to the current folder), if that differs."""
    written = store.get("url", StoreSection.model_fields["url"].default)
    path = sqlite_path(written.strip())
    if not path or Path(path).is_absolute():
        return None
    former = here() / path
    return None if former == Path(sqlite_path(settings.store.url)) else former


def frozen_changes(old: Settings, new: Settings) -> list[str]:
    """Return the changed keys that need a restart; a target, [irp] too, may come and go without."""
    plain = [key for key in _NEEDS_A_RESTART if _value(old, key) != _value(new, key)]
    before, after = old.named, new.named
    return plain + [
        f"{key_of(name)}.{key}"
        for name in before
        for key in _TARGETS_NEED
        if name in after and getattr(before[name], key) != getattr(after[name], key)
    ]


def waiting_changes(old: Settings, new: Settings) -> list[str]:
    """Return the changed keys that take effect only at the next start."""
    # Another certificate is shown at once, but a door with TLS does not become one without, or the other way.
    changed = [] if (old.web.cert_file is None) == (new.web.cert_file is None) else ["web.cert_file"]
    before, after = old.store.password, new.store.password
    # The same file is read again for every connection.
    same = before.path == after.path and (after.path is not None or before.reveal() == after.reveal())
    return changed if same else [*changed, "store.password"]


def changed_keys(old: Settings, new: Settings) -> list[str]:
    """Return the dotted names of the keys that differ, without their values; each entry of a table counts."""
    return [
        found for name in Settings.model_fields for found in _differing(name, getattr(old, name), getattr(new, name))
    ]


def _differing(name: str, old: object, new: object) -> list[str]:
    match old, new:
        case Secret(), Secret():
            return [] if (old.path, old.reveal()) == (new.path, new.reveal()) else [name]
        case Section(), Section():
            names = [key for key in old.key_names() if key in new.key_names()]
            return [
                found for key in names for found in _differing(f"{name}.{key}", getattr(old, key), getattr(new, key))
            ]
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


def find_config(option: Path | None, env: Mapping[str, str], *, system_wide: Path = SYSTEM_WIDE) -> Path | None:
    """Find the file: the option, KUMA_SYNC_CONFIG, ./config.toml, /etc/kuma-sync/config.toml.

    None where there is no file, but the environment gives keys: a container needs no file. ConfigError where there is
    neither, or where the named file is missing.
    """
    for source, named in (("--config", option), ("KUMA_SYNC_CONFIG", env.get("KUMA_SYNC_CONFIG"))):
        if named:
            if not is_file(Path(named), source):
                _refuse_folder(Path(named), source)
                raise ConfigError(source, f"there is no file {named}")
            return Path(named)
    # We may not be allowed into the current folder: `sudo -u` stays in its caller's home.
    current = [Path("config.toml")] if os.access(".", os.X_OK, effective_ids=True) else []
    for usual in (*current, system_wide):
        if is_file(usual, "--config"):
            return usual
    for usual in (*current, system_wide):
        _refuse_folder(usual, "--config")
    if from_environment(env):
        return None
    unread = "".join(f"; {one}" for one in misspelt(env).values())
    raise ConfigError(
        "--config",
        f"no configuration found, neither ./config.toml nor {system_wide}; `kuma-sync init` writes one{unread}",
    )


def _refuse_folder(path: Path, key: str) -> None:
    """Raise ConfigError(`key`) for a folder where the file should be."""
    if path.is_dir():
        raise ConfigError(
            key,
            f"{path.absolute()} is a folder, expected a file; a container runtime makes a folder where the file that "
            "it mounts is missing: remove that folder, put the file in its place, then make the container anew",
        )


def is_file(path: Path, key: str) -> bool:
    """Tell whether there is a file; raise ConfigError(`key`) where this user may not look.

    Path.is_file() raises OSError for a folder that lets nobody in, and since Python 3.14 takes it for empty.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no path"
        raise ConfigError(key, f"{path.absolute()} cannot be looked for ({why})") from None


def example_text(*, package: Path = _PACKAGE) -> str:
    """Return config.example.toml: from inside the package (a wheel), or beside it (a checkout)."""
    inside = package / _EXAMPLE
    place = inside if inside.is_file() else package.parent / _EXAMPLE
    return place.read_text(encoding="utf-8")
