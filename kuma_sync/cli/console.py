"""`console-user`: the line of the configuration that lets somebody sign in at the console."""

from __future__ import annotations

import json
import re
import sys

import click

from kuma_sync.cli.options import Unfinished, unread_config_option
from kuma_sync.cli.out import can_ask, say
from kuma_sync.settings.secrets import LONGEST_NAME, is_user
from kuma_sync.web.console.passwords import hashed, why_weak

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST = 1024


def _user(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    if not is_user(name):
        raise click.BadParameter(f"expected 1 to {LONGEST_NAME} printable characters")
    return name


@click.command("console-user")
@unread_config_option
@click.argument("name", callback=_user)
def console_user(name: str) -> None:
    """Print the line of [web.console.users] that lets NAME sign in at the console.

    The password is asked for twice on a terminal; else it is the one line of standard input. Only its hash is printed.
    """
    password = _asked() if can_ask() else _given()
    if weak := why_weak(password):
        raise Unfinished(f"{weak}; nothing was printed")
    key = name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False)
    say(f'{key} = "{hashed(password)}"')


def _asked() -> str:
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt="The same again", err=True)
    return password


def _given() -> str:
    text = sys.stdin.read(_LONGEST) if sys.stdin is not None else ""
    password = text.removesuffix("\n").removesuffix("\r")
    if not password.isprintable():
        raise Unfinished("expected the password alone on standard input, in one line; nothing was printed")
    return password
