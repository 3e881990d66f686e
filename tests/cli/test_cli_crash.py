"""A process that dies by a bug of ours, or by a signal, prints no secret and leaves no memory behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from prompt import IRP_TOKEN, KUMA_TOKEN, ended, until, world

CANARY = "canary-of-a-bug-4717"
BUG = """
import os, threading
from kuma_sync.app.lifecycle import Daemon
from kuma_sync.__main__ import main

async def run(daemon):
    secret, event = daemon._settings.kuma.token.reveal(), os.environ["CANARY"]
    def dies():
        raise ValueError(f"{secret} {event}")
    thread = threading.Thread(target=dies)
    thread.start()
    thread.join()
    try:
        dies()
    except ValueError as error:
        raise {how} from error

Daemon.run = run
main()
"""


async def python(*words: str) -> asyncio.subprocess.Process:
    """Start an interpreter of its own."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "CANARY": CANARY},
    )


@pytest.mark.parametrize("how", ["RuntimeError(secret, event)", "ExceptionGroup(event, [KeyError(secret)])"])
async def test_a_bug_is_told_by_kind_and_place_and_never_by_its_text(tmp_path: Path, how: str) -> None:
    async with world(tmp_path) as w:
        died = await ended(await python("-c", BUG.replace("{how}", how), "run", *w.c))

    assert died.code == 1
    assert "a bug in kuma-sync ends it" in died.err
    assert "ValueError\n" in died.err
    assert "lifecycle" in died.err or "session.py" in died.err, "where it was"
    assert [canary for canary in (KUMA_TOKEN, IRP_TOKEN, CANARY) if canary in died.out + died.err] == []


async def test_a_process_that_is_aborted_prints_frames_alone_and_leaves_no_core(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.raise_alert(name=CANARY)
        process = await python("-X", "faulthandler", "-m", "kuma_sync", "run", *w.c)
        await until(lambda: w.irp.incidents)
        (core,) = [line for line in Path(f"/proc/{process.pid}/limits").read_text().splitlines() if "core file" in line]
        process.send_signal(signal.SIGABRT)
        died = await ended(process)

    assert core.split()[4:6] == ["0", "0"]
    assert died.code == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in died.err
    assert [canary for canary in (KUMA_TOKEN, IRP_TOKEN, CANARY) if canary in died.out + died.err] == []
