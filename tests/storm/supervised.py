"""Runs the real command as a daemon and starts it again when it dies, as systemd would; waits for conditions."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forked import Forked, command, fork

FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("KUMA_SYNC_")}
FILES = 1024
"""Files that a daemon may have open, as is usual for a service."""
EVENT = re.compile(r'"event": "([^"]*)"')


@dataclass(kw_only=True)
class Daemon:
    """The command, started again whenever it ends. `strange` are ends that nothing we did explains.

    `faked` starts it under faketime, whose every look at the clock costs a lock: only while the clock is to be set.
    """

    name: str
    config: Path
    log: Path
    clock: Path
    listen: str
    faked: bool = False
    held: bool = False
    """It is not started again as long as this is set."""
    process: asyncio.subprocess.Process | Forked | None = None
    starts: int = 0
    kills: int = 0
    begun: int = 0
    """The size of its log when it was last started."""
    expected: set[int] = field(default_factory=set)
    """The exit codes that what we did to it explains."""
    strange: list[str] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        """Tell whether it runs right now."""
        return self.process is not None and self.process.returncode is None

    @property
    def up(self) -> bool:
        """Tell whether it has come so far that it takes signals."""
        return self.alive and '"event": "started"' in self.told(self.begun)

    async def keep_running(self) -> None:
        """Start it, and start it again, until cancelled; then stop it."""
        try:
            while True:
                self.process = await self._start()
                code = await self.process.wait()
                if code not in self.expected:
                    self.strange.append(f"{self.name} ended by itself with {code}")
                self.expected.clear()
                await asyncio.sleep(0.1)
                while self.held:
                    await asyncio.sleep(0.05)
        finally:
            if self.process is not None and self.alive:
                self.process.send_signal(signal.SIGCONT)
                self.process.kill()
                await self.process.wait()

    def kill(self) -> int | None:
        """Kill it as `kill -9` does; return whose life it was, None when it was not there."""
        if self.process is None or not self.alive:
            return None
        self.expected.add(-signal.SIGKILL)
        self.kills += 1
        self.process.kill()
        return self.process.pid

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal; false when it was not there."""
        if self.process is None or not self.alive:
            return False
        self.process.send_signal(number)
        return True

    def stopped(self, target: str) -> bool:
        """Tell whether it has said since its start that a target is stopped."""
        lines = self.told(self.begun).splitlines()
        return any('"target_stopped"' in line and f'"target": "{target}"' in line for line in lines)

    def size(self) -> int:
        """Return how much it has logged so far, in bytes."""
        return self.log.stat().st_size

    def told(self, since: int) -> str:
        """Return what it logged since its log was so many bytes long."""
        with self.log.open("rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")

    def events(self) -> Counter[str]:
        """Count the lines of its log by event."""
        with self.log.open(errors="replace") as file:
            return Counter(found.group(1) for line in file if (found := EVENT.search(line)))

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines of its log."""
        found = []
        for text in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(text))
        return found

    async def _start(self) -> asyncio.subprocess.Process | Forked:
        self.starts += 1
        self.begun = self.size()
        words = ["run", "-c", str(self.config)]
        process = await self._under_faketime(words) if self.faked else fork(self.log, command, *words, env=ENVIRONMENT)
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (FILES, FILES))
        return process

    async def _under_faketime(self, words: list[str]) -> asyncio.subprocess.Process:
        """Start an interpreter, for a library is loaded before all others by nothing else."""
        environment = ENVIRONMENT | {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
        words = [sys.executable, "-m", "kuma_sync", *words]
        with self.log.open("a") as file:
            return await asyncio.create_subprocess_exec(*words, stdout=file, stderr=file, env=environment)


def replace(file: Path, text: str) -> None:
    """Write a file as a whole: nobody reads half of it."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o600)
    new.replace(file)


async def until(condition: Callable[[], bool], *, within: float) -> bool:
    """Wait for a condition, at most so many seconds; tell whether it came."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True
