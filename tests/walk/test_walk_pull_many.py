"""Many connectors at once, over real sockets: memory is bounded, and nothing else waits."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from stage import eventually, staged

from kuma_sync.core.alert import Alert, AlertId
from kuma_sync.store import Tx
from kuma_sync.store.handouts import NOTHING, Handout, Lists, Text

PULL = {"profile": "security-vision-pull", "token": "token-of-irp", "url": ""}
CONNECTORS = 20


def put_out(tx: Tx) -> None:
    """Put out 250 alerts of 200 events, 30 MB in all."""
    events = Text.of(json.dumps([{"ID": str(one), "Message": "x" * 560} for one in range(200)]).encode())
    lists = Lists(events=events, affected=NOTHING.affected, affected_lists=NOTHING.affected_lists)
    now = datetime.now(UTC)
    for number in range(250):
        alert = Alert(id=AlertId(f"alert-{number}"), status="new", last_seen=now)
        head = Text.of(json.dumps({"id": alert.id}).encode()[:-1])
        tx.handouts.put([Handout(alert=alert, target="irp", head=head, lists=lists)])


def resident() -> int:
    """Return the bytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def connectors(door: str) -> Iterator[list[socket.socket]]:
    """Ask over so many connections, and read nothing of the answers."""
    at = urlsplit(door)
    command = (
        "GET /api/v1/alerts/?withEvents&status=new HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer token-of-irp\r\n\r\n"
    )
    with ExitStack() as stack:
        asked = []
        for _ in range(CONNECTORS):
            connection = socket.create_connection((at.hostname or "", at.port or 0), timeout=30)
            asked.append(stack.enter_context(connection))
            connection.sendall(command.encode())
        yield asked


async def test_twenty_connectors_that_take_nothing_cost_little_and_delay_nobody(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url, irp=PULL) as stage, stage.door() as client:
        async with stage.runtime() as runtime:
            await runtime.store.write(put_out, long=True)
        before = resident()
        with connectors(str(client.base_url)) as asked:
            begun = [await asyncio.to_thread(connection.recv, 4096) for connection in asked]
            alert = stage.kuma.raise_alert(events=3)
            started = time.monotonic()

            async def put_out_too() -> bool:
                answer = await client.get(f"/api/v1/alerts?id={alert}", headers=token())
                return len(answer.json()) == 1

            await eventually(put_out_too)
            took, grown = time.monotonic() - started, resident() - before

        whole = await client.get("/api/v1/alerts/?withEvents&status=new", headers=token())

    assert all(piece.startswith(b"HTTP/1.1 200") for piece in begun)
    assert len(whole.json()) == 250, "what nobody took is shown again"
    assert took < 5
    assert grown < 100 * 1024 * 1024, "the answers are 600 MB"


def token() -> dict[str, str]:
    return {"Authorization": "Bearer token-of-irp"}
