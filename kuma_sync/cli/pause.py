"""`pause` and `resume`: a side, or the closings, is asked nothing for a maintenance window."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from kuma_sync.app.done_before import resumed
from kuma_sync.app.processes import running
from kuma_sync.cli.completion import offer_parts
from kuma_sync.cli.options import actor, as_option, config_option, examples, json_option
from kuma_sync.cli.session import command_settings, opened_store
from kuma_sync.cli.tables import plain, show_json, show_line
from kuma_sync.core.maintenance import CLOSE, KUMA, Maintenance
from kuma_sync.core.moments import moment
from kuma_sync.settings import Settings, types
from kuma_sync.sync import operator


def _length(_context: click.Context, _parameter: click.Parameter, text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        length = types.duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if length <= timedelta():
        raise click.BadParameter("must be longer than zero")
    return length


@click.command(epilog=examples("kuma-sync pause irp --for 2h", "kuma-sync pause north", "kuma-sync pause close"))
@config_option
@as_option
@json_option
@click.argument("part", shell_complete=offer_parts)
@click.option(
    "--for", "length", callback=_length, metavar="D", help="How long, such as 2h; else until `kuma-sync resume`."
)
def pause(config: Path | None, said: str | None, as_json: bool, part: str, length: timedelta | None) -> None:
    """Ask PART nothing, for a maintenance window; what comes meanwhile waits, and nothing is lost.

    PART is `kuma`, `close` (closings to KUMA alone), `irp` or a target's name. A running daemon and all copies obey
    within seconds.
    """
    settings = command_settings(config, remotes=False)
    _assure_known(settings, part, "pause")
    _pause(settings, actor(said), part, length, as_json=as_json)


@click.command(epilog=examples("kuma-sync resume irp"))
@config_option
@as_option
@json_option
@click.argument("part", shell_complete=offer_parts)
def resume(config: Path | None, said: str | None, as_json: bool, part: str) -> None:
    """End the pause of PART: what waited is done at once."""
    settings, by = command_settings(config, remotes=False), actor(said)
    with opened_store(settings) as store, store.writing() as tx:
        ended = operator.resume(tx, part, by=by)
        who = None if ended else resumed(tx, part)
    if ended is None:
        _assure_known(settings, part, "resume")
    if as_json:
        show_json({"part": part, "paused": False, "was_paused": ended is not None})
        return
    if ended is None:
        show_line(f"{plain(part)}: was not paused{f' ({plain(str(who))})' if who else ''}.")
    else:
        show_line(f"{plain(part)}: goes on. {_since(ended)}.")


def _assure_known(settings: Settings, part: str, what: str) -> None:
    known = (KUMA, CLOSE, *settings.named)
    if part not in known:
        raise click.UsageError(f"there is nothing called {part!r} to {what}: expected {', '.join(known)}")


def _pause(settings: Settings, by: str, part: str, length: timedelta | None, *, as_json: bool) -> None:
    with opened_store(settings) as store:
        with store.writing() as tx:
            before = tx.pauses.locked(part)
            begun = operator.pause(tx, part, until=None if length is None else tx.now + length, by=by)
        if as_json:
            show_json({"part": part, "paused": True, "since": begun.since, "until": begun.until, "by": begun.by})
            return
        end = f"until {moment(begun.until)}" if begun.until else f"until `kuma-sync resume {plain(part)}`"
        show_line(f"{plain(part)}: paused {end}. Nothing is lost; what comes meanwhile waits.")
        if before is not None:
            show_line(f"{_since(before)}; its end was {moment(before.until) if before.until else 'open'}.")
        with store.reading() as tx:
            works = running(store, tx).daemon
        if not works:
            show_line("No daemon is running: the next one obeys it.")


def _since(ended: Maintenance) -> str:
    return f"It was paused since {moment(ended.since)} by {plain(ended.by)}"
