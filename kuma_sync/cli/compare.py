"""`compare`: both sides held against each other, for the terminal or as JSON."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from kuma_sync.app.compare import Asked, Comparison
from kuma_sync.app.compare import compare as compared
from kuma_sync.cli.completion import offer_targets
from kuma_sync.cli.options import config_option, examples, json_option
from kuma_sync.cli.out import say
from kuma_sync.cli.progress import progress
from kuma_sync.cli.session import command_settings, opened_store, run_async
from kuma_sync.cli.status import MOST_SHOWN
from kuma_sync.cli.tables import ALERT, Column, Piece, State, plain, show_json, show_line, show_pairs, show_table
from kuma_sync.core.agreement import Judged
from kuma_sync.settings import Settings
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.remote import gate


@click.command(
    epilog=examples(
        "kuma-sync compare",
        "kuma-sync compare --target north --closed",
        codes="0 both sides agree, 1 they do not, or not all could be compared, 2 wrong usage or configuration.",
    )
)
@config_option
@json_option
@click.option("--target", metavar="NAME", shell_complete=offer_targets, help="Only alerts that go to this target.")
@click.option("--closed", is_flag=True, help="Also what is closed on both sides: everything in the store is asked for.")
@click.pass_obj
def compare(limits: Limits | None, config: Path | None, as_json: bool, target: str | None, closed: bool) -> None:
    """Compare both sides: say what is lost, doubled, differs, or is closed on one side only; change nothing."""
    settings = command_settings(config)
    if target is not None and target not in settings.named:
        raise click.UsageError(f"there is no target {target!r}: expected {', '.join(settings.named)}")
    with _gate_silent():
        found = run_async(_compared, settings, Asked(target=target, closed=closed), limits)
    if as_json:
        show_json({"agrees": found.agrees, **asdict(found)})
    else:
        _show(found)
    raise SystemExit(0 if found.agrees else 1)


@contextmanager
def _gate_silent() -> Iterator[None]:
    """Keep the gate's words out of stderr: the result says which side could not be asked, and why."""
    logger = logging.getLogger(gate.__name__)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


async def _compared(settings: Settings, asked: Asked, limits: Limits | None) -> Comparison:
    with opened_store(settings, untouched=True) as store, progress("reading KUMA") as told:
        return await compared(settings, store, asked, told=told, limits=limits)


def _show(found: Comparison) -> None:
    problems = (
        ("lost", found.lost),
        ("doubled", found.doubled),
        ("differing", found.differing),
        ("closed on one side only", found.half_closed),
        ("not asked for, the IRP refused", found.unasked),
    )
    rows: list[tuple[str, object]] = [
        ("alerts that KUMA lists", str(found.listed)),
        ("others, asked for by id", str(found.asked_by_id)),
        ("incidents found", str(found.incidents)),
        ("agree", str(found.agreeing)),
        *((what, str(len(some))) for what, some in problems[:4]),
    ]
    show_pairs(rows, indent="")
    if found.explained:
        show_line("need not agree:")
        show_pairs([(why, str(count)) for why, count in sorted(found.explained.items())])
    for what, some in problems:
        _show_some(what, some)
    for note in found.notes:
        show_line(f"note: {plain(note)}")
    for target, why in sorted(found.away.items()):
        show_line(f"{plain(target)} could not be compared: {plain(why)}")
    show_line(*_verdict(found))


def _verdict(found: Comparison) -> Sequence[Piece]:
    if found.disagrees:
        return "the sides ", State("DISAGREE")
    if found.complete:
        return "both sides ", State("agree")
    if not found.agreeing:
        return ["NOTHING could be compared"]
    return ["NOT ALL could be compared; what was compared agrees"]


def _show_some(what: str, some: Sequence[Judged]) -> None:
    if not some:
        return
    say(f"\n{len(some)} {what}:")
    columns: list[str | Column] = [ALERT, Column("incident", least=8), "target", Column("why", wraps=True)]
    rows = [[one.alert_id, ", ".join(one.incidents) or None, one.target, one.why] for one in some[:MOST_SHOWN]]
    show_table(columns, rows, indent="  ")
    if len(some) > MOST_SHOWN:
        show_line(f"  … and {len(some) - MOST_SHOWN} more (--json has all)")
