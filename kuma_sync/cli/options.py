"""Options that many commands share, who gives an order, and the question before what cannot be undone.

It imports little: `health` runs every few seconds in a container.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from kuma_sync.cli.out import can_ask
from kuma_sync.core.errors import KumaSyncError

F = TypeVar("F", bound=Callable[..., Any])

_CONFIG = "kuma_sync.config"
"""Where the file is kept that was named before the command."""


def named_before(context: click.Context) -> Path | None:
    """Return the configuration file that was named so far on the command line."""
    path: Path | None = context.meta.get(_CONFIG)
    return path


def _named_once(context: click.Context, _parameter: click.Parameter, path: Path | None) -> Path | None:
    """Take the file from before or after the command's name; refuse two different ones."""
    before = named_before(context)
    if path is None:
        return before
    if before is not None and before.absolute() != path.absolute():
        raise click.UsageError(f"--config names two files, {before} and {path}: say one")
    context.meta[_CONFIG] = path
    return path


def _naming_configuration(text: str, *, given: bool) -> Callable[[F], F]:
    return click.option(
        "-c",
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path),
        callback=_named_once,
        expose_value=given,
        help=text,
    )


config_option = _naming_configuration(
    "The configuration file; else KUMA_SYNC_CONFIG, ./config.toml, /etc/kuma-sync/config.toml.", given=True
)
group_config_option = _naming_configuration(
    "The configuration file; it may as well be named after the command.", given=False
)
unread_config_option = _naming_configuration(
    "Taken as by every command, but not read: there is nothing in it for this one.", given=False
)

json_option = click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Only say how many and what.")


def examples(*lines: str, codes: str = "") -> str:
    """Return the end of a command's help: lines to type, and exit codes where they say more than 0, 1 and 2."""
    typed = "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines) if lines else ""
    return "\n\n".join(part for part in (typed, codes and f"Exit codes: {codes}") if part)


NOBODY = 2**32 - 1
"""The login uid of a process without a login, such as a service or a container (proc(5))."""

LONGEST_NAME = 64


class Unfinished(KumaSyncError):
    """The command could not do all that it was asked to do: exit 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order: the name of its giver; `yes` answers the question, `dry_run` changes nothing."""

    by: str
    yes: bool
    dry_run: bool

    @property
    def is_seen_first(self) -> bool:
        """Tell whether a human is shown the effect first. With `--yes` the command works even where it cannot print."""
        return self.dry_run or not self.yes


def agreed(question: str, *, yes: bool) -> None:
    """Ask, unless `yes`. Raise Unfinished after a no, UsageError where there is no terminal."""
    if yes:
        return
    if not can_ask():
        raise click.UsageError("this cannot be undone and there is no terminal to ask on: say --yes, or --dry-run")
    if not click.confirm(question, err=True):
        raise Unfinished("nothing was done")


def named_by_option(_context: click.Context, _parameter: click.Parameter, name: str | None) -> str | None:
    """Read a name for the audit trail; refuse an empty, too long or unprintable one."""
    if name is not None and not (name.strip() and name.isprintable() and len(name) <= LONGEST_NAME):
        raise click.BadParameter(f"expected a name of at most {LONGEST_NAME} printable characters")
    return name.strip() if name else None


as_option = click.option(
    "--as",
    "said",
    metavar="NAME",
    callback=named_by_option,
    help="Who gives the order, for the history; else who called sudo or doas, or logged in.",
)


def actor(said: str | None = None) -> str:
    """Return the name for the audit trail: the human's, not that of the account which sudo gave.

    A name given by `--as` (`said`) is only a claim, so the name that the system knows stands beside it.
    """
    known = human(os.environ)
    return f"operator:{known}" if said in (None, known) else f"operator:{said} ({known})"


def human(env: Mapping[str, str], *, loginuid: Path = Path("/proc/self/loginuid")) -> str:
    """Return the human's login: from sudo or doas, else from the login session, else the process's own account."""
    account = _account()
    for told in (env.get("SUDO_USER", ""), env.get("DOAS_USER", ""), _logged_in(loginuid)):
        if told and told != "root" and told.isprintable():
            return told[:LONGEST_NAME]
    return account


def _logged_in(file: Path) -> str:
    """Return the name of this login session; it stays the same under `su`, and its user cannot change it."""
    try:
        uid = int(file.read_text(encoding="ascii"))
        return "" if uid == NOBODY else pwd.getpwuid(uid).pw_name
    except (OSError, ValueError, KeyError):
        return ""


def _account() -> str:
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)  # a container's user may have no name
