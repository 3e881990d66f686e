"""`init`, `config` and `profile`: the configuration and the profiles, written, judged and shown."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import click

from kuma_sync.app.judgement import judge
from kuma_sync.cli.completion import offer_from
from kuma_sync.cli.options import (
    Unfinished,
    config_option,
    examples,
    group_config_option,
    json_option,
    unread_config_option,
)
from kuma_sync.cli.out import NobodyReads, say
from kuma_sync.cli.tables import Column, State, plain, show_json, show_line, show_table
from kuma_sync.irp.load import built_in, load_profile, profile_text
from kuma_sync.settings import example_text, find_config, json_schema, load, masked, read, to_toml
from kuma_sync.settings.validation import meant


@click.group()
@group_config_option
def config() -> None:
    """Check the configuration offline; show it, or its JSON Schema."""


@config.command("show", epilog=examples("kuma-sync config show", "kuma-sync config show --json | jq .poll"))
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


@config.command("check", epilog=examples("kuma-sync config check -c new.toml", codes="0 no problem, 2 a problem."))
@config_option
@json_option
def config_check(config: Path | None, as_json: bool) -> None:
    """Check the configuration alone, offline: every problem, a line each."""
    path = find_config(config, os.environ)
    reading = read(path, os.environ)
    found = judge(reading)
    if reading.settings:
        found = replace(found, problems=tuple(dict.fromkeys((*reading.settings.broken.values(), *found.problems))))
    with suppress(NobodyReads):  # the exit code says it, too
        if as_json:
            show_json(found)
        else:
            for problem in found.problems:
                show_line(State("problem"), f"  {plain(problem)}", indent=9)
            for warning in found.warnings:
                show_line(State("warning"), f"  {plain(warning)}", indent=9)
            if not found.problems:
                say(f"{path.absolute() if path else 'the environment'}: no problem")
    raise SystemExit(2 if found.problems else 0)


@config.command("schema")
@unread_config_option
def config_schema() -> None:
    """Print the JSON Schema of the configuration."""
    show_json(json_schema())


@click.command(epilog=examples("kuma-sync init", "kuma-sync init /etc/kuma-sync/config.toml"))
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
    name = plain(file)
    say(f"{name} is written; fill in what is marked REQUIRED, then try it with `kuma-sync check -c {name}`.")


@click.group()
@group_config_option
def profile() -> None:
    """List or show the built-in profiles: each says how an IRP is spoken to."""


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
        show_table(["profile", "mode", "verified", Column("description", wraps=True)], rows)


@profile.command("show", epilog=examples("kuma-sync profile show security-vision > my-irp.toml"))
@unread_config_option
@click.argument("name", shell_complete=offer_from(built_in))
def profile_show(name: str) -> None:
    """Print a built-in profile as TOML, ready to copy and change."""
    if name not in built_in():
        raise click.BadParameter(f"there is no built-in profile {name!r}{meant(name, built_in())}", param_hint="NAME")
    say(profile_text(name).removesuffix("\n"))
