"""The configuration: frozen sections from one TOML file and the environment; errors name the key, and no secret."""

from kuma_sync.settings.addresses import host_and_port, normalised, sqlite_path
from kuma_sync.settings.export import json_schema, masked, to_toml
from kuma_sync.settings.load import (
    Reading,
    changed_keys,
    example_text,
    find_config,
    frozen_changes,
    load,
    load_store,
    read,
    waiting_changes,
)
from kuma_sync.settings.paths import Places, places_of
from kuma_sync.settings.secret import Secret
from kuma_sync.settings.section import Section
from kuma_sync.settings.sections import SECTIONS, Settings, secret_keys
from kuma_sync.settings.warnings import secrets_of

__all__ = [
    "SECTIONS",
    "Places",
    "Reading",
    "Secret",
    "Section",
    "Settings",
    "changed_keys",
    "example_text",
    "find_config",
    "frozen_changes",
    "host_and_port",
    "json_schema",
    "load",
    "load_store",
    "masked",
    "normalised",
    "places_of",
    "read",
    "secret_keys",
    "secrets_of",
    "sqlite_path",
    "to_toml",
    "waiting_changes",
]
