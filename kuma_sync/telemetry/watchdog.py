"""Signs of life: messages to systemd, and a watchdog of our own that ends a process whose event loop is stuck."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import NoReturn

import structlog

log = structlog.get_logger(__name__)
LOOKS = 10
"""How often the thread looks within the limit. It counts looks, not time: a frozen process does not look."""


class Systemd:
    """The notification socket of the service manager; `monotonic_ns` is CLOCK_MONOTONIC."""

    def __init__(self, env: Mapping[str, str], *, monotonic_ns: Callable[[], int], pid: int | None = None) -> None:
        self._address = env.get("NOTIFY_SOCKET", "")
        self._monotonic_ns = monotonic_ns
        self.watchdog_interval = _watchdog_interval(env, os.getpid() if pid is None else pid)
        """How often `watchdog` should be called: half of systemd's limit; None where systemd does not watch."""

    def ready(self, status: str = "") -> None:
        """Tell that the service is up (also after `reloading`)."""
        self._send("READY=1", status)

    def status(self, status: str) -> None:
        """Show one line in `systemctl status`."""
        self._send(status=status)

    def watchdog(self) -> None:
        """Tell that we are alive."""
        self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Tell that a reload begins; `ready` ends it (Type=notify-reload wants the time)."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={self._monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> None:
        """Tell that a stop begins."""
        self._send("STOPPING=1", status)

    def _send(self, state: str = "", status: str = "") -> None:
        if not self._address.startswith(("/", "@")):
            return
        lines = [state, f"STATUS={' '.join(status.split())}" if status else ""]
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        # A missing or slow service manager must not stop the daemon.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.setblocking(False)
            to.sendto("\n".join(line for line in lines if line).encode(), address)


def _watchdog_interval(env: Mapping[str, str], pid: int) -> timedelta | None:
    microseconds = env.get("WATCHDOG_USEC", "")
    if not microseconds.isdigit() or int(microseconds) == 0 or env.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return timedelta(microseconds=int(microseconds) // 2)


class Pulse:
    """Beaten by the event loop, watched by a thread.

    `limit`: a loop that is silent for so long is dead. `last_line`: the time to write the last log line.
    """

    def __init__(self, *, limit: timedelta, last_line: timedelta) -> None:
        self._limit = limit
        self._last_line = last_line
        self._beats = 0

    def beat(self) -> None:
        """Note that the event loop turns."""
        self._beats += 1

    @contextmanager
    def watched(self) -> Iterator[None]:
        """End the process when this thread's event loop has not beaten for the limit, while the block runs."""
        over = threading.Event()
        watch = partial(self._watch, over, threading.get_ident())
        threading.Thread(target=watch, name="pulse", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _watch(self, over: threading.Event, watched: int) -> None:
        seen, silent = -1, 0
        while not over.wait(self._limit.total_seconds() / LOOKS):
            silent = silent + 1 if self._beats == seen else 0
            seen = self._beats
            if silent == LOOKS:
                self.end_process(["event loop"], where=_where(watched))

    def end_process(self, loops: Sequence[str], where: str = "") -> NoReturn:
        """Log which loops are dead, and end the process at once with exit code 1."""
        telling = threading.Thread(target=_say, args=(list(loops), where), daemon=True)
        telling.start()
        telling.join(self._last_line.total_seconds())
        os._exit(1)


def _say(loops: list[str], where: str) -> None:
    log.critical("stuck_for_good", loops=loops, where=where)


def _where(thread: int) -> str:
    """Return the line of code that a thread is at, without values."""
    frame = sys._current_frames().get(thread)
    return f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}" if frame else ""
