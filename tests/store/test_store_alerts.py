"""What the store remembers of KUMA's alerts, and how cheaply it says that nothing changed."""

from __future__ import annotations

import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from builders import ALERT_ID, NOW, a_link, an_account, an_alert, an_asset, an_event, an_incident, events
from stores import opened

from kuma_sync.core.alert import AlertId, AlertSnapshot, Contents, event_digest, take_contents
from kuma_sync.store import Shape, Shown, Store
from kuma_sync.store.types import unpack

B, C = AlertId("b"), AlertId("c")


def a_picture(*event_ids: str, oversize: bool = False, affected: bool = True, **fields: Any) -> AlertSnapshot:
    return AlertSnapshot(
        alert=an_alert(**fields),
        event_ids=frozenset(event_digest({"ID": each}) for each in event_ids),
        affected=Contents().affected if affected else None,
        oversize=oversize,
    )


def shown(
    snapshot: AlertSnapshot, shape: Shape = Shape.CONTENTS, digest: bytes | None = b"bytes", **fields: Any
) -> Shown:
    return Shown(snapshot=snapshot, shape=shape, digest=digest, **fields)


async def save(store: Store, *items: Shown, sweep: int = 0) -> None:
    with store.writing() as tx:
        tx.alerts.save(items, now=tx.now, sweep=sweep)


async def link(store: Store, *ids: AlertId, **fields: Any) -> None:
    with store.writing() as tx:
        tx.links.add([a_link(alert_id=each, **fields) for each in ids], now=tx.now)


# Round trips


async def test_a_picture_comes_back_as_it_was_stored(database_url: str) -> None:
    snapshots = [
        a_picture(
            "e1",
            "e2",
            name="Подбор пароля — «админ» 🔑",
            tenant_name="Главный",
            status="assigned",
            priority="critical",
            assignee="Иванов",
            closing_reason="responded",
            overflow=True,
            first_seen=datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
            last_seen=NOW + timedelta(microseconds=1),
        ),
        a_picture(id=B, first_seen=None, last_seen=None, name="", affected=False, oversize=True),
    ]
    async with opened(database_url) as store:
        await save(store, *map(shown, snapshots))

        with store.reading() as tx:
            found = tx.alerts.snapshots([ALERT_ID, B, C])

    assert found == {snapshot.alert.id: snapshot for snapshot in snapshots}
    assert [found[snapshot.alert.id].fingerprint for snapshot in snapshots] == [each.fingerprint for each in snapshots]


async def test_a_time_from_another_zone_comes_back_as_the_same_moment_in_utc(database_url: str) -> None:
    moscow = datetime(2026, 1, 15, 15, 0, 0, 5, tzinfo=timezone(timedelta(hours=3)))
    async with opened(database_url) as store:
        await save(store, shown(a_picture(last_seen=moscow)))

        with store.reading() as tx:
            last_seen = tx.alerts.snapshots([ALERT_ID])[ALERT_ID].alert.last_seen

    assert last_seen == moscow
    assert last_seen is not None
    assert last_seen.utcoffset() == timedelta(0)


async def test_more_alerts_than_one_query_names_are_found(database_url: str) -> None:
    ids = [AlertId(f"a{number}") for number in range(1201)]
    async with opened(database_url) as store:
        await save(store, *(shown(a_picture(id=each), digest=each.encode()) for each in ids))

        with store.reading() as tx:
            snapshots = tx.alerts.snapshots(ids)
            known = tx.alerts.by_digest(Shape.CONTENTS, [each.encode() for each in ids])

    assert set(snapshots) == set(ids)
    assert known == {each.encode(): each for each in ids}


async def test_contents_that_a_poll_is_replacing_are_not_held_to_be_forgotten(postgres_url: str) -> None:
    async with opened(postgres_url) as store:
        with store.writing() as tx:
            tx.alerts.store_contents(ALERT_ID, Contents())
        with store.writing() as poll, store.writing() as delivery:
            poll.alerts.store_contents(ALERT_ID, Contents())
            while_replaced = delivery.alerts.lock_contents([ALERT_ID])
        with store.writing() as delivery:
            afterwards = delivery.alerts.lock_contents([ALERT_ID])

    assert (while_replaced, afterwards) == (set(), {ALERT_ID})


