"""`close`: an operator's closing, on the durable queue for KUMA and for the IRP; with --wait, until it is done."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import click

from kuma_sync.app.close_order import CloseOrder, Way, not_asked, ordered_before, way_of
from kuma_sync.cli.options import Unfinished, actor, as_option, config_option, examples
from kuma_sync.cli.session import before_us, command_settings, named, opened_store, say_if_it_waits
from kuma_sync.cli.tables import plain, show_line
from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, Reason, parse_reason
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import Link
from kuma_sync.settings import Settings
from kuma_sync.store import Store, Tx
from kuma_sync.store.jobs import JobState
from kuma_sync.store.locks import lock
from kuma_sync.sync import operator

LONGEST_WAIT = 60.0
LOOK_AGAIN = 0.25


def _reason(_context: click.Context, _parameter: click.Parameter, text: str) -> Reason:
    reason = parse_reason(text)
    if reason is None:
        raise click.BadParameter(f"expected one of {', '.join(repr(one.value) for one in Reason)}")
    return reason


@click.command(
    epilog=examples(
        "kuma-sync close 5f0c2a3e --reason responded",
        "kuma-sync close 5f0c2a3e --reason 'incorrect data' --comment 'a test' --wait",
    )
)
@config_option
@as_option
@click.argument("alert")
@click.option("--reason", required=True, callback=_reason, metavar="R", help=f"One of: {', '.join(Reason)}.")
@click.option("--comment", default="", help="A text for the IRP and the history.")
@click.option("--wait", is_flag=True, help="Wait until both sides are closed, 60 s at most.")
def close(config: Path | None, said: str | None, alert: str, reason: Reason, comment: str, wait: bool) -> None:
    """Close an alert in KUMA and its incident in the IRP; the daemon carries it out."""
    # The store knows the exact id.
    asked = CloseRequest(alert_id=AlertId(""), reason=reason, origin=Origin.OPERATOR, by=actor(said), comment=comment)
    _close(command_settings(config, remotes=False), alert, asked, wait)


def _close(settings: Settings, text: str, asked: CloseRequest, wait: bool) -> None:
    to_kuma = settings.close.to_kuma
    if not (to_kuma or settings.close.to_irp):
        raise Unfinished("closing is switched off in both directions (close.to_kuma, close.to_irp)")
    with opened_store(settings) as store:
        with store.reading() as tx:
            way = way_of(settings, _known(tx, text).target)
        with store.writing() as tx:
            alert_id = _known(tx, text).alert_id
            link = lock(tx, links=[alert_id]).links[alert_id]
            order = CloseOrder(alert_id=link.alert_id, to_kuma=to_kuma, to_irp=way.may)
            before = before_us(tx, [link.alert_id]) if ordered_before(tx, order, link) else None
            request = replace(asked, alert_id=link.alert_id)
            fresh = before is not None or operator.order_close(tx, request, to_kuma=to_kuma, to_irp=way.may)
            held = bool(tx.closes.jobs(link.alert_id, states=[JobState.HELD]))
        if before is not None:
            show_line(plain(f"{link.alert_id}: its closing was ordered already, and is on its way{before}."))
        else:
            show_line(plain(_told(order, link, asked.reason, way) if fresh else _not_told(link, way)))
        if held and not link.alert_closed:
            show_line("The brake holds its closing in KUMA: `kuma-sync release` lets it go.")
        blocked = f"the closing in the IRP waits: {way.why}" if way.may and way.why and fresh else ""
        if blocked and not wait:
            show_line(plain(f"{blocked[0].upper()}{blocked[1:]}."))
        waits = say_if_it_waits(store, [link.alert_id] if fresh else [])
        if wait and fresh:
            _wait(store, replace(order, to_irp=False) if blocked else order, daemon=not waits)
            if blocked:
                raise Unfinished(blocked)
            show_line("Closed.")


def _known(tx: Tx, text: str) -> Link:
    alert_id = AlertId(named(tx, text))
    link = tx.links.get(alert_id)
    if link is None:
        raise Unfinished(f"{alert_id} is no alert; `kuma-sync show {alert_id}` tells what it is")
    return link


def _not_told(link: Link, way: Way) -> str:
    if not (link.alert_closed or link.incident_closed or link.given_up):
        raise Unfinished(f"nothing was ordered: in KUMA it stays open: close.to_kuma is off; in the IRP {way.why}")
    closed = "closed in KUMA already" if link.alert_closed else "closed in the IRP already"
    why = closed if link.alert_closed or link.incident_closed else "dropped or ignored"
    held = "; the brake holds the closing of its incident (`kuma-sync release`)" if link.held_close else ""
    return f"{link.alert_id} is {why}; nothing was ordered{held}."


def _told(order: CloseOrder, link: Link, reason: Reason | None, way: Way) -> str:
    sides = order.left_open(link)
    where = " and ".join(f"in {side}" for side in sides)
    left_out = [f"in {side} {why}" for side, why in not_asked(link, way) if side not in sides]
    told = "".join(f"; {one}" for one in left_out)
    return f"{order.alert_id} will be closed {where}{told}, reason {link.close_reason or str(reason)!r}."


def _wait(store: Store, order: CloseOrder, *, daemon: bool) -> None:
    until = time.monotonic() + LONGEST_WAIT
    while left := _still_open(store, order):
        if time.monotonic() > until:
            raise Unfinished(
                f"not closed in {' and '.join(left)} within {LONGEST_WAIT:.0f} s; the order stays on the queue"
                + ("; `kuma-sync status` tells more" if daemon else ", for no daemon was running")
            )
        time.sleep(LOOK_AGAIN)


def _still_open(store: Store, order: CloseOrder) -> list[str]:
    with store.reading() as tx:
        link = tx.links.get(order.alert_id)
        for name, queue in (("KUMA", tx.closes), ("the IRP", tx.delivery)):
            for job in queue.jobs(order.alert_id, states=[JobState.PARKED]):
                raise Unfinished(f"the closing for {name} is parked: {job.reason}")
    return order.left_open(link)
