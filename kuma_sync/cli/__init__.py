"""The command: its subcommands and exit codes; the only place that prints.

`--help` must load no command's libraries, so commands are named here and imported when they are run.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import click

from kuma_sync import __version__
from kuma_sync.cli.options import group_config_option
from kuma_sync.cli.out import NobodyReads, complain, open_streams, unwritten
from kuma_sync.core.errors import ConfigError, KumaSyncError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from kuma_sync.sync.limits import Limits

COMPLETE = "_KUMA_SYNC_COMPLETE"
"""A shell's script sets it when it asks what to offer on TAB; click answers."""

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("daemon:run", "Run the daemon; with --once, one complete pass."),
    "check": ("check:check", "Try configuration, store, KUMA, IRP and templates; change nothing."),
    "status": ("status:status", "Say whether the daemon runs and what needs a look; show counts and queues."),
    "alerts": ("look:alerts", "List alerts and their incidents."),
    "show": ("look:show", "Show one alert with its whole history."),
    "close": ("close:close", "Close an alert in KUMA and its incident in the IRP."),
    "retry": ("act:retry", "Put parked jobs back to the queue."),
    "drop": ("act:drop", "Give an alert or a parked job up for good."),
    "resync": ("act:resync", "Find the incident, then send a full update."),
    "release": ("act:release", "Let go what the brake holds."),
    "pause": ("pause:pause", "Ask KUMA or an IRP nothing, for a maintenance window."),
    "resume": ("pause:resume", "End a pause."),
    "compare": ("compare:compare", "Compare both sides: what is lost, doubled or differs; change nothing."),
    "backfill": ("backfill:backfill", "Make incidents of a period's alerts, whatever their status."),
    "render": ("check:render", "Show the requests that would be sent; send nothing."),
    "init": ("config:init", "Write an example configuration."),
    "config": ("config:config", "Check the configuration offline; show it, or its JSON Schema."),
    "profile": ("config:profile", "List or show the built-in profiles."),
    "console-user": ("console:console_user", "Print the line that lets somebody sign in at the console."),
    "db": ("db:db", "Back the store up, copy, prune or rebind it; upgrade its schema, show it."),
    "health": ("health:health", "Ask a running daemon whether it is ready, or alive."),
    "completion": ("completion:completion", "Print the completion script of bash, zsh or fish."),
    "demo": ("demo:demo", "Play a scripted day on two simulators, then compare both sides."),
    "sim": ("sim:sim", "Run a simulated KUMA or IRP."),
}


class Commands(click.Group):
    """Knows the commands by name and loads one when it is called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Name the commands in the order they are listed above."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Load a command."""
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name][0].split(":")
        command: click.Command = getattr(_loaded(f"kuma_sync.cli.{module}"), attribute)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_target, text) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[Any]]:
        """Offer the commands without loading them."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415  # most runs complete nothing

        names = [name for name in COMMANDS if name.startswith(incomplete)]
        found: list[CompletionItem[Any]] = [CompletionItem(name, help=COMMANDS[name][1]) for name in names]
        return found + super(click.Group, self).shell_complete(ctx, incomplete)


SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

EXIT_CODES = """\b
Exit codes:
  0  done
  1  the work failed, or is incomplete
  2  wrong usage, or an invalid configuration: one sentence says what is wrong
"""


@click.group(cls=Commands, context_settings=SETTINGS, epilog=EXIT_CODES)
@group_config_option
@click.version_option(__version__, prog_name="kuma-sync")
def kuma_sync() -> None:
    """Make one IRP incident of each Kaspersky KUMA alert, keep it up to date, and carry closings both ways."""


def main(words: Sequence[str] | None = None, *, limits: Limits | None = None) -> None:
    """Run the command (`words`, else what was typed); every expected failure ends as one sentence and an exit code.

    `limits` are those of `run`; None: those of the program as it is delivered.
    """
    open_streams(quiet=COMPLETE in os.environ)
    try:
        words = _readable(sys.argv[1:] if words is None else words)
        kuma_sync.main(words, prog_name="kuma-sync", standalone_mode=False, obj=limits)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        complain(error.format_message(), lines=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        sys.exit(_misused(error))
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BaseExceptionGroup as group:
        sys.exit(_failed(_first(group)))
    except KumaSyncError as error:
        sys.exit(_failed(error))
    except OSError as error:
        sys.exit(_unwritten(error))


def _readable(words: Sequence[str]) -> list[str]:
    """Refuse a word that is not UTF-8, and name its position: it could be neither stored nor printed."""
    for position, word in enumerate(words, 1):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"argument {position} is not UTF-8") from None
    return list(words)


def _loaded(module: str) -> ModuleType:
    """Load a module with its libraries. They stay: to look for garbage among them takes a tenth of a start."""
    if module in sys.modules:
        return sys.modules[module]
    gc.disable()
    try:
        return import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def _misused(error: click.ClickException) -> int:
    """Say a mistake in the command line in one line; click would take four."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = context.command_path if context else "kuma-sync"
    message = " ".join(error.format_message().split())
    complain(f"{command}: {message} (see {command} --help)")
    return error.exit_code


def _failed(error: BaseException) -> int:
    if not isinstance(error, KumaSyncError):
        raise error
    if not isinstance(error, NobodyReads):
        complain(f"kuma-sync: {error}")
    return 2 if isinstance(error, ConfigError) else 1


def _unwritten(error: OSError) -> int:
    """Say that the help could not be written, for click writes it; any other error of this kind is a bug of ours."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    if where is None or where.tb_frame.f_globals.get("__name__") != "click.utils":
        raise error
    return _failed(unwritten(error))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