async def test_contents_come_back_as_they_were_until_they_are_forgotten(database_url: str) -> None:
    kept = take_contents(
        [
            *events("e1", "e2"),
            an_event(ID="e3", Bytes=2**63 - 1, DeviceCustomNumber1=2**70, Message="сбой \ud800 \x00"),
        ],
        assets=[an_asset()],
        accounts=[an_account()],
        max_events=0,
    )
    kept = replace(kept, raw={"id": ALERT_ID, "score": 2**70, "note": "сбой \ud800 \x00"})
    again = replace(kept, events=kept.events[:1], event_ids=frozenset([event_digest(kept.events[0])]))
    async with opened(database_url) as store:
        await save(store, shown(a_picture(), contents=kept))
        with store.writing() as tx:
            first = tx.alerts.contents(ALERT_ID)
            tx.alerts.store_contents(ALERT_ID, again)
            second = tx.alerts.contents(ALERT_ID)
            tx.alerts.forget_contents(ALERT_ID)
            third = tx.alerts.contents(ALERT_ID)

    assert (first, second, third) == (kept, again, None)


def test_contents_that_an_older_version_stored_are_read_without_the_raw_alert() -> None:
    old = zlib.compress(b'{"events":[{"ID":"e1"}],"assets":[],"accounts":[]}')

    assert unpack(old) == Contents(events=({"ID": "e1"},), event_ids=frozenset([event_digest({"ID": "e1"})]))


async def test_a_listing_leaves_contents_as_they_are_and_newer_ones_replace_them(database_url: str) -> None:
    old, new = (take_contents(events(each), assets=[], accounts=[], max_events=0) for each in ("e1", "e2"))
    async with opened(database_url) as store:
        await save(store, shown(a_picture(), contents=old))
        await save(store, shown(a_picture(status="assigned"), Shape.LISTING))
        with store.reading() as tx:
            after_listing = tx.alerts.contents(ALERT_ID)
        await save(store, shown(a_picture(), contents=new))
        with store.reading() as tx:
            after_contents = tx.alerts.contents(ALERT_ID)

    assert (after_listing, after_contents) == (old, new)


# Digests


async def test_each_shape_has_digests_of_its_own(database_url: str) -> None:
    async with opened(database_url) as store:
        await save(store, shown(a_picture(), Shape.CONTENTS, b"full"), shown(a_picture(id=B), Shape.LISTING, b"list"))

        with store.reading() as tx:
            full = tx.alerts.by_digest(Shape.CONTENTS, [b"full", b"list", b"unknown"])
            listed = tx.alerts.by_digest(Shape.LISTING, [b"full", b"list", b"unknown"])

    assert (full, listed) == ({b"full": ALERT_ID}, {b"list": B})


async def test_saving_one_shape_forgets_the_digest_of_the_other(
    database_url: str,
) -> None:
    async with opened(database_url) as store:
        await save(store, shown(a_picture(), Shape.CONTENTS, b"full"))
        await save(store, shown(a_picture(), Shape.LISTING, b"list"))
        await save(store, shown(a_picture(status="assigned"), Shape.LISTING, b"list 2"))

        with store.reading() as tx:
            full = tx.alerts.by_digest(Shape.CONTENTS, [b"full"])
            listed = tx.alerts.by_digest(Shape.LISTING, [b"list", b"list 2"])

    assert (full, listed) == ({}, {b"list 2": ALERT_ID})


async def test_the_bytes_of_unchanged_alerts_are_noted_for_next_time(database_url: str) -> None:
    async with opened(database_url) as store:
        await save(store, shown(a_picture()), shown(a_picture(id=B)))
        with store.writing() as tx:
            tx.alerts.note_digests(Shape.LISTING, {ALERT_ID: b"a", B: b"b", C: b"c"})
            tx.alerts.note_digests(Shape.LISTING, {})

            known = tx.alerts.by_digest(Shape.LISTING, [b"a", b"b", b"c"])

    assert known == {b"a": ALERT_ID, b"b": B}


# Sweeps


