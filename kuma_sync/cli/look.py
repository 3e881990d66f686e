"""`alerts` and `show`: the links, and one alert with its whole history."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path

import click

from kuma_sync.app.hiding import rules_now
from kuma_sync.app.live import look
from kuma_sync.app.one_alert import load_stored
from kuma_sync.app.processes import running
from kuma_sync.app.reasons import reasons
from kuma_sync.app.standing import HOW_TO_ROUTE
from kuma_sync.cli.completion import offer_targets
from kuma_sync.cli.options import Unfinished, config_option, examples, json_option
from kuma_sync.cli.out import say
from kuma_sync.cli.progress import progress
from kuma_sync.cli.session import command_settings, looked_for, looking, opened_store, run_async
from kuma_sync.cli.status import SIDES, why_of
from kuma_sync.cli.tables import (
    ALERT,
    Column,
    State,
    ago_first,
    beside,
    bytes_of,
    plain,
    show_json,
    show_line,
    show_pairs,
    show_raw,
    show_table,
)
from kuma_sync.core.alert import Alert, AlertId
from kuma_sync.core.errors import RemoteError
from kuma_sync.core.handout import HandedOut
from kuma_sync.core.routing import IRP, UNROUTED
from kuma_sync.core.text import cut
from kuma_sync.settings import Settings
from kuma_sync.store import Job, Tx
from kuma_sync.store.jobs import JobState
from kuma_sync.store.read_models.overview import AlertState, Row
from kuma_sync.store.read_models.story import AlertView, LinkView, story
from kuma_sync.store.read_models.waiting import TOWARDS, ParkedJob, QueueName
from kuma_sync.sync.delivery.looking import Live
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.remote.gate import GateClosed

LONGEST = 300
"""Characters of a field's value that are shown."""

EXAMPLES = examples("kuma-sync show 5f0c2a3e", "kuma-sync show INC-1042", "kuma-sync show 'brute force' --live")
PAGE = 50
"""Alerts that a table shows unless another number is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked(AlertView):
    """All facts about one alert: also why it is where it is, and what the IRP says of it where it was asked."""

    why: list[str]
    live: Live | None = None


@click.command(epilog=examples("kuma-sync alerts --state parked", "kuma-sync alerts --target north --limit 500"))
@config_option
@json_option
@click.option(
    "--state",
    metavar="STATE",
    type=click.Choice([state.value for state in AlertState]),
    help=f"Only alerts in this state: {', '.join(AlertState)}.",
)
@click.option("--target", metavar="NAME", shell_complete=offer_targets, help="Only alerts that go to this target.")
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    help=f"At most so many, the latest first; {PAGE} unless --json is given.",
)
def alerts(config: Path | None, as_json: bool, state: str | None, target: str | None, limit: int | None) -> None:
    """List alerts and their incidents, the latest first."""
    asked = Asked(state=AlertState(state) if state else None, target=target)
    with looking(config) as (settings, refused):
        page = _page(settings, asked, limit or (None if as_json else PAGE), any_owner=bool(refused))
        if as_json:
            show_json(page.rows)
        else:
            _show_page(page, asked, targets=settings.several or bool(refused), limited=limit is not None)


@click.command(epilog=EXAMPLES)
@config_option
@json_option
@click.option("--raw", is_flag=True, help="Print only what KUMA sent, of a parked piece that is no alert.")
@click.option("--live", is_flag=True, help="Also ask the IRP what the incident holds now.")
@click.argument("alert")
def show(config: Path | None, as_json: bool, raw: bool, live: bool, alert: str) -> None:
    """Show one alert with its whole history.

    ALERT is its id, or at least 6 characters of its beginning, its incident's id or number, or a part of its name.
    """
    if raw and (as_json or live):
        raise click.UsageError(f"Say --raw or {'--json' if as_json else '--live'}, not both.")
    if raw:
        show_raw(_raw(command_settings(config, remotes=False), alert))
        return
    if live:
        settings = command_settings(config)
        view = _view(settings, alert, any_owner=False)
        with progress("asking the IRP"):
            view = replace(view, live=run_async(_looked, settings, AlertId(view.id)))
        _show(view, as_json=as_json)
        return
    with looking(config) as (settings, refused):
        _show(_view(settings, alert, any_owner=bool(refused)), as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which alerts are listed; None: all."""

    state: AlertState | None = None
    target: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The alerts that are listed, and how many more there are."""

    now: datetime
    rows: list[Row]
    more: int


def _page(settings: Settings, asked: Asked, limit: int | None, *, any_owner: bool) -> Page:
    with opened_store(settings, any_owner=any_owner, untouched=True) as store, store.reading() as tx:
        rows = tx.overview.rows(state=asked.state, target=asked.target, limit=limit)
        counts = tx.overview.counts(asked.target)
        total = sum(counts.values()) if asked.state is None else counts[asked.state]
        if asked.state in (None, AlertState.PARKED) and asked.target is None:
            others = _without_alert(tx)
            rows, total = (rows + others)[:limit], total + len(others)
        return Page(now=tx.now, rows=rows, more=total - len(rows))


def _without_alert(tx: Tx) -> list[Row]:
    """Return parked jobs without an alert here: pieces of KUMA's answer, and closings of unknown ids."""
    parked = {job.id: job for job in tx.waiting.parked()}
    known = tx.alerts.snapshots([AlertId(name) for name in parked])
    return [_parked_row(job) for name, job in parked.items() if AlertId(name) not in known]


