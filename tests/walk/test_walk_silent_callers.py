"""Hundreds of connections that say nothing, against a daemon that may open few files: it works on, and says so once."""

from __future__ import annotations

import asyncio
import resource
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
from addresses import somewhere
from plain_http import plain_client
from stage import Stage, eventually, staged

SILENT = 600
FILES = 256


async def start(stage: Stage, log: Path) -> asyncio.subprocess.Process:
    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))

    with log.open("wb") as stream:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kuma_sync", "run", "-c", str(stage.config)), stderr=stream, preexec_fn=few_files
        )


async def answer(listen: str, path: str) -> int:
    async with plain_client(timeout=5) as client:
        with suppress(httpx.TransportError):
            return (await client.get(f"http://{listen}{path}")).status_code
    return 0


async def ready(listen: str) -> bool:
    return await answer(listen, "/readyz") == 200


async def test_hundreds_of_silent_connections_stop_neither_health_nor_work(tmp_path: Path, sqlite_url: str) -> None:
    listen, log = somewhere(), tmp_path / "daemon.log"
    host, _, port = listen.rpartition(":")
    async with staged(tmp_path, sqlite_url, web={"listen": listen}) as stage:
        daemon = await start(stage, log)
        try:
            await eventually(lambda: ready(listen), within=60)
            with ExitStack() as stack:
                for _ in range(SILENT):
                    _reader, writer = await asyncio.open_connection(host, int(port))
                    stack.callback(writer.close)
                alert_id = stage.kuma.raise_alert()
                answers = [await answer(listen, path) for path in ("/livez", "/readyz") for _ in range(3)]
                await eventually(lambda: stage.incidents(alert_id), within=30)
        finally:
            daemon.terminate()
            code = await daemon.wait()

    assert answers == [200] * 6
    assert code == 0
    assert log.read_text().count("door_crowded") == 1
    assert log.stat().st_size < 20_000
