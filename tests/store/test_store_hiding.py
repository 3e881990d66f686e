"""What was stored before `[privacy]` named its fields, and the key that masks: on both databases."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from builders import NOW, an_account, an_alert, an_asset, an_event, seen
from stores import dump, opened

from kuma_sync.app.hiding import obey, rules_now, unlocked
from kuma_sync.core.alert import AlertId, first_snapshot
from kuma_sync.core.comparison import Rejected
from kuma_sync.core.handout import Asked
from kuma_sync.core.link import Link
from kuma_sync.core.privacy import Privacy
from kuma_sync.settings.privacy import PrivacySection
from kuma_sync.store import Shape, Shown, Tx
from kuma_sync.store.handouts import Handout, Lists, Text, as_json
from kuma_sync.store.keys import APPLIED, MASKING

CANARY = "canary-4718"
A = AlertId("a")
RULES = {"drop": ("Message", "upn"), "mask": ("*UserName", "fqdn")}
EVENT = an_event(Message=CANARY, SourceUserName=CANARY, BaseEvents=[{"Message": CANARY, "ID": "inner"}])
ASSET = an_asset(fqdn=[CANARY])
ACCOUNT = an_account(upn=CANARY)


def fill(tx: Tx) -> None:
    """Store the canary wherever fields of events, assets and accounts are."""
    known = seen(id=A, events=[EVENT], assets=[ASSET], accounts=[ACCOUNT])
    shown = Shown(snapshot=first_snapshot(known), shape=Shape.CONTENTS, digest=b"1", contents=known.contents)
    tx.alerts.save([shown], now=NOW, sweep=0)
    tx.links.add([Link(alert_id=A)], now=NOW)
    affected = {"affectedAssets": [ASSET], "affectedAccounts": [ACCOUNT]}
    lists = Lists(events=text([EVENT]), affected=tail(affected), affected_lists=tail(affected))
    head = as_json({"id": "a", "name": "R001", "odd": [{"Message": CANARY}]})[:-1]
    tx.handouts.put([Handout(alert=an_alert(id=A), target="irp", head=Text.of(head), lists=lists)])
    pieces = {"json": as_json({"events": [EVENT]}), "no json": b'{"Message": "' + CANARY.encode()}
    tx.rejects.park([Rejected(digest=name, reason="no usable id", raw=raw) for name, raw in pieces.items()])


def text(value: Any) -> Text:
    return Text.of(as_json(value))


def tail(value: Mapping[str, Any]) -> Text:
    return Text.of(as_json(value)[1:])


def put_out(tx: Tx) -> dict[str, Any]:
    """Return what an IRP that polls us is given."""
    asked = Asked(with_events=True, with_affected=True)
    (out,) = tx.handouts.by_id("irp", asked, ["a"])
    parts = tx.handouts.parts([out], asked)[A]
    pieces = [zlib.decompress(part) for part in (parts.head, parts.events, parts.affected) if part is not None]
    assert [len(piece) for piece in pieces] == [out.head, out.events, out.affected]
    item: dict[str, Any] = json.loads(pieces[0] + b',"events":' + pieces[1] + b"," + pieces[2])
    return item


async def test_what_is_stored_by_other_rules_obeys_new_ones_and_is_not_shown_again(database_url: str) -> None:
    async with opened(database_url) as store:
        await store.write(fill)
        out = await store.read(lambda tx: tx.handouts.by_id("irp", Asked(), ["a"]))
        await store.write(lambda tx: tx.handouts.delivered(out))
        assert dump(store).count(CANARY) >= 12

        await obey(store, Privacy(**RULES))
        item = await store.read(put_out)
        contents = await store.read(lambda tx: tx.alerts.contents(A))
        waiting = await store.read(lambda tx: (tx.handouts.waiting(), tx.handouts.unshown("irp")))
        piece = await store.read(lambda tx: [tx.rejects.body(name) for name in ("json", "no json")])

        assert CANARY.casefold() not in dump(store).casefold()
        assert waiting == ({}, set())
        assert contents is not None
        assert contents.events[0]["SourceUserName"] == item["events"][0]["SourceUserName"]
        assert contents.event_ids == {*contents.by_digest}
        assert item["affectedAssets"][0]["fqdn"] == contents.assets[0]["fqdn"]
        assert item["odd"] == [{}]
        assert json.loads(piece[0] or b"")["events"][0]["BaseEvents"] == [{"ID": "inner"}]
        assert piece[1] == b""


async def test_the_key_stays_over_restarts_and_so_does_what_was_applied(database_url: str) -> None:
    rules = PrivacySection(mask_fields=("*UserName",))
    async with opened(database_url) as store:
        first = Privacy(mask=("*UserName",))
        await obey(store, first)
        key = await store.read(lambda tx: tx.keys.get(MASKING))
        await store.write(fill)
    async with opened(database_url) as store:
        second = unlocked(store, rules)
        await obey(store, second)
        kept = await store.read(lambda tx: tx.keys.get(MASKING))
        with store.reading() as tx:
            third = rules_now(tx, rules)
        told = dump(store)

    masks = []
    for one in (first, second, third):
        event = {"SourceUserName": "ivanov"}
        one.hide(event)
        masks.append(event["SourceUserName"])
    assert key == kept
    assert len(set(masks)) == 1
    assert told.count(CANARY) >= 12, "the mark says that nothing is left to be done: it was not looked at again"


async def test_rules_that_were_off_meanwhile_are_applied_anew(database_url: str) -> None:
    on = Privacy(drop=("Message", "upn", "*UserName", "fqdn"))
    async with opened(database_url) as store:
        await obey(store, on)
        await obey(store, Privacy())
        marked = await store.read(lambda tx: tx.keys.get(APPLIED))
        await store.write(fill)

        await obey(store, on)

        assert marked is None
        assert CANARY not in dump(store)


async def test_a_process_that_stored_by_other_rules_applies_them_whatever_another_did(database_url: str) -> None:
    on = Privacy(drop=("Message", "upn", "*UserName", "fqdn"))
    async with opened(database_url) as store:
        await obey(store, on)
        await store.write(fill)

        await obey(store, on, anew=True)

        assert CANARY not in dump(store)


async def test_more_rows_than_one_transaction_takes_are_all_reached(database_url: str) -> None:
    def many(tx: Tx) -> None:
        for number in range(53):
            piece = Rejected(
                digest=f"{number:03}", reason="no usable id", raw=as_json({"Message": CANARY, "n": number})
            )
            tx.rejects.park([piece])

    async with opened(database_url) as store:
        await store.write(many)
        await obey(store, Privacy(drop=("Message",)))
        bodies = await store.read(lambda tx: [tx.rejects.body(f"{number:03}") for number in range(53)])

    assert bodies == [as_json({"n": number}) for number in range(53)]
