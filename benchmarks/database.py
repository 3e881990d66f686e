"""A real PostgreSQL for the benchmarks: the tests' own server, but with `fsync` on, or a server given by its URL."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

import postgres  # found through the line above

_numbers = itertools.count(1)


@contextmanager
def server(named: str = "") -> Iterator[str | None]:
    """Yield the URL of a maintenance database: the one named, else a server of our own; None where there is none."""
    binaries = postgres.debian_binaries()
    if named or binaries is None:
        yield named or None
        return
    own = postgres.Server(binaries, durable=True)
    try:
        own.start()
        yield own.url
    finally:
        own.stop()


def database(maintenance: str) -> AbstractContextManager[str]:
    """Create an empty database, yield its URL, drop it."""
    found: AbstractContextManager[str] = postgres.database(maintenance, f"bench_{next(_numbers)}")
    return found
