"""The same screen again and again, written over itself, until Ctrl-C: `status --watch`."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import click

from kuma_sync.cli.out import can_refresh, collected, refresh, say
from kuma_sync.cli.tables import State, show_line
from kuma_sync.core.errors import KumaSyncError


def watch(show: Callable[[], None], *, every: float) -> None:
    """Show it every so many seconds. Where it cannot be shown any more, say so above what was shown last, and go on.

    Raise UsageError where there is no terminal, and whatever keeps it from being shown the first time.
    """
    if not can_refresh():
        raise click.UsageError("--watch writes over what it wrote before: it needs a terminal that can do that")
    screen: list[str] = []
    first, away_since = True, ""
    try:
        while True:
            clock = datetime.now().astimezone().strftime("%H:%M:%S")
            with collected() as head:
                show_line(f"{clock}, every {every:g} s; Ctrl-C ends it")
                try:
                    with collected() as shown:
                        show()
                    screen, away_since = shown, ""
                except KumaSyncError as error:
                    if first:
                        raise
                    away_since = away_since or clock
                    show_line(State("not readable"), f" since {away_since}, tried again each time: {error}")
                    show_line(f"this is what stood here before {away_since}:")
            refresh([*head, "", *screen], first=first)
            first = False
            time.sleep(every)
    except KeyboardInterrupt:
        say()  # the terminal has written ^C behind the last line
