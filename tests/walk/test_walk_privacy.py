"""`[privacy]` in a daemon: a canary in a named field is nowhere, masks stay equal, and switching it on is no flood."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from addresses import somewhere
from stage import Child, Stage, eventually, staged
from stores import dump
from test_walk_pull import polled, shown

from kuma_sync.app.build import open_store
from kuma_sync.cli import main

CANARY = "canary-4719"
PRIVACY = {"drop_fields": ["*Password*", "Message", "displayName"], "mask_fields": ["SourceUserName", "fqdn", "name"]}
RULES = {"privacy": PRIVACY}


def spiked(stage: Stage, **fields: Any) -> str:
    """Raise an alert with the canary in every kind of field that is named above."""
    alert_id = stage.kuma.raise_alert(events=2)
    alert = stage.kuma.alerts[alert_id]
    first, second = alert["events"]
    first |= {"Message": CANARY, "SourceUserName": CANARY, "BaseEvents": [{"SourceUserName": CANARY, "ID": "b"}]}
    second |= {"SourceUserName": CANARY, "Extra": {"oldPasswordHash": CANARY}, "SourceHostName": "ws-17"} | fields
    alert["affectedAssets"] = [{"id": "x", "name": CANARY, "fqdn": [CANARY], "ipAddresses": ["10.0.0.7"]}]
    alert["affectedAccounts"] = [{"displayName": CANARY, "sAMAccountName": "ivanov"}]
    alert["odd"] = {"Message": CANARY, "kept": 1}
    return alert_id


def stored(stage: Stage) -> str:
    """Return all that the store holds: its rows, unpacked, and its files as they are."""
    store = open_store(stage.settings())
    try:
        rows = dump(store)
        files = b"".join(path.read_bytes() for path in stage.folder.glob("store.db*"))
    finally:
        store.close()
    return rows + files.decode("latin-1")


def told(capsys: pytest.CaptureFixture[str], stage: Stage, *words: str) -> str:
    with suppress(SystemExit):
        main([*words, "-c", str(stage.config)])
    said = capsys.readouterr()
    return said.out + said.err


def masked_users(stage: Stage, alert_id: str) -> set[str]:
    return {event["SourceUserName"] for event in stage.incident(alert_id).events if "SourceUserName" in event}


async def test_a_canary_in_a_named_field_is_nowhere_at_any_time(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    listen = somewhere()
    web = {"listen": listen, "metrics_public": True}
    loud = {"level": "debug", "format": "json"}
    async with staged(tmp_path, database_url, web=web, log=loud, **RULES) as stage:
        stage.irp.faults.add("status", code=500, match="/api/v1/incidents", times=3)
        stage.kuma.knobs.strays = [{"name": "n", "Message": CANARY}, [{"SourceUserName": CANARY}]]
        alert_id = spiked(stage)
        async with stage.daemon() as daemon:
            waiting = await eventually(lambda: asyncio.to_thread(_with_row, stage))
            await eventually(lambda: stage.incidents(alert_id) and len(stage.incident(alert_id).events) == 2)
            words = [("status",), ("alerts",), ("show", alert_id), ("render", alert_id), ("alerts", "--json")]
            words += [("show", "--raw", digest) for digest in await asyncio.to_thread(_pieces, stage)]
            said = [await asyncio.to_thread(told, capsys, stage, *one) for one in words]
            said += [await _answered(listen, path) for path in ("/metrics", "/readyz", "/livez", "/")]
            log = daemon.log.read_text()
        rest = await asyncio.to_thread(stored, stage)

    sent = json.dumps(stage.irp.writes, ensure_ascii=False)
    (user,) = masked_users(stage, alert_id)
    assert [where for where in (waiting, *said, log, rest, sent) if CANARY in where] == []
    assert len(words) == 7, "both pieces are parked, and shown"
    assert user.startswith("masked-")
    assert user in stage.incident(alert_id).fields["observables"]["users"]
    assert "ws-17" in sent
    assert "ivanov" in sent


async def test_masks_are_equal_over_alerts_and_restarts(tmp_path: Path, database_url: str) -> None:
    async with staged(tmp_path, database_url, **RULES) as stage:
        first = spiked(stage)
        await stage.passes()
        second = spiked(stage)
        await stage.passes()

    assert masked_users(stage, first) == masked_users(stage, second)
    assert len(masked_users(stage, first)) == 1


async def test_a_change_of_a_dropped_field_alone_is_no_update(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url, **RULES) as stage:
        alert_id = spiked(stage)
        await stage.passes()
        before = len(stage.wrote())

        alert = stage.kuma.alerts[alert_id]
        alert["affectedAccounts"][0]["displayName"] = "another"
        alert["events"][0]["Message"] = "another"
        alert["lastSeen"] = alert["lastSeen"]
        await stage.passes(2)
        unchanged = len(stage.wrote())
        alert["affectedAccounts"][0]["sAMAccountName"] = "petrov"
        stage.kuma.grow(alert_id)
        await stage.passes(2)

    assert unchanged == before
    assert len(stage.wrote()) > before


async def test_switched_on_by_a_sighup_it_sends_nothing_until_an_alert_changes(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        alert_id = spiked(stage)
        async with stage.daemon() as daemon:
            await eventually(lambda: stage.incidents(alert_id) and len(stage.incident(alert_id).events) == 2)
            before = len(stage.wrote())
            stage.configure(**RULES)
            await _hung_up(daemon, 1)
            sweeps = sum("timestampField=firstSeen" in query for query in stage.queries())
            await eventually(lambda: sum("timestampField=firstSeen" in query for query in stage.queries()) > sweeps + 2)
            quiet = stage.wrote()[before:]
            (new,) = stage.kuma.grow(alert_id)
            stage.kuma.alerts[alert_id]["events"][-1]["SourceUserName"] = CANARY
            await eventually(lambda: new in {event["ID"] for event in stage.incident(alert_id).events})
            later = json.dumps(stage.wrote()[before:])
        rest = await asyncio.to_thread(stored, stage)

    assert quiet == []
    assert CANARY not in later
    assert "masked-" in later
    assert CANARY not in rest


async def test_an_irp_that_polls_is_shown_masks_also_of_what_was_put_out_before(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with polled(tmp_path, sqlite_url) as (stage, client):
        alert_id = spiked(stage)
        (plain,) = await eventually(lambda: shown(client))
        stage.configure(**RULES)
        os.kill(os.getpid(), signal.SIGHUP)  # the daemon is in this process
        query = f"/api/v1/alerts/?withEvents&withAffected&id={alert_id}"
        (hidden,) = await eventually(lambda: _masked_by_now(client, query))
        listed = [item["id"] for item in await shown(client)]

    assert CANARY in json.dumps(plain)
    assert CANARY not in json.dumps(hidden)
    assert hidden["name"] == plain["name"]
    assert [event["ID"] for event in hidden["events"]] == [event["ID"] for event in plain["events"]]
    assert listed == [alert_id], "repeated for a while, as before"
    assert hidden["odd"] == {"kept": 1}
    assert hidden["affectedAssets"][0]["name"].startswith("masked-")


async def _answered(listen: str, path: str) -> str:
    async with httpx.AsyncClient(base_url=f"http://{listen}", trust_env=False, timeout=20) as client:
        return (await client.get(path)).text


async def _masked_by_now(client: httpx.AsyncClient, query: str) -> list[dict[str, Any]]:
    items = await shown(client, query)
    return items if "masked-" in json.dumps(items) else []


def _with_row(stage: Stage) -> str:
    """Return what is stored once an alert is known; nothing before."""
    store = open_store(stage.settings())
    try:
        with store.reading() as tx:
            there = bool(tx.links.all_ids())
    finally:
        store.close()
    return stored(stage) if there else ""


def _pieces(stage: Stage) -> list[str]:
    store = open_store(stage.settings())
    try:
        with store.reading() as tx:
            return [piece.digest for piece in tx.rejects.waiting()]
    finally:
        store.close()


async def _hung_up(daemon: Child, number: int) -> None:
    daemon.process.send_signal(signal.SIGHUP)
    await eventually(lambda: len(daemon.says("configuration_reloaded")) == number)
