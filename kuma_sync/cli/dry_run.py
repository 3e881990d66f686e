"""The result of `run --once --dry-run`: what a pass would do, target by target, with counts and the first of each."""

from __future__ import annotations

from collections.abc import Sequence

from kuma_sync.app.dry_run import DryRun, Planned, PlannedClosing, TargetPlan, dry_pass
from kuma_sync.app.standing import HOW_TO_ROUTE, held_counts
from kuma_sync.cli.options import Unfinished
from kuma_sync.cli.out import complain, say
from kuma_sync.cli.progress import progress
from kuma_sync.cli.status import MOST_SHOWN, show_unrouted
from kuma_sync.cli.tables import ALERT, Column, plain, show_json, show_line, show_table
from kuma_sync.core.routing import IRP
from kuma_sync.settings import Settings
from kuma_sync.sync.delivery.forecast import Forecast
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.remote.gate import GateClosed

_NAME = Column("name", least=12)
_WHAT = Column("what", wraps=True)
_FACTS = (Column("priority", spared=1), Column("status", spared=1))


async def show_dry_run(settings: Settings, as_json: bool, limits: Limits | None) -> int:
    """Print what a pass would do; return the exit code: 0 where KUMA was read to the end."""
    with progress("reading KUMA"):
        try:
            found = await dry_pass(settings, limits)
        except GateClosed as stopped:
            raise Unfinished(str(stopped)) from None
    if as_json:
        show_json(found)
    else:
        _show(found)
    for trouble in found.troubles:
        complain(f"kuma-sync: {trouble}")
    return 1 if found.troubles else 0


def _show(found: DryRun) -> None:
    show_line("Nothing was sent or stored. A pass would do this:")
    for reason in found.paused:
        show_line(f"{plain(reason)}: until then a pass leaves it alone")
    for name, plan in found.targets.items():
        say()
        where = "the IRP" if name == IRP else f"target {plain(name)}"
        show_line(f"in {where}, {plain(plan.irp)}:" if plan.irp else f"in {where}:")
        _show_target(plan)
    if found.kuma:
        say()
        show_line("in KUMA:")
        _show_closings(found.kuma)
    if found.held:
        say()
        counts = ", ".join(map(str, held_counts(found.held)))
        show_line(f"{len(found.held)} would be held by the brake: {counts}")
        rows = [[one.id, f"to {one.what}", one.name] for one in found.held[:MOST_SHOWN]]
        show_table([ALERT, "what", _NAME], rows, indent="  ")
        _more(len(found.held))
    show_unrouted(found.unrouted)
    if found.unrouted:
        show_line(f"  {HOW_TO_ROUTE}")
    say()
    states = ", ".join(f"{count} {state}" for state, count in found.alerts.items() if count) or "none"
    show_line(f"alerts, before anything is sent: {states}; parked jobs: {found.parked}")


def _show_target(plan: TargetPlan) -> None:
    if plan.problem:
        show_line(f"  nothing: {plain(plan.problem)} ({plan.waiting} alerts wait)")
        return
    planned = plan.planned
    groups = (
        ("created", [one for one in planned if one.would.created]),
        ("updated", [one for one in planned if one.would.updated and not one.would.created]),
        ("closed", [one for one in planned if one.would.closed]),
        ("parked", [one for one in planned if one.would.parked]),
    )
    if not planned:
        show_line("  nothing")
    for what, some in groups:
        if some:
            show_line(f"  {len(some)} {what}")
            rows = [[one.alert_id, one.priority, one.status, one.name, _detail(what, one)] for one in some[:MOST_SHOWN]]
            columns: list[str | Column] = [
                ALERT,
                Column("priority", spared=1),
                Column("status", spared=1),
                _NAME,
                _WHAT,
            ]
            show_table(columns, rows, indent="    ")
            _more(len(some), indent="    ")


def _detail(what: str, one: Planned) -> str:
    would = one.would
    match what:
        case "created":
            first = ["looked for first"] if would.found_first else []
            return ", ".join([*first, *_events(would), *(["then closed"] if would.closed else [])])
        case "updated":
            return ", ".join([*sorted(would.fields), *_events(would)])
        case "parked":
            return would.parked
        case _:
            return ""


def _events(would: Forecast) -> list[str]:
    return [f"{would.events} events"] if would.events else []


def _show_closings(closings: Sequence[PlannedClosing]) -> None:
    show_line(f"  {len(closings)} closed")
    rows = [[one.alert_id, one.name, one.reason] for one in closings[:MOST_SHOWN]]
    show_table([ALERT, _NAME, Column("reason", least=16)], rows, indent="    ")
    _more(len(closings), indent="    ")


def _more(count: int, *, indent: str = "  ") -> None:
    if count > MOST_SHOWN:
        show_line(f"{indent}… and {count - MOST_SHOWN} more (--json has all)")
