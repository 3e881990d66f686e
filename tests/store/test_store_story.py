"""One alert with its history, and why it is where it is, as the store tells it."""

from __future__ import annotations

from datetime import timedelta

from builders import a_link, an_alert, an_incident
from stores import opened

from kuma_sync.app.processes import Running
from kuma_sync.app.reasons import reasons
from kuma_sync.core.alert import AlertId, AlertSnapshot
from kuma_sync.core.comparison import Rejected
from kuma_sync.core.why import Press
from kuma_sync.store import Lane, Put, Shape, Shown, Tx
from kuma_sync.store.read_models.story import UNKNOWN, story

A = AlertId("a")
LEASE = timedelta(seconds=60)


def keep(tx: Tx, **link: object) -> None:
    snapshot = AlertSnapshot(alert=an_alert(id=A))
    tx.alerts.save([Shown(snapshot=snapshot, shape=Shape.LISTING, digest=None)], now=tx.now, sweep=0)
    tx.links.add([a_link(alert_id=A, **link)], now=tx.now)


def said(tx: Tx, name: str) -> list[str]:
    return [str(one.said) for one in reasons(tx, Running(), name)]


async def test_a_parked_alert_is_told_with_its_job_its_reason_and_its_history(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            keep(tx, incident=an_incident(), target="north")
            tx.delivery.put([Put(subject=A, lane=Lane.UPDATE, target="north")])
            (claim,) = tx.delivery.claim(1, owner="w", lease=LEASE, target="north")
            tx.delivery.park(claim, "refused (answered 422)")
            tx.audit.note("kuma-sync", "parked", A, "refused (answered 422)")

        with store.reading() as tx:
            found, why = story(tx, A), reasons(tx, Running(), A)

    assert (found.state, found.parked_because) == ("parked", "refused (answered 422)")
    assert found.link is not None
    assert (found.link.target, found.link.incident) == ("north", an_incident())
    assert [job.reason for job in found.deliveries] == ["refused (answered 422)"]
    assert [entry.action for entry in found.history] == ["parked"]
    assert [one.press for one in why] == [(Press.RETRY, Press.DROP)]
    assert "refused (answered 422)" in str(why[0].said)


async def test_a_parked_piece_and_an_unknown_id_have_their_words(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            tx.rejects.park([Rejected(digest="d", raw=b"[1]", reason="not an object")])

        with store.reading() as tx:
            piece, nobody = story(tx, "d"), story(tx, "nobody")
            words = (said(tx, "d"), said(tx, "nobody"))

    assert (piece.state, piece.parked_because, piece.parked_size, piece.alert) == ("parked", "not an object", 3, None)
    assert (nobody.state, nobody.link, nobody.history) == (UNKNOWN, None, [])
    assert "not an object" in words[0][0]
    assert words[1] == ["Nothing is known of it here."]


async def test_a_running_job_with_a_parked_successor_is_told_as_parked(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            keep(tx)
            tx.delivery.put([Put(subject=A, lane=Lane.CREATE)])
            (claim,) = tx.delivery.claim(1, owner="w", lease=LEASE)
            tx.delivery.park(claim, "422")
            tx.closes.put([Put(subject=A, lane=Lane.CLOSE, held=True)])
            tx.pauses.begin("irp", until=None, by="anna")

        with store.reading() as tx:
            words = said(tx, A)

    assert "set aside: 422" in words[0]
    assert words[1].startswith("The brake holds its closing in KUMA")


async def test_what_waits_for_a_paused_target_names_the_operator(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.writing() as tx:
            keep(tx)
            tx.delivery.put([Put(subject=A, lane=Lane.CREATE)])
            tx.pauses.begin("irp", until=None, by="anna")

        with store.reading() as tx:
            words = said(tx, A)

    assert words[0].startswith("irp is paused (by anna; begun ")
    assert words[1] == "No daemon runs: nothing is sent before it does."
