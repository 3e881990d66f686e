"""Options that many commands share, and the failure that is no bug.

It imports no more than click: `health` runs every few seconds in a container.
"""

from __future__ import annotations

from pathlib import Path

import click

from kuma_sync.core.errors import KumaSyncError

config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    help="The configuration file; else KUMA_SYNC_CONFIG, ./config.toml, /etc/kuma-sync/config.toml.",
)
unread_config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    expose_value=False,
    help="Taken as by every command, but not read: there is nothing in it for this one.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Only say how many and what.")


class Unfinished(KumaSyncError):
    """What was asked for could not be done, or not all of it: exit 1."""
