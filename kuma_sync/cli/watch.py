"""The same screen again and again, written over itself, until Ctrl-C: `status --watch`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    away_since = ""
    with _until_ctrl_c() as stop:
        while not stop.is_set():
            clock = datetime.now().astimezone().strftime("%H:%M:%S")
            with collected() as head:
                show_line(f"{clock}, every {every:g} s; Ctrl-C ends it")
            first = not screen
            try:
                with collected() as shown:
                    show()
                screen, away_since = shown, ""
            except KumaSyncError as error:
                if first:
                    raise
                away_since = away_since or clock
                head += _away(away_since, error)
            refresh([*head, "", *screen], first=first)
            stop.wait(every)
    say()  # the terminal has written ^C behind the last line


def _away(since: str, error: KumaSyncError) -> list[str]:
    with collected() as lines:
        show_line(State("not readable"), f" since {since}, tried again each time: {error}")
        show_line(f"this is what stood here before {since}:")
    return lines


@contextmanager
def _until_ctrl_c() -> Iterator[threading.Event]:
    """Yield what Ctrl-C sets; a second one interrupts at once.

    An interrupt in the middle of a look at the store might be taken for a failure of the store, and be lost.
    """
    stop = threading.Event()

    def told(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, told)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