async def test_what_a_sweep_did_not_show_is_told_only_of_links_not_closed(database_url: str) -> None:
    marks = {
        "open": {},
        "gone": {"gone": True},
        "incident closed": {"incident": an_incident(), "incident_closed": True},
        "closed": {"alert_closed": True},
        "ignored": {"ignored": True},
        "dropped": {"dropped": True},
        "shown": {},
    }
    async with opened(database_url) as store:
        await save(store, *(shown(a_picture(id=each)) for each in marks), sweep=6)
        for each, fields in marks.items():
            await link(store, AlertId(each), **fields)
        with store.writing() as tx:
            tx.alerts.mark_shown([AlertId("shown")], 7)

            missing = tx.alerts.unshown(7)

    assert missing == ["gone", "incident closed", "open"]


async def test_a_read_that_is_no_sweep_does_not_take_a_sweeps_mark_back(database_url: str) -> None:
    async with opened(database_url) as store:
        await link(store, ALERT_ID)
        await save(store, shown(a_picture()), sweep=7)
        await save(store, shown(a_picture(status="assigned"), Shape.LISTING), sweep=0)
        await save(store, shown(a_picture(status="new")), sweep=6)

        with store.reading() as tx:
            assert tx.alerts.unshown(7) == []
            assert tx.alerts.unshown(8) == [ALERT_ID]


@pytest.mark.parametrize(("sweep", "unshown"), [(3, [B]), (0, [ALERT_ID, B])], ids=["sweep", "any other read"])
async def test_an_alert_that_a_read_shows_again_is_no_longer_gone(
    database_url: str, sweep: int, unshown: list[AlertId]
) -> None:
    async with opened(database_url) as store:
        await save(store, shown(a_picture()), shown(a_picture(id=B)))
        await link(store, ALERT_ID, B, gone=True)
        await link(store, C)

        with store.writing() as tx:
            before = tx.alerts.gone([ALERT_ID, B, C, AlertId("unknown")])
            tx.alerts.mark_shown([ALERT_ID], sweep)
            after = tx.alerts.gone([ALERT_ID, B, C])
            left = tx.alerts.unshown(3)

    assert sorted(before) == sorted([ALERT_ID, B])
    assert after == [B]
    assert sorted(left) == sorted(unshown), "only a sweep proves that it was there to be listed"


async def test_alerts_closed_in_kuma_are_news_until_their_links_know(database_url: str) -> None:
    async with opened(database_url) as store:
        closed = {"status": "closed", "closing_reason": "incorrect data"}
        await save(store, shown(a_picture(**closed)), shown(a_picture(id=B, **closed)), shown(a_picture(id=C)))
        await link(store, ALERT_ID, C)
        await link(store, B, alert_closed=True)

        with store.reading() as tx:
            assert tx.alerts.newly_closed() == {ALERT_ID: "incorrect data"}


# The last look


async def test_a_recheck_is_due_when_last_seen_leaves_the_overlap_and_once(database_url: str) -> None:
    earlier = NOW - timedelta(hours=1)
    async with opened(database_url) as store:
        await save(
            store,
            shown(a_picture(last_seen=earlier), recheck=True),
            shown(a_picture(id=B, last_seen=NOW), recheck=True),
            shown(a_picture(id=C, last_seen=earlier)),
        )
        with store.writing() as tx:
            due = tx.alerts.to_recheck(NOW)
            later = tx.alerts.to_recheck(NOW + timedelta(microseconds=1))
            tx.alerts.rechecked(later, NOW)
            left = tx.alerts.to_recheck(NOW + timedelta(microseconds=1))

    assert (due, later, left) == ([ALERT_ID], [ALERT_ID, B], [B]), "B grew while the last look at it was under way"


async def test_a_listing_does_not_take_the_place_of_the_last_look_but_may_ask_for_one(database_url: str) -> None:
    async with opened(database_url) as store:
        await save(store, shown(a_picture(), recheck=True), shown(a_picture(id=B)))
        await save(store, shown(a_picture(), Shape.LISTING), shown(a_picture(id=B), Shape.LISTING, recheck=True))

        with store.reading() as tx:
            assert set(tx.alerts.to_recheck(NOW + timedelta(days=1))) == {ALERT_ID, B}


async def test_alerts_that_share_the_watermarks_second_are_counted(database_url: str) -> None:
    offsets = {"before": -1, "first": 0, "last": 999_999, "next": 1_000_000}
    async with opened(database_url) as store:
        await save(
            store,
            *(shown(a_picture(id=each, last_seen=NOW + timedelta(microseconds=n))) for each, n in offsets.items()),
        )

        with store.reading() as tx:
            assert tx.alerts.tied(NOW) == 2
