"""`config`: the configuration judged offline, shown as it is in force, or its JSON Schema."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import click

from kuma_sync.app.diagnostics import judge
from kuma_sync.cli.options import config_option, json_option, unread_config_option
from kuma_sync.cli.out import NobodyReads, say
from kuma_sync.cli.tables import plain, show_json
from kuma_sync.settings import find_config, json_schema, load, masked, read, to_toml


@click.group()
def config() -> None:
    """The configuration: judged offline, shown as it is in force, or its JSON Schema."""


@config.command("show")
@config_option
@json_option
def config_show(config: Path | None, as_json: bool) -> None:
    """Show the effective configuration, secrets masked."""
    path = find_config(config, os.environ)
    settings = load(path, os.environ)
    if as_json:
        show_json(masked(settings))
    else:
        named = path.absolute() if path else "no file"
        say(f"# {named}, and what KUMA_SYNC_… variables say\n\n{to_toml(settings)}".removesuffix("\n"))


@config.command("check")
@config_option
@json_option
def config_check(config: Path | None, as_json: bool) -> None:
    """Judge the configuration alone: every problem, a line each; ask nobody, change nothing."""
    path = find_config(config, os.environ)
    reading = read(path, os.environ)
    found = judge(reading)
    with suppress(NobodyReads):  # the exit code says it, too
        if as_json:
            show_json(found)
        else:
            for problem in found.problems:
                say(f"problem  {plain(problem)}")
            for warning in found.warnings:
                say(f"warning  {plain(warning)}")
            if not found.problems:
                say(f"{path.absolute() if path else 'the environment'}: no problem")
    raise SystemExit(2 if found.problems else 0)


@config.command("schema")
@unread_config_option
def config_schema() -> None:
    """Print the JSON Schema of the configuration."""
    show_json(json_schema())
