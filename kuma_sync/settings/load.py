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
from kuma_sync.settings.secrets import gather_secrets
from kuma_sync.settings.sections import SECTIONS, Settings
from kuma_sync.settings.sources import overlay, read_toml

_NEEDS_A_RESTART = ("store.url", "web.listen", "kuma.url", "kuma.instance", "irp.url", "irp.profile")

_READ_AT_START = ("web.cert_file", "web.key_file")


def load(path: Path | None, env: Mapping[str, str], *, remotes: bool = True) -> Settings:
    """Read the configuration; raise ConfigError: one sentence naming the key and what is expected, and no secret.

    Without `remotes` (a command that needs the store alone) tokens and certificates that this user cannot read are
    left out: systemd shows a service's credentials to the service only.
    """
    tree = read_toml(path) if path else {}
    origins = overlay(tree, env)
    gather_secrets(tree, env, origins, remotes=remotes)
    for section in SECTIONS:
        table = tree.setdefault(section, {})
        if isinstance(table, dict) and table.get("url") == "" and section != "store":
            del table["url"]
    try:
        settings = Settings.model_validate(tree, context={"env": env, "remotes": remotes})
    except ValidationError as error:
        raise first_problem(error, origins) from None
    if remotes:
        _check_together(settings)
    settings._warnings = cautions(settings, path, origins)
    return settings


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
