"""`init`, `config` and `profile`: what one reads and writes before the first run.

Must not: need a store, or any remote.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from kuma_sync.cli.flags import Unfinished, config_option, json_option, unread_config_option
from kuma_sync.cli.tables import show_json, show_table
from kuma_sync.irp.checking import check_profile
from kuma_sync.irp.loading import built_in, load_profile, meant, profile_text
from kuma_sync.settings import example_text, find_config, json_schema, load, masked, to_toml


@click.command()
@unread_config_option
@click.argument("file", type=click.Path(path_type=Path), default="config.toml")
def init(file: Path) -> None:
    """Write an example configuration to FILE (./config.toml); never overwrite one."""
    try:
        # Only its owner reads it: the tokens will be written there.
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as written:
            written.write(example_text())
    except FileExistsError:
        raise Unfinished(f"{file} exists already and stays as it is") from None
    except OSError as error:
        raise Unfinished(f"{file} cannot be written: {error.strerror}") from None
    click.echo(f"{file} is written; fill in what is marked REQUIRED, then try it with `kuma-sync check -c {file}`.")


@click.group()
def config() -> None:
    """The effective configuration, or its JSON Schema."""


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
        click.echo(f"# {path or 'no file'}, and what KUMA_SYNC_… variables say\n\n{to_toml(settings)}", nl=False)


@config.command("check")
@config_option
def config_check(config: Path | None) -> None:
    """Try the configuration and its profile alone, offline: exit 0 or 2."""
    settings = load(find_config(config, os.environ), os.environ)
    check_profile(load_profile(settings.irp.profile), options=settings.irp.options)  # type: ignore[arg-type]  # JSON passes
    click.echo("The configuration is valid.")


@config.command("schema")
@unread_config_option
def config_schema() -> None:
    """Print the JSON Schema of the configuration."""
    show_json(json_schema())


@click.group()
def profile() -> None:
    """The built-in profiles: how an IRP is spoken to."""


@profile.command("list")
@unread_config_option
@json_option
def profile_list(as_json: bool) -> None:
    """List the built-in profiles."""
    profiles = [load_profile(name) for name in built_in()]
    if as_json:
        keys = ("name", "mode", "verified", "description")
        show_json([{key: getattr(one, key) for key in keys} | {"operations": list(one.operations)} for one in profiles])
    else:
        rows = [[one.name, one.mode, one.verified, one.description] for one in profiles]
        show_table(["profile", "mode", "verified", "description"], rows)


@profile.command("show")
@unread_config_option
@click.argument("name")
def profile_show(name: str) -> None:
    """Print a built-in profile as TOML, ready to copy and change."""
    if name not in built_in():
        raise click.BadParameter(f"there is no built-in profile {name!r}{meant(name, built_in())}", param_hint="NAME")
    click.echo(profile_text(name), nl=False)
