"""Canaries in every key that holds a secret: they sing nowhere, whatever is asked and whatever fails."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from addresses import somewhere
from prompt import (
    IRP_TOKEN,
    KUMA_TOKEN,
    METRICS_TOKEN,
    NOWHERE,
    WEB_TOKEN,
    Answered,
    ask,
    ended,
    merged,
    shell,
    started,
    typed,
    until,
    usual,
    world,
    write_config,
)

LOUD = {"log": {"level": "debug", "format": "json"}}
EVERYWHERE: dict[str, dict[str, Any]] = {
    "kuma": {"proxy": "http://canary-user:canary-password@127.0.0.1:1"},
    "irp": {"proxy": "http://canary-user:canary-password@127.0.0.1:1", "password": "canary-irp-password"},
    "store": {"url": "postgresql://canary-less@127.0.0.1:1/db", "password": "canary-store-password"},
    "web": {"metrics_token": METRICS_TOKEN, "tokens": {"security-vision": WEB_TOKEN}},
}
CANARIES = (
    *(KUMA_TOKEN, IRP_TOKEN, WEB_TOKEN, METRICS_TOKEN),
    *("canary-user", "canary-password", "canary-irp-password", "canary-store-password", "canary-event"),
)


def silent(answer: Answered) -> bool:
    """No canary in anything that was printed or logged."""
    return not [canary for canary in CANARIES if canary in answer.out + answer.err]


def get(address: str, token: str = "") -> str:
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as refused:
        # A daemon that is not ready yet says so with 503; its page must not tell a secret either.
        with refused:
            return refused.read().decode()


async def test_a_whole_pass_with_failures_tells_no_secret_at_debug(tmp_path: Path) -> None:
    async with world(tmp_path, **LOUD, web=EVERYWHERE["web"]) as w:
        for number in range(4):
            w.kuma.raise_alert(name=f"alert {number}")
        for event in [event for alert in w.kuma.alerts.values() for event in alert["events"]]:
            event["Message"] = "canary-event"
        w.irp.knobs.reject_titles = "alert 0"
        echo = {"message": f"no, {IRP_TOKEN} canary-event"}
        w.irp.faults.add("status", code=500, body=echo, method="POST", times=1)
        w.irp.faults.add("unauthorized", method="POST", times=1)
        w.kuma.faults.add("status", code=502, body={"message": f"no, {KUMA_TOKEN}"}, times=1)

        first, second = await shell("run", "--once", *w.c), await ask("run", "--once", *w.c)
        looks = [
            await ask(*words, *w.c)
            for words in (["status"], ["alerts"], ["check"], ["config", "show"], ["show", next(iter(w.kuma.alerts))])
        ]

        assert first.code == second.code == 1
        assert '"event": "delivery_failed"' in first.err
        assert [silent(answer) for answer in (first, second, *looks)] == [True] * 7
        assert "Traceback" not in first.err + second.err


async def test_a_denied_token_is_not_told_to_the_log(tmp_path: Path) -> None:
    async with world(tmp_path, **LOUD) as w:
        w.kuma.raise_alert()
        w.kuma.token = w.irp.token = "another"

        answer = await ask("run", "--once", *w.c)

        assert answer.code == 1
        assert "token refused" in answer.err
        assert silent(answer)


def test_dead_proxies_and_a_dead_database_are_told_without_their_passwords(tmp_path: Path) -> None:
    tables = merged(usual(tmp_path), merged(EVERYWHERE, LOUD))
    everything = write_config(tmp_path / "a.toml", tables)
    proxies = write_config(
        tmp_path / "b.toml", merged(tables, {"store": {"url": f"sqlite:///{tmp_path}/s.db", "password": ""}})
    )
    inside = write_config(
        tmp_path / "c.toml",
        merged(
            tables, {"store": {"url": "postgresql://canary-less:canary-store-password@127.0.0.1:1/db", "password": ""}}
        ),
    )

    answers = [
        typed(*words, "-c", str(path))
        for path in (everything, proxies, inside)
        for words in (
            ["check"],
            ["run", "--once"],
            ["status"],
            ["config", "show"],
            ["config", "show", "--json"],
            ["render"],
        )
    ]

    assert {answer.code for answer in answers} == {0, 1}
    assert [silent(answer) for answer in answers] == [True] * len(answers)
    assert "**********" in answers[3].out


def test_a_secret_that_is_malformed_or_in_the_wrong_place_is_not_quoted(tmp_path: Path) -> None:
    wrong: list[dict[str, dict[str, Any]]] = [
        {"kuma": {"token": "canary-event with spaces"}},
        {"kuma": {"tokn": KUMA_TOKEN}},
        {"kuma": {"url": f"https://canary-user:canary-password@{NOWHERE[7:]}"}},
        {"kuma": {"proxy": "canary-password"}},
        {"kuma": {"token": "", "token_file": KUMA_TOKEN}},
        {"web": {"tokens": {"sv": "canary-event with spaces"}}},
        {"store": {"url": "mysql://canary-user:canary-password@db/x"}},
        {"irp": {"timeout": IRP_TOKEN}},
    ]

    answers = [
        typed("check", "-c", str(write_config(tmp_path / "config.toml", merged(usual(tmp_path), one)))) for one in wrong
    ]

    assert [answer.code for answer in answers] == [2] * len(wrong)
    assert [silent(answer) for answer in answers] == [True] * len(wrong)


async def test_a_daemons_doors_and_log_tell_no_secret(tmp_path: Path) -> None:
    async with world(tmp_path, **LOUD, web={**EVERYWHERE["web"], "listen": "127.0.0.1:0"}) as w:
        w.kuma.raise_alert()
        listen = somewhere()
        config = w.configured(web={"listen": listen})
        process = await started("run", *config)
        try:
            await until(lambda: w.irp.incidents)
            door = f"http://{listen}"
            pages = [await asyncio.to_thread(get, f"{door}/metrics", token) for token in (METRICS_TOKEN, WEB_TOKEN)] + [
                await asyncio.to_thread(get, f"{door}/{path}") for path in ("readyz", "livez")
            ]
        finally:
            process.terminate()
        answer = await ended(process)

        assert answer.code == 0
        assert silent(answer)
        assert "kuma_sync_build_info" in pages[0]
        assert [canary for canary in CANARIES if canary in "".join(pages)] == []
