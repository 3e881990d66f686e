"""The whole way from a path and an environment to Settings, and what must hold between keys.

Must not: touch the network, or the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings.cautions import cautions
from kuma_sync.settings.problems import first_problem
from kuma_sync.settings.secret import Secret
from kuma_sync.settings.secrets import gather_secrets
from kuma_sync.settings.sections import SECTIONS, Settings
from kuma_sync.settings.sources import Tree, overlay, read_toml

_NEEDS_A_RESTART = ("store.url", "web.listen", "kuma.url", "kuma.instance", "irp.url", "irp.profile")

_READ_AT_START = ("web.cert_file", "web.key_file")


def load(path: Path | None, env: Mapping[str, str], *, remotes: bool = True) -> Settings:
    """Read the configuration; raise ConfigError: one sentence naming the key and what is expected, and no secret.

    Without `remotes` (a command that needs the store alone) tokens and certificates that this user cannot read are
    left out: systemd shows a service's credentials to the service only.
    """
    tree = read_toml(path) if path else {}
    origins = overlay(tree, env)
    settings = _read(tree, env, origins, remotes=remotes)
    if remotes:
        _check_together(settings)
    settings._warnings = cautions(settings, path, origins)
    return settings


def load_store(path: Path | None, env: Mapping[str, str]) -> Settings:
    """Read what leads to the store, whatever is wrong with the rest, which is left at its defaults.

    For a command that looks at a daemon whose configuration was broken after it started. Raise ConfigError where even
    that cannot be read.
    """
    tree = read_toml(path) if path else {}
    origins = overlay(tree, env)
    nowhere = {"url": "https://nowhere.invalid"}
    return _read(
        {"store": tree.get("store", {}), "kuma": dict(nowhere), "irp": dict(nowhere)}, env, origins, remotes=False
    )


def _read(tree: Tree, env: Mapping[str, str], origins: dict[str, str], *, remotes: bool) -> Settings:
    gather_secrets(tree, env, origins, remotes=remotes)
    for section in SECTIONS:
        table = tree.setdefault(section, {})
        if isinstance(table, dict) and table.get("url") == "" and section != "store":
            del table["url"]
    try:
        return Settings.model_validate(tree, context={"env": env, "remotes": remotes})
    except ValidationError as error:
        raise first_problem(error, origins) from None


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


def _check_together(settings: Settings) -> None:
    if not settings.kuma.token:
        raise ConfigError("kuma.token", "is required (or kuma.token_file)")
    for name, side in (("kuma", settings.kuma), ("irp", settings.irp)):
        if side.client_key and not side.client_cert:
            raise ConfigError(f"{name}.client_cert", f"is required, because {name}.client_key is set")
    if settings.web.key_file and not settings.web.cert_file:
        raise ConfigError("web.cert_file", "is required, because web.key_file is set")
    if settings.retry.max < settings.retry.base:
        raise ConfigError("retry.max", "must not be shorter than retry.base")
