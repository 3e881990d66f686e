"""Makes a small disk for the store, so that it can be filled: under the SQLite file, or PostgreSQL's tables."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import postgres
import psycopg

SIZE = "256m"


@contextlib.contextmanager
def small_disk(*, say: Callable[[str], None]) -> Iterator[Path | None]:
    """Mount a small disk that anybody may write to; None, and why, where that is not possible."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        say("left out: full disk (only root can mount a small one)")
        yield None
        return
    # Not in the storm's own folder: PostgreSQL runs as another user, whom pytest's folders do not let through.
    disk = Path(tempfile.mkdtemp(prefix="kuma-disk-", dir="/tmp"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=1777", "tmpfs", str(disk)]
    try:
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            say("left out: full disk (a tmpfs cannot be mounted here)")
            yield None
            return
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=False, capture_output=True)
        disk.rmdir()


@contextlib.contextmanager
def tables_on(disk: Path, maintenance: str, database: str) -> Iterator[None]:
    """Put a PostgreSQL database's tables on a disk. Its log stays where it is: so it survives a full one."""
    space = disk / "tables"
    space.mkdir()
    if os.geteuid() == 0:
        account = pwd.getpwnam(postgres.ACCOUNT)
        os.chown(space, account.pw_uid, account.pw_gid)
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
        connection.execute(f'ALTER DATABASE "{database}" SET TABLESPACE small')
    try:
        yield
    finally:
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute(f'ALTER DATABASE "{database}" SET TABLESPACE pg_default')
            connection.execute("DROP TABLESPACE small")
