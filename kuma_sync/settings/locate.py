"""Where files lie: the configuration on this machine, and the example that comes with the program."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings.paths import SYSTEM_WIDE
from kuma_sync.settings.sources import from_environment, misspelt

_EXAMPLE = "config.example.toml"
_PACKAGE = Path(__file__).parents[1]


def find_config(option: Path | None, env: Mapping[str, str], *, system_wide: Path = SYSTEM_WIDE) -> Path | None:
    """Find the file: the option, KUMA_SYNC_CONFIG, ./config.toml, /etc/kuma-sync/config.toml.

    None where there is no file, but the environment gives keys: a container needs no file. ConfigError where there is
    neither, or where the named file is missing.
    """
    for source, named in (("--config", option), ("KUMA_SYNC_CONFIG", env.get("KUMA_SYNC_CONFIG"))):
        if named:
            if not is_file(Path(named), source):
                raise ConfigError(source, f"there is no file {named}")
            return Path(named)
    # A folder that lets us not in holds no file for us: `sudo -u` runs in its caller's home.
    current = [Path("config.toml")] if os.access(".", os.X_OK, effective_ids=True) else []
    for usual in (*current, system_wide):
        if is_file(usual, "--config"):
            return usual
    if from_environment(env):
        return None
    unread = "".join(f"; {one}" for one in misspelt(env).values())
    raise ConfigError(
        "--config",
        f"no configuration found, neither ./config.toml nor {system_wide}; `kuma-sync init` writes one{unread}",
    )


def is_file(path: Path, key: str) -> bool:
    """Tell whether there is a file; raise ConfigError(`key`) where nobody can tell.

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
