"""Commands run as root beside a service of another user: what they leave can be opened by that user."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prompt import World, ask, ended, started, until, world

USER = 12345

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="only root, with setpriv, can be another user"
)


async def as_the_user(*words: str) -> asyncio.subprocess.Process:
    """Start the command as another user, who may read everything (the tests' Python, too) and write what is theirs."""
    drop = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
    read = "-all,+dac_read_search"
    # Without the bit access(2), which Alembic asks, leaves the capability out of account.
    caps = (f"--inh-caps={read}", f"--ambient-caps={read}", f"--bounding-set={read}", "--securebits=+no_setuid_fixup")
    return await asyncio.create_subprocess_exec(
        *(*drop, *caps, sys.executable, "-m", "kuma_sync", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@asynccontextmanager
async def service() -> AsyncIterator[World]:
    """A world whose store lies in a folder of the other user, who can reach it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        state = folder / "state"
        state.mkdir(mode=0o700)
        os.chown(state, USER, USER)
        async with world(folder, store={"url": f"sqlite:///{state}/store.db"}) as w:
            w.config.chmod(0o644)
            yield w


def owners(w: World) -> dict[str, tuple[int, int, int]]:
    """Return whose each file of the store is, its group, and its mode."""
    found = {path.name: path.stat() for path in (w.folder / "state").iterdir()}
    return {name: (each.st_uid, each.st_gid, each.st_mode & 0o777) for name, each in found.items()}


@pytest.mark.parametrize("first", ["run --once", "db upgrade"])
async def test_a_store_that_root_makes_belongs_to_its_folders_owner(first: str) -> None:
    async with service() as w:
        alert = w.kuma.raise_alert()
        by_root = await ask(*first.split(), *w.c)
        made = owners(w)
        theirs = await ended(await as_the_user("run", "--once", *w.c))

    assert by_root.code == 0
    assert set(made.values()) == {(USER, USER, 0o600)}
    assert theirs.code == 0, theirs.err
    assert [one.external_id for one in w.irp.incidents.values()] == [f"kuma:kuma:{alert}"]


async def test_commands_of_root_beside_a_killed_service_leave_nothing_it_cannot_open() -> None:
    async with service() as w:
        w.kuma.raise_alert()
        process = await as_the_user("run", *w.c)
        await until(lambda: w.irp.incidents)
        process.kill()
        await ended(process)

        for words in ("status", "alerts", "retry --all", "resync --all --yes", "db prune", "run --once"):
            await ask(*words.split(), *w.c)
        left = owners(w)
        theirs = await ended(await as_the_user("run", "--once", *w.c))

    assert {owner for owner, _group, _mode in left.values()} == {USER}
    assert theirs.code == 0, theirs.err


async def test_a_command_of_root_that_is_killed_leaves_logs_of_the_stores_owner() -> None:
    async with service() as w:
        assert (await ended(await as_the_user("run", "--once", *w.c))).code == 0
        for _ in range(20):
            w.kuma.raise_alert()
        w.irp.knobs.latency = 0.3
        by_root = await started("run", "--once", *w.c)
        await until(lambda: w.irp.incidents)
        by_root.send_signal(signal.SIGKILL)
        await ended(by_root)
        left = owners(w)
        w.irp.knobs.latency = 0
        theirs = await ended(await as_the_user("run", "--once", *w.c))

    assert {"store.db-wal", "store.db-shm", "store.db.lock"} <= left.keys()
    assert {owner for owner, _group, _mode in left.values()} == {USER}
    assert "out of reach" not in theirs.err, "creates in doubt may wait, the store must not"
    assert theirs.out.endswith(" 0 held, 0 parked\n")


async def test_a_lock_that_root_left_is_taken_all_the_same() -> None:
    async with service() as w:
        assert (await ended(await as_the_user("run", "--once", *w.c))).code == 0
        lock = w.folder / "state" / "store.db.lock"
        lock.unlink()
        lock.touch(mode=0o644)

        theirs = await ended(await as_the_user("run", "--once", *w.c))
        status = await ask("status", *w.c)

    assert theirs.code == 0, theirs.err
    assert f"store NOT WRITABLE: {lock} belongs to root, the store's file to user {USER}: " in status.out


async def test_files_of_another_than_the_folders_owner_are_told_by_status() -> None:
    async with service() as w:
        assert (await ask("run", "--once", *w.c)).code == 0
        file = w.folder / "state" / "store.db"
        os.chown(file, 0, 0)

        status, theirs = await ask("status", *w.c), await ended(await as_the_user("run", "--once", *w.c))

    assert f"store NOT WRITABLE: {file} belongs to root, its folder to user {USER}: " in status.out
    assert f"`chown --reference={file.parent} {file}` mends it\n" in status.out
    assert status.out.count("NOT WRITABLE") == 1, "what belongs to the folder's owner is not to be given away"
    assert theirs.code == 1


async def test_a_store_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        async with world(tmp_path, made=False) as w:
            assert (await ask("run", "--once", *w.c)).code == 0
    finally:
        os.umask(before)

    assert {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.glob("store.db*")} == {
        "store.db": "0o600",
        "store.db.lock": "0o600",
    }
