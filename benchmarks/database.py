"""A real PostgreSQL for the benchmarks: the tests' own server, but with `fsync` on, or one that is named.

Must not: measure.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psycopg

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

import postgres  # found through the line above

LONGEST_START = 30.0
_numbers = itertools.count(1)


class Durable(postgres.Server):
    """The tests' server as a production one runs: every commit reaches the disk."""

    def start(self) -> None:
        """Start, and wait until it answers."""
        where = ["-p", str(self._port), "-k", str(self._folder), "-c", "listen_addresses=127.0.0.1"]
        command = [*self._prefix, str(self._binaries / "postgres"), "-D", str(self._folder / "data"), *where]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")  # noqa: S603  # the server found
        deadline = time.monotonic() + LONGEST_START
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


@contextmanager
def server(named: str = "") -> Iterator[str | None]:
    """Yield the URL of a maintenance database: the one named, else a server of our own; None where there is none."""
    binaries = postgres.debian_binaries()
    if named or binaries is None:
        yield named or None
        return
    own = Durable(binaries)
    try:
        own.start()
        yield own.url
    finally:
        own.stop()


def database(maintenance: str) -> AbstractContextManager[str]:
    """Create an empty database, yield its URL, drop it."""
    found: AbstractContextManager[str] = postgres.database(maintenance, f"bench_{next(_numbers)}")
    return found