def _parked_row(job: ParkedJob) -> Row:
    return Row(
        alert_id=AlertId(job.id),
        target="",
        state=AlertState.PARKED,
        name="",
        priority="",
        status="",
        last_seen=None,
        incident_id=None,
        incident_number="",
        towards=job.towards,
        reason=why_of(job),
    )


def _show_page(page: Page, asked: Asked, *, targets: bool, limited: bool) -> None:
    if not page.rows:
        of = f" of target {asked.target}" if asked.target else ""
        say(f"No alerts{of}{f' are {asked.state}' if asked.state else ''}.")
        return
    _show_rows(page, targets=targets)
    if page.more and not limited:
        among = "".join(
            f" --{name} {value}" for name, value in (("state", asked.state), ("target", asked.target)) if value
        )
        say(f"… and {page.more} more: `kuma-sync alerts{among} --limit {len(page.rows) + page.more}`")


def _show_rows(page: Page, *, targets: bool) -> None:
    seen = ago_first(page.now)
    columns = [
        ALERT,
        Column("state"),
        *([Column("target")] if targets else []),
        Column("priority", spared=2),
        Column("status", spared=3),
        Column("last seen", brief=",", spared=1),
        Column("incident", least=8),
        Column("name", least=8),
    ]
    rows = [[*_cells(row, seen(row.last_seen), targets=targets), *_why(row)] for row in page.rows]
    if any(row.reason for row in page.rows):
        columns += [Column("towards", spared=4), Column("reason", wraps=True)]
    show_table(columns, [row[: len(columns)] for row in rows])


def _cells(row: Row, seen: str, *, targets: bool) -> list[object]:
    incident = row.incident_number or row.incident_id
    state = [State(row.state), *([row.target or "–"] if targets else [])]
    return [row.alert_id, *state, row.priority, row.status, seen if row.last_seen else None, incident, row.name]


def _why(row: Row) -> list[object]:
    return [" and ".join(SIDES[side] for side in row.towards.split(", ")) if row.towards else " ", row.reason or " "]


def _view(settings: Settings, text: str, *, any_owner: bool) -> Looked:
    with opened_store(settings, any_owner=any_owner, untouched=True) as store, store.reading() as tx:
        view = story(tx, looked_for(tx, text))
        known = {field.name: getattr(view, field.name) for field in fields(view)}
        why = [one.said.english(tx.now) for one in reasons(tx, running(store, tx), view.id)]
        return Looked(**known, why=why)


async def _looked(settings: Settings, alert_id: AlertId) -> Live:
    """Ask the IRP; raise Unfinished where it is out of reach, or an operator paused it."""
    with opened_store(settings, untouched=True) as store:
        with store.reading() as tx:
            work = load_stored(tx, alert_id, rules_now(tx, settings.privacy))
        if work is None:
            raise Unfinished(f"{alert_id} is no alert: it has no incident that the IRP could be asked for")
        try:
            return await look(settings, store, work, Limits())
        except GateClosed as closed:
            told = f"the IRP was not asked what the incident holds now: {closed.summary}"
        except RemoteError as error:
            told = f"the IRP could not be asked what the incident holds now: {error.operation} {error.summary}"
    raise Unfinished(told)


def _raw(settings: Settings, text: str) -> bytes:
    with opened_store(settings, untouched=True) as store, store.reading() as tx:
        name = looked_for(tx, text)
        raw = tx.rejects.body(name)
        privacy = rules_now(tx, settings.privacy)
    if raw is None:
        raise Unfinished(f"{name} is no parked piece of KUMA's answer: only those are kept as they came")
    return privacy.hidden_piece(raw)


def _show(view: Looked, *, as_json: bool) -> None:
    if as_json:
        show_json(view)
    else:
        _show_text(view)


