"""What systemd wants to hear from a Type=notify service, one datagram each (sd_notify(3)). Elsewhere nothing happens.

Must not: decide when; a WATCHDOG that is not tied to health is worse than none.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Mapping
from datetime import timedelta


class Systemd:
    """The notification socket of the service manager; `monotonic_ns` is CLOCK_MONOTONIC."""

    def __init__(self, env: Mapping[str, str], *, monotonic_ns: Callable[[], int], pid: int | None = None) -> None:
        self._address = env.get("NOTIFY_SOCKET", "")
        self._monotonic_ns = monotonic_ns
        self.watchdog_interval = _watchdog_interval(env, os.getpid() if pid is None else pid)
        """How often `watchdog` should be called: half of what systemd allows; None where it does not watch."""

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
        # A service manager that is gone, or slow, must not take the service with it.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.setblocking(False)
            to.sendto("\n".join(line for line in lines if line).encode(), address)


def _watchdog_interval(env: Mapping[str, str], pid: int) -> timedelta | None:
    microseconds = env.get("WATCHDOG_USEC", "")
    if not microseconds.isdigit() or int(microseconds) == 0 or env.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return timedelta(microseconds=int(microseconds) // 2)
