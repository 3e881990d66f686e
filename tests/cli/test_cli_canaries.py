"""Canaries in every secret and in events, everything fails that can, and nothing sings: log, doors, commands, store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
from addresses import somewhere
from plain_http import plain_client
from prompt import (
    IRP_TOKEN,
    KUMA_TOKEN,
    METRICS_TOKEN,
    WEB_TOKEN,
    World,
    ask,
    ended,
    shell,
    started,
    until,
    world,
)

from kuma_sync.sim.faults import Faults

PASSWORD, EVENT = "canary-irp-password-4715", "canary-event-4716"
SECRETS = (KUMA_TOKEN, IRP_TOKEN, WEB_TOKEN, METRICS_TOKEN, PASSWORD)
ECHO = " ".join([*SECRETS, EVENT])
"""What a remote of the worst kind answers: all that it was ever told."""

SAID: dict[str, Any] = {"message": ECHO, "details": ECHO, "error": ECHO}
STATUSES = (400, 401, 403, 404, 405, 408, 409, 413, 422, 429, 500, 502, 503, 504)


def everything_fails(faults: Faults) -> None:
    """Fail every third request in one way or another, each way once and then once more."""
    for code in STATUSES:
        faults.add("status", code=code, body=SAID, times=2, every=3)
    faults.add("status", code=200, body=ECHO, times=2, every=3)
    faults.add("status", code=302, headers={"Location": f"/{IRP_TOKEN}"}, body=SAID, times=2, every=3)
    for kind in ("html", "reset_before", "reset_after", "cut"):
        faults.add(kind, times=2, every=3)


async def knocked(door: str) -> str:
    """Knock at every door, rightly and wrongly; return all that was answered."""
    answers = list[httpx.Response]()
    async with plain_client(door, timeout=20) as client:
        for token in (WEB_TOKEN, METRICS_TOKEN, f"{WEB_TOKEN}x", ""):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            for path in ("/metrics", "/readyz", "/livez", f"/{WEB_TOKEN}"):
                answers.append(await client.get(path, headers=headers))
            for body in ({"id": "no-such-alert", "reason": "responded"}, {"id": ECHO, "reason": ECHO}, ECHO):
                answers.append(await client.post("/api/v1/alerts/close", json=body, headers=headers))
    return "\n".join(f"{answer.status_code} {answer.headers} {answer.text}" for answer in answers)


async def looked_at(w: World, config: tuple[str, str]) -> str:
    """Ask every command that tells something."""
    words = [["status"], ["alerts"], ["check"], ["config", "show"], ["status", "--json"], ["alerts", "--json"]]
    words += [["show", alert_id] for alert_id in list(w.kuma.alerts)[:5]]
    answers = [await ask(*one, *config) for one in words]
    return "\n".join(answer.out + answer.err for answer in answers)


def sung(text: str | bytes, canaries: tuple[str, ...]) -> list[str]:
    raw = text if isinstance(text, bytes) else text.encode()
    return [canary for canary in canaries if canary.encode() in raw]


async def test_whatever_fails_no_secret_and_no_event_is_told_to_anybody(tmp_path: Path) -> None:
    doors = {"metrics_token": METRICS_TOKEN, "tokens": {"security-vision": WEB_TOKEN}}
    loud = {"level": "debug", "format": "json"}
    async with world(tmp_path, log=loud, web=doors, close={"watch_interval": "200ms"}) as w:
        for number in range(24):
            w.kuma.raise_alert(name=f"alert {number}", events=1)
        for alert in w.kuma.alerts.values():
            alert["events"][0]["Message"] = EVENT
        w.kuma.knobs.strays = [{"name": EVENT, "id": None}]
        for sim in (w.kuma, w.irp):
            everything_fails(sim.faults)
        listen = somewhere()
        config = w.configured(
            web={**doors, "listen": listen}, irp={**w.tables["irp"], "username": "u", "password": PASSWORD}
        )
        process = await started("run", *config)
        try:
            await until(lambda: len(w.irp.incidents) > 12, seconds=40)
            await until(lambda: w.kuma.faults.fired.total() > 20 and w.irp.faults.fired.total() > 20, seconds=40)
            told = await knocked(f"http://{listen}")
            seen = await looked_at(w, config)
        finally:
            process.terminate()
        daemon = await ended(process)
        last = await shell("run", "--once", *config)
        stored = b"".join(path.read_bytes() for path in tmp_path.glob("store.db*"))

    log = daemon.out + daemon.err + last.out + last.err
    assert '"level": "debug"' in log
    assert '"event": "delivery_failed"' in log
    assert '"event": "job_parked"' in log
    assert "Traceback" not in log
    assert sung(log, (*SECRETS, EVENT)) == []
    assert sung(told, (*SECRETS, EVENT)) == []
    assert sung(seen, SECRETS) == []
    assert sung(stored, SECRETS) == []