def _show_text(view: Looked) -> None:
    when = beside(view.now)
    show_line(f"{plain(view.id)}  ", State(view.state))
    show_pairs([("parked because", view.parked_because)])
    if view.parked_size is not None:
        show_pairs([("as it came", f"{bytes_of(view.parked_size)}, printed by `kuma-sync show --raw`")])
    show_pairs([(f"held towards {SIDES[one.towards]}", one.reason) for one in view.held])
    if view.unrouted:
        show_pairs([("held", f"{UNROUTED}; {HOW_TO_ROUTE}")])
    for sentence in view.why:
        show_line(f"  {sentence}")
    if view.alert is not None:
        _show_alert(view, view.alert)
    if view.link is not None:
        _show_link(view.link, view.now)
    if view.live is not None:
        _show_live(view.live)
    _show_jobs(view)
    if view.history:
        say("\nhistory")
        show_table(
            [Column("when", brief=" ("), Column("who", least=8), Column("what", least=8), Column("detail", wraps=True)],
            [[when(entry.at), entry.actor, entry.action, entry.detail or " "] for entry in view.history],
            indent="  ",
        )


def _show_jobs(view: AlertView) -> None:
    when = beside(view.now)
    queues: dict[QueueName, list[Job]] = {"delivery": view.deliveries, "close": view.closes}
    for queue, jobs in queues.items():
        for job in jobs:
            due = f", due {when(job.due)}" if job.state is JobState.PENDING else ""
            tried = f", {job.attempts} failed attempts" if job.attempts else ""
            why = f": {plain(job.reason)}" if job.reason else ""
            say()
            show_line(f"on the {queue} queue, towards {SIDES[TOWARDS[queue]]}: ", State(job.state), due + tried + why)


def _show_live(live: Live) -> None:
    say(f"\nin the IRP now, by {live.by}")
    if not live.incidents and live.values is None:
        say("  the IRP does not know this incident")
    show_pairs([(name, _short(value)) for name, value in (live.values or {}).items()])
    if live.fields:
        rows = [[field.name, field.whose, _short(field.value)] for field in live.fields]
        show_table(["field", "whose word", Column("holds", wraps=True)], rows, indent="  ")
    for found in live.incidents:
        incident, state = found.incident, "closed" if found.closed else "open"
        show_pairs(
            [
                ("id", incident.id),
                ("number", incident.number),
                ("address", incident.url),
                ("state", state),
                ("resolution", found.resolution),
            ]
        )


def _short(value: object) -> str:
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
    return cut(text, LONGEST)


def _show_alert(view: AlertView, alert: Alert) -> None:
    tenant = f"{alert.tenant_name} ({alert.tenant_id})" if alert.tenant_id else alert.tenant_name
    when = beside(view.now)
    say("\nalert")
    show_pairs(
        [
            *(("name", alert.name), ("priority", alert.priority), ("status", alert.status), ("tenant", tenant)),
            ("rule", alert.rule_id),
            ("first seen", when(alert.first_seen) if alert.first_seen else None),
            ("last seen", when(alert.last_seen) if alert.last_seen else None),
            *(("assignee", alert.assignee), ("closing reason", alert.closing_reason)),
            ("events", f"{view.events_seen}" + (" (above the size limit: not read)" if view.oversize else "")),
        ]
    )


def _show_link(link: LinkView, now: datetime) -> None:
    incident = link.incident
    closed = " and ".join(name for name, on in (("alert", link.alert_closed), ("incident", link.incident_closed)) if on)
    marks = ("held_create", "held_close", "missed", "ignored", "dropped", "gone")
    say("\nincident")
    show_pairs(
        [
            ("target", link.target if link.target != IRP else ""),
            ("id", incident.id if incident else "none yet"),
            ("number", incident.number if incident else ""),
            ("address", incident.url if incident else ""),
            ("handed out", _handed_out(link.handed_out, now) if link.handed_out else ""),
            ("events handed out" if link.handed_out else "events sent", str(link.events_sent)),
            ("left to analysts", ", ".join(link.left_to_analysts)),
            ("comments to tell", str(link.comments_owed) if link.comments_owed else ""),
            ("in doubt", link.doubt),
            ("closed", closed),
            ("closed from", link.close_origin),
            ("close reason", link.close_reason),
            ("close comment", link.close_comment),
            ("marks", ", ".join(mark.replace("_", " ") for mark in marks if getattr(link, mark))),
        ]
    )


def _handed_out(out: HandedOut, now: datetime) -> str:
    """Say what an IRP that polls us was given of an alert."""
    when = beside(now)
    if out.first_at is None:
        return f"nothing yet; it was put out {when(out.put_out_at)}"
    since = f"; not yet what changed {when(out.put_out_at)}" if out.lacks else ""
    return f"first {when(out.first_at)}{since}"
