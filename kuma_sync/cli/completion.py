"""`completion`: the shell's completion script, and the values that are offered on TAB.

What is offered comes from the program and the configuration file alone. Where that cannot be read nothing is offered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from kuma_sync.cli import COMPLETE
from kuma_sync.cli.config_file import table, tables
from kuma_sync.cli.options import examples, named_before, unread_config_option
from kuma_sync.cli.out import say
from kuma_sync.core.errors import ConfigError
from kuma_sync.core.maintenance import CLOSE, KUMA
from kuma_sync.core.routing import IRP

SHELLS = ("bash", "zsh", "fish")
NAME = "kuma-sync"

EXAMPLES = examples(
    'eval "$(kuma-sync completion bash)"        # in ~/.bashrc',
    'eval "$(kuma-sync completion zsh)"         # in ~/.zshrc, after compinit',
    "kuma-sync completion fish > ~/.config/fish/completions/kuma-sync.fish",
    "kuma-sync completion bash > /etc/bash_completion.d/kuma-sync    # for all",
)


@click.command(epilog=EXAMPLES)
@unread_config_option
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell: then TAB offers commands, options, states, parts and targets."""
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101  # click knows these shells
    # Not its own `source`: that of bash asks which bash there is, and complains where there is none.
    script = ShellComplete.source(found(context.find_root().command, {}, NAME, COMPLETE))
    # A description may hold commas: only the first one ends the type.
    say(script.replace('string split ","', 'string split --max 1 ","').removesuffix("\n"))


def offer_targets(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem[str]]:
    """Offer the names of the configured targets."""
    return _offered(_targets(context), begun)


def offer_parts(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem[str]]:
    """Offer what can be paused."""
    return _offered([KUMA, CLOSE, *_targets(context)], begun)


def offer_from(names: Callable[[], Iterable[str]]) -> Callable[..., list[CompletionItem[str]]]:
    """Return a function for click that offers these names."""

    def offer(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem[str]]:
        return _offered(names(), begun)

    return offer


def _targets(context: click.Context) -> list[str]:
    try:
        found = tables(named_before(context))
    except ConfigError:
        return []
    targets = [name for name in table(found, "targets") if name.isprintable() and " " not in name]
    return [IRP, *targets] if IRP in found or not targets else targets


def _offered(names: Iterable[str], begun: str) -> list[CompletionItem[str]]:
    return [CompletionItem(name) for name in names if name.startswith(begun)]
