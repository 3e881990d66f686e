"""The configuration file as it stands, read cheaply: for `health` and for what the shell completes.

Nothing here loads the settings: secrets may be unreadable, and that must not matter.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from kuma_sync.core.errors import ConfigError


def tables(config: Path | None) -> dict[str, Any]:
    """Return the tables of the file; `{}`, for the defaults, where there is none or it is no TOML.

    Raise ConfigError where the named file is not there, or cannot be read.
    """
    named = config or os.environ.get("KUMA_SYNC_CONFIG")
    for path in [Path(named)] if named else [Path("config.toml"), Path("/etc/kuma-sync/config.toml")]:
        try:
            return tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            if config:
                raise ConfigError("--config", f"there is no file {path}") from None
        except PermissionError:
            if named:
                raise ConfigError("--config" if config else "KUMA_SYNC_CONFIG", f"{path} cannot be read") from None
        except (OSError, ValueError, RecursionError):
            return {}
    return {}


def table(tables_: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a table by its name; `{}` where it is not there, or something else."""
    found = tables_.get(name, {})
    return found if isinstance(found, dict) else {}
