"""`run`: the daemon, and one complete pass."""

from __future__ import annotations

import ctypes
import os
from contextlib import AsyncExitStack
from pathlib import Path

import click

from kuma_sync.app.lifecycle import Daemon
from kuma_sync.app.one_pass import complete_pass
from kuma_sync.app.standing import HOW_TO_ROUTE, unrouted_held
from kuma_sync.cli.bug import leave_no_core
from kuma_sync.cli.dry_run import show_dry_run
from kuma_sync.cli.options import config_option, examples, json_option
from kuma_sync.cli.out import complain, progress_width
from kuma_sync.cli.progress import ERASE, progress
from kuma_sync.cli.session import command_settings, read_settings, run_async
from kuma_sync.cli.tables import show_line
from kuma_sync.settings import Settings
from kuma_sync.sync.limits import Limits
from kuma_sync.telemetry import logs

EPILOG = examples(
    "kuma-sync run",
    "kuma-sync run --once",
    "kuma-sync run --once --dry-run",
    codes="with --once 0 only if nothing failed, waits, is held or parked.",
)

M_ARENA_MAX = -8
"""mallopt(3), of glibc."""


@click.command(epilog=EPILOG)
@config_option
@click.option(
    "--once",
    is_flag=True,
    help="Make one complete pass, then exit.",
)
@click.option("--dry-run", is_flag=True, help="With --once: only say what the pass would do; send and store nothing.")
@json_option
@click.pass_obj
def run(limits: Limits | None, config: Path | None, once: bool, dry_run: bool, as_json: bool) -> None:
    """Run the daemon: keep the IRP's incidents up to date with KUMA's alerts, and carry closings both ways.

    SIGTERM and Ctrl-C end it in order, SIGHUP reads the configuration again. On a terminal it logs for people, else as
    JSON; `[log] format` says otherwise.
    """
    if dry_run and not once:
        raise click.UsageError("--dry-run needs --once: it says what one pass would do.")
    if as_json and not dry_run:
        raise click.UsageError("--json needs --once --dry-run: only that prints a table.")
    keep_one_arena()
    leave_no_core()
    if dry_run:
        raise SystemExit(run_async(show_dry_run, command_settings(config), as_json, limits))
    settings = read_settings(config)
    if once:
        _log_beside_progress(settings)
        raise SystemExit(run_async(_once, settings, limits))
    logs.configure(level=settings.log.level, format=settings.log.format)
    run_async(_daemon, settings, config, limits)


def _log_beside_progress(settings: Settings) -> None:
    """Log as configured; where a human is told how far the pass is, what goes well is not logged as well."""
    level, shown = settings.log.level, progress_width() is not None
    quiet = shown and level == "info"
    logs.configure(level="warning" if quiet else level, format=settings.log.format, over=ERASE if shown else "")


async def _daemon(settings: Settings, config: Path | None, limits: Limits | None) -> None:
    await Daemon(settings, reload=lambda: read_settings(config), env=os.environ, limits=limits).run()


async def _once(settings: Settings, limits: Limits | None) -> int:
    with progress("beginning") as told:
        async with AsyncExitStack() as stack:
            outcome = await complete_pass(settings, stack, limits, told=told if progress_width() else None)
    show_line(outcome.summary())
    for trouble in outcome.troubles:
        complain(f"kuma-sync: {trouble}")
    if outcome.unrouted:
        complain(f"kuma-sync: {unrouted_held(outcome.unrouted)}; {HOW_TO_ROUTE}")
    return 0 if outcome.clean else 1


def keep_one_arena() -> None:
    """Let all threads allocate from one memory area.

    By default glibc gives each thread its own memory area, and memory freed in one is not used by another: that costs
    ten megabytes at the peak. With another C library this does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
