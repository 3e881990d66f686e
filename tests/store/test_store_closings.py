"""Closings on their way, and those of the last day."""

from __future__ import annotations

from datetime import timedelta

from builders import a_link, an_alert, an_incident
from stores import Clock, opened

from kuma_sync.core.alert import AlertId, AlertSnapshot, Contents
from kuma_sync.core.closing import CloseRequest, Reason
from kuma_sync.core.incident import Origin
from kuma_sync.store import Shape, Shown, Tx
from kuma_sync.store.jobs import JobState
from kuma_sync.sync import operator

LEASE = timedelta(seconds=60)


def keep(tx: Tx, alert_id: str) -> None:
    snapshot = AlertSnapshot(alert=an_alert(id=AlertId(alert_id), name=f"rule {alert_id}"))
    shown = Shown(snapshot=snapshot, shape=Shape.LISTING, digest=None, contents=Contents())
    tx.alerts.save([shown], now=tx.now, sweep=0)
    tx.links.add([a_link(alert_id=AlertId(alert_id), incident=an_incident(id=alert_id))], now=tx.now)


def close(tx: Tx, alert_id: str) -> None:
    request = CloseRequest(
        alert_id=AlertId(alert_id), reason=Reason.INCORRECT_DATA, origin=Origin.OPERATOR, by="console:anna"
    )
    operator.order_close(tx, request, to_kuma=True, to_irp=True)


async def test_closings_towards_both_sides_are_listed_and_counted(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            keep(tx, "a")
            keep(tx, "b")
            operator.resync(tx, [AlertId("b")], by="anna")
            close(tx, "a")
            (claim,) = tx.closes.claim(1, owner="w", lease=LEASE)
            tx.closes.park(claim, "406 tenant disabled")

        with store.reading() as tx:
            found = tx.closings.all(limit=10)

    kuma, irp = found.waiting
    assert (kuma.id, kuma.name, kuma.towards, kuma.state) == ("a", "rule a", "kuma", JobState.PARKED)
    assert (kuma.reason, kuma.by, kuma.trouble) == ("incorrect data", "console:anna", "406 tenant disabled")
    assert (irp.id, irp.towards, irp.state, irp.reason) == ("a", "irp", JobState.PENDING, "incorrect data")
    assert found.counts == {"kuma": {JobState.PARKED: 1}, "irp": {JobState.PENDING: 1}}


async def test_closings_of_the_last_day_are_listed_the_latest_first(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        for alert_id, action in (("old", "closed_in_kuma"), ("a", "incident_closed"), ("b", "close_refused")):
            with store.writing() as tx:
                keep(tx, alert_id)
                tx.audit.note("kuma-sync", action, alert_id, "told")
                tx.audit.note("kuma-sync", "updated", alert_id)
            clock.advance(hours=23)
        clock.advance(hours=-22)

        with store.reading() as tx:
            found = tx.closings.all(limit=10)

    assert [(one.id, one.name, one.action) for one in found.done] == [("b", "rule b", "close_refused")]


async def test_a_closing_that_was_done_names_who_ordered_it(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            keep(tx, "a")
            keep(tx, "b")
            close(tx, "a")
            tx.audit.note("kuma-sync", "closed_in_kuma", "a", "incorrect data")
            tx.audit.note("irp", "incident_closed", "a", "Resolved")
            tx.audit.note("kuma", "alert_closed", "b", "responded")
            tx.audit.note("kuma-sync", "incident_closed", "b", "responded")

        with store.reading() as tx:
            found = tx.closings.all(limit=10)

    assert [(one.id, one.action, one.ordered_by) for one in reversed(found.done)] == [
        ("a", "closed_in_kuma", "console:anna"),
        ("a", "incident_closed", "irp"),
        ("b", "alert_closed", "kuma"),
        ("b", "incident_closed", "kuma"),
    ]
