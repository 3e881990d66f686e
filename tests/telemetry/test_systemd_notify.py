"""The datagrams systemd receives, on a real socket."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from kuma_sync.telemetry.watchdog import Systemd


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest) -> Iterator[tuple[str, socket.socket]]:
    """A service manager's socket, with its name as NOTIFY_SOCKET has it."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        path = f"{folder}/notify"
        listener.bind(path if request.param == "file" else f"\0{path}")
        listener.settimeout(5)
        yield path if request.param == "file" else f"@{path}", listener


def test_every_message_is_one_datagram(manager: tuple[str, socket.socket]) -> None:
    name, listener = manager
    systemd = Systemd({"NOTIFY_SOCKET": name}, monotonic_ns=lambda: 5_000_999)

    systemd.ready("reading KUMA")
    systemd.status("two\nlines")
    systemd.watchdog()
    systemd.reloading()
    systemd.stopping("12 jobs in flight")

    assert [listener.recv(1000).decode() for _ in range(5)] == [
        "READY=1\nSTATUS=reading KUMA",
        "STATUS=two lines",
        "WATCHDOG=1",
        "RELOADING=1\nMONOTONIC_USEC=5000",
        "STOPPING=1\nSTATUS=12 jobs in flight",
    ]


@pytest.mark.parametrize("name", ["", "relative", "/no/such/socket", "@kuma-sync-nobody-listens"])
def test_without_a_manager_nothing_happens(name: str) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": name}, monotonic_ns=lambda: 0)

    systemd.ready()

    assert not Path(name or "relative").exists()


@pytest.mark.parametrize(
    ("env", "interval"),
    [
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "42"}, timedelta(seconds=1)),
        ({"WATCHDOG_USEC": "2000000"}, timedelta(seconds=1)),
        ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "41"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_at_half_its_time_if_it_is_ours(env: dict[str, str], interval: timedelta | None) -> None:
    assert Systemd(env, monotonic_ns=lambda: 0, pid=42).watchdog_interval == interval
