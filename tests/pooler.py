"""A real pgbouncer in front of the tests' PostgreSQL: one connection of the server serves many, a transaction each."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from addresses import an_address
from postgres import unprivileged, wait_for_answer
from sqlalchemy import URL, make_url

INI = """\
[databases]
* = {server}
[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = {size}
max_client_conn = 200
"""


@contextlib.contextmanager
def pooled(url: str, *, users: Sequence[str] = (), mode: str = "transaction", size: int = 2) -> Iterator[str]:
    """Start a pgbouncer in front of a database's server; yield the database's URL through it.

    `users` may log in beside the URL's own. `size` connections of the server serve all that come.
    """
    program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("needs Debian's pgbouncer")
    behind = make_url(url)
    folder = Path(tempfile.mkdtemp(prefix="kuma-pool-", dir="/tmp"))
    host, port = an_address()
    names = {str(behind.username or "postgres"), *users}
    (folder / "users").write_text("".join(f'"{name}" ""\n' for name in sorted(names)))
    ini = folder / "pgbouncer.ini"
    ini.write_text(INI.format(server=_server(behind), host=host, port=port, folder=folder, mode=mode, size=size))
    prefix = unprivileged(folder)
    process = subprocess.Popen([*prefix, program, "-q", ini], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        through = behind.set(host=host, port=port, query={}, username=behind.username or "postgres")
        address = through.render_as_string(hide_password=False)
        wait_for_answer(address, process)
        yield address
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _server(url: URL) -> str:
    folder = url.query.get("host")
    return f"host={folder or url.host} port={url.port or 5432}"
