"""Addresses to listen on that nobody else takes: neither while their owner is dead, nor before it starts.

A port that the system chose goes to whoever asks next for any, another test process or a mere connection, as soon as
nobody listens on it. So each test process has a host of its own within 127.0.0.0/8, and counts ports up on it, below
those that the system chooses from.
"""

from __future__ import annotations

import os
from itertools import count

_ports = count(20_000)


def an_address() -> tuple[str, int]:
    """Return a host and a port that nobody was given before."""
    number = os.getpid()  # below 2 ** 22 on Linux; 127.0 stays to all others
    return f"127.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", next(_ports)


def somewhere() -> str:
    """Return such an address as `host:port`."""
    host, port = an_address()
    return f"{host}:{port}"
