"""What waits for a human: listed, of one subject, and grouped by its reason."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from builders import a_link, an_alert
from stores import Clock, opened

from kuma_sync.core.alert import AlertId, AlertSnapshot, Contents
from kuma_sync.core.comparison import Rejected
from kuma_sync.core.plan import CLOSING_HELD, CREATE_HELD
from kuma_sync.core.routing import UNROUTED
from kuma_sync.store import Lane, Put, Shape, Shown, Tx
from kuma_sync.store.read_models.groups import Group, Kind
from kuma_sync.store.read_models.waiting import Held, Named, ParkedJob

LEASE = timedelta(seconds=60)


def keep(tx: Tx, alert_id: str, *, name: str = "brute force", **marks: object) -> None:
    snapshot = AlertSnapshot(alert=an_alert(id=AlertId(alert_id), name=name))
    tx.alerts.save(
        [Shown(snapshot=snapshot, shape=Shape.LISTING, digest=None, contents=Contents())], now=tx.now, sweep=0
    )
    tx.links.add([a_link(alert_id=AlertId(alert_id), **marks)], now=tx.now)


def park(tx: Tx, alert_id: str, reason: str, *, target: str = "irp", queue: str = "delivery") -> None:
    its = tx.delivery if queue == "delivery" else tx.closes
    its.put([Put(subject=alert_id, lane=Lane.CREATE, target=target)])
    (claim,) = its.claim(1, owner="w", lease=LEASE, target=target)
    its.park(claim, reason)


def counted(groups: Sequence[Group]) -> dict[tuple[str, str, str], int]:
    return {(group.kind, group.target, group.reason): group.count for group in groups}


async def test_each_thing_that_waits_is_told_with_its_name_target_and_since_when(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        with store.writing() as tx:
            keep(tx, "a", target="north")
            park(tx, "a", "422", target="north")
            park(tx, "nobody", "unknown", queue="close")
            keep(tx, "b", held_create=True)
            tx.closes.put([Put(subject="b", lane=Lane.CLOSE, held=True)])
            keep(tx, "c", target="", name="c")
            tx.rejects.park([Rejected(digest="piece", raw=b"[]", reason="not an object")])

        with store.reading() as tx:
            parked, held, unrouted = tx.waiting.parked(), tx.waiting.held(), tx.waiting.unrouted()
            of_b = (tx.waiting.parked("b"), tx.waiting.held("b"), tx.waiting.unrouted("b"))

    now = clock.now
    job = ParkedJob(id="a", queue="delivery", reason="422", name="brute force", target="north", since=now, attempts=1)
    closing = ParkedJob(id="nobody", queue="close", reason="unknown", since=now, attempts=1)
    piece = ParkedJob(id="piece", queue="delivery", reason="not an object", size=2, since=now)
    assert parked == [job, closing, piece]
    assert [one.towards for one in parked] == ["irp", "kuma", "irp"]
    create = Held(id="b", what="create", towards="irp", reason=CREATE_HELD, name="brute force", target="irp")
    close = Held(id="b", what="close", towards="kuma", reason=CLOSING_HELD, name="brute force")
    assert held == [create, close]
    assert [one.since for one in held] == [now, now]
    assert unrouted == [Named(id="c", name="c", last_seen=an_alert().last_seen)]
    assert of_b == ([], [create, close], [])


async def test_an_empty_store_has_no_groups(database_url: str) -> None:
    async with opened(database_url) as store:
        with store.reading() as tx:
            assert tx.groups.all(examples=3) == []
            assert tx.groups.named("nothing") is None


async def test_what_waits_for_the_same_reason_is_one_group_the_largest_first(database_url: str) -> None:
    clock = Clock()
    async with opened(database_url, clock=clock) as store:
        with store.writing() as tx:
            for number in range(3):
                park(tx, f"x{number}", f"incident {number} of 5c0de1a4-0000-4000-8000-00000000000{number} is locked")
            park(tx, "y", "incident 7 is locked", target="north")
            park(tx, "z", "tenant disabled", queue="close")
            for number in range(4):
                keep(tx, f"h{number}", held_create=True)
            keep(tx, "hc", alert_closed=True, held_close=True)
            keep(tx, "u1", target="")
            keep(tx, "u2", target="")
            tx.closes.put([Put(subject="k", lane=Lane.CLOSE, held=True)])
            tx.rejects.park([Rejected(digest=f"p{at}", raw=b"1", reason="not an object") for at in range(2)])

        with store.reading() as tx:
            groups = tx.groups.all(examples=2)
            assert tx.groups.named(groups[0].key) == tx.groups.all()[0]

    locked = "incident 0 of 5c0de1a4-0000-4000-8000-000000000000 is locked"
    assert {key: count for key, count in counted(groups).items() if key[2] != locked and key[0] != Kind.DELIVERY} == {
        (Kind.CLOSING, "", "tenant disabled"): 1,
        (Kind.PIECE, "", "not an object"): 2,
        (Kind.HELD_CREATE, "irp", CREATE_HELD): 4,
        (Kind.HELD_CLOSE, "irp", CLOSING_HELD): 1,
        (Kind.HELD_CLOSING, "", CLOSING_HELD): 1,
        (Kind.UNROUTED, "", UNROUTED): 2,
    }
    assert [group.count for group in groups] == [4, 3, 2, 2, 1, 1, 1, 1]
    (many,) = [group for group in groups if group.count == 3]
    assert (many.kind, many.target, len(many.reasons)) == (Kind.DELIVERY, "irp", 3)
    assert [len(group.examples) for group in groups] == [2, 2, 2, 2, 1, 1, 1, 1]
    assert all(group.oldest == clock.now for group in groups)
    assert len({group.key for group in groups}) == len(groups)


@pytest.mark.parametrize("kind", list(Kind))
async def test_the_members_of_a_group_come_page_by_page_each_once(database_url: str, kind: Kind) -> None:
    names = [f"m{number}" for number in range(5)]
    async with opened(database_url) as store:
        with store.writing() as tx:
            for name in names:
                _wait(tx, name, kind)
            keep(tx, "other", held_create=True, target="north")
            park(tx, "another", "quite another reason")

        with store.reading() as tx:
            (group,) = [one for one in tx.groups.all() if one.kind is kind and one.count == len(names)]
            pages, after = [], None
            while not pages or after is not None:
                page = tx.groups.members(group, after=after, limit=2)
                pages.append([member.id for member in page.items])
                after = page.after

    assert pages == [["m0", "m1"], ["m2", "m3"], ["m4"]]


def _wait(tx: Tx, name: str, kind: Kind) -> None:
    match kind:
        case Kind.DELIVERY:
            park(tx, name, f"no. {name}")
        case Kind.CLOSING:
            park(tx, name, "closed already", queue="close")
        case Kind.HELD_CLOSING:
            tx.closes.put([Put(subject=name, lane=Lane.CLOSE, held=True)])
        case Kind.PIECE:
            tx.rejects.park([Rejected(digest=name, raw=b"1", reason="not an object")])
        case Kind.HELD_CREATE:
            keep(tx, name, held_create=True)
        case Kind.HELD_CLOSE:
            keep(tx, name, alert_closed=True, held_close=True)
        case Kind.UNROUTED:
            keep(tx, name, target="")
