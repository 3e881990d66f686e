"""The SQLite file under a daemon: under another name, moved, deleted, replaced. Nothing is doubled, or promised."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from addresses import somewhere
from mounts import bound
from plain_http import plain_client
from stage import Child, Stage, eventually, staged

TOKEN = "door-token"


@dataclass(frozen=True, kw_only=True)
class ClosingIntake:
    """A daemon's doors, asked from outside."""

    listen: str
    client: httpx.AsyncClient

    async def close(self, alert_id: str) -> httpx.Response:
        """Hand a closing in."""
        body = {"id": alert_id, "reason": "responded"}
        return await self.client.post(f"http://{self.listen}/api/v1/alerts/close", json=body)

    async def ready(self) -> dict[str, Any]:
        """Return what /readyz says, its status among it."""
        try:
            answer = await self.client.get(f"http://{self.listen}/readyz")
        except httpx.TransportError:
            return {"status": 0}
        return {"status": answer.status_code, **answer.json()}

    async def is_ready(self) -> bool:
        """Tell whether it is ready."""
        return bool((await self.ready())["status"] == 200)

    async def store(self) -> str:
        """Return why the store is not well, if it is not."""
        found = await self.ready()
        return str(found["parts"]["store"]["reason"]) if found["status"] == 503 else ""


@asynccontextmanager
async def at_work(stage: Stage) -> AsyncIterator[tuple[Child, ClosingIntake]]:
    """Run a daemon with its doors, and wait until it is ready; it is killed after the block if it still lives."""
    listen = somewhere()
    stage.configure(web={"listen": listen, "tokens": {"irp": TOKEN}})
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with plain_client(headers=headers, timeout=40) as client:
        door = ClosingIntake(listen=listen, client=client)
        child = stage.start()
        await eventually(door.is_ready)
        yield child, door
        if child.process.returncode is None:
            child.process.kill()
            await child.ended()


def own_folder(tmp_path: Path, sqlite_url: str) -> Path:
    """Move the store into a folder of its own; return the file."""
    file = tmp_path / "data" / "store.db"
    file.parent.mkdir()
    shutil.move(sqlite_url.removeprefix("sqlite:///"), file)
    return file


def words(child: Child) -> str:
    """Return what it said last, for a human."""
    return child.log.read_text().splitlines()[-1]


# Under another name


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("mounted file", "is a mount point"),
        ("hard link", "has 2 hard links"),
        ("symbolic link", "another kuma-sync daemon holds"),
        ("mounted folder", "another kuma-sync daemon holds"),
        ("lock removed", "another kuma-sync daemon holds"),
    ],
)
async def test_a_second_daemon_on_the_same_file_under_another_name_is_refused(
    tmp_path: Path, sqlite_url: str, kind: str, said: str
) -> None:
    file = own_folder(tmp_path, sqlite_url)
    async with staged(tmp_path, f"sqlite:///{file}") as stage, stage.daemon():
        with ExitStack() as stack:
            stage.configure(store={"url": f"sqlite:///{other_name(stack, file, tmp_path / 'other', kind)}"})
            second = stage.start()
            code = await second.ended()
            alerts = [stage.kuma.raise_alert() for _ in range(5)]
            await eventually(lambda: all(stage.incidents(alert_id) for alert_id in alerts))

    assert code == 1
    assert words(second).startswith("kuma-sync: ")
    assert said in words(second)
    assert "Traceback" not in second.log.read_text()
    assert len(stage.wrote("create")) == 5


def other_name(stack: ExitStack, file: Path, folder: Path, kind: str) -> Path:
    """Make another name of a file; return it."""
    if kind == "mounted folder":
        stack.enter_context(bound(file.parent, folder))
        return folder / file.name
    if kind == "lock removed":
        Path(f"{file}.lock").unlink()
        return file
    folder.mkdir()
    name = folder / "other.db"
    match kind:
        case "mounted file":
            stack.enter_context(bound(file, name))
        case "hard link":
            name.hardlink_to(file)
        case _:
            name.symlink_to(file)
    return name


# Away


@pytest.mark.parametrize("kind", ["deleted", "moved", "folder renamed", "logs moved too"])
async def test_a_file_that_goes_away_under_the_daemon_is_told_and_nothing_is_promised(
    tmp_path: Path, sqlite_url: str, kind: str
) -> None:
    file = own_folder(tmp_path, sqlite_url)
    async with staged(tmp_path, f"sqlite:///{file}") as stage:
        alert_id = stage.kuma.raise_alert()
        async with at_work(stage) as (child, door):
            await eventually(lambda: stage.incidents(alert_id))
            back = take_away(file, tmp_path, kind)
            refused = await door.close(alert_id)
            reason = await eventually(door.store)
            told = await eventually(lambda: child.says("store_unavailable"))
            left = sorted(path.name for path in file.parent.iterdir()) if file.parent.exists() else []
            if back is not None:
                back()
                await eventually(door.is_ready)
                taken = await door.close(alert_id)
                await eventually(lambda: stage.kuma.closes)

    assert (refused.status_code, refused.json()["message"]) == (503, "store unavailable")
    assert "moved or deleted" in refused.json()["details"]
    assert "moved or deleted" in reason
    assert "moved or deleted" in told[0]["reason"]
    assert "store.db" not in left, "nobody makes another one in its place"
    if back is not None:
        assert taken.status_code == 204
        assert stage.kuma.closes == [(alert_id, "responded")]


def take_away(file: Path, elsewhere: Path, kind: str) -> Any:
    """Take the store's file away; return what puts it back, if anything can."""
    match kind:
        case "deleted":
            file.unlink()
            return None
        case "moved":
            away = elsewhere / "moved.db"
            file.rename(away)
            return lambda: away.rename(file)
        case "folder renamed":
            folder = elsewhere / "renamed"
            file.parent.rename(folder)
            return lambda: folder.rename(file.parent)
        case _:
            pairs = [(Path(f"{file}{log}"), elsewhere / f"moved{log}") for log in ("", "-wal", "-shm")]
            for here, there in pairs:
                here.rename(there)
            return lambda: [there.rename(here) for here, there in pairs]


# Replaced


@pytest.mark.parametrize("kind", ["another store", "an empty file", "its log removed", "its logs removed"])
async def test_a_file_that_is_replaced_under_the_daemon_ends_it_with_a_sentence(
    tmp_path: Path, sqlite_url: str, migrated_file: Path, kind: str
) -> None:
    file = own_folder(tmp_path, sqlite_url)
    async with staged(tmp_path, f"sqlite:///{file}") as stage:
        alert_id = stage.kuma.raise_alert()
        async with at_work(stage) as (child, door):
            await eventually(lambda: stage.incidents(alert_id))
            replace_file(file, migrated_file, kind)
            refused = await door.close(alert_id)
            code = await child.ended()

    assert refused.status_code == 503
    assert code == 1
    assert words(child).startswith("kuma-sync: the store was ")
    assert str(file) in words(child)
    assert child.says("store_replaced")
    assert "Traceback" not in child.log.read_text()


async def test_a_database_that_is_emptied_under_the_daemon_ends_it_with_a_sentence(
    tmp_path: Path, new_postgres_url: str
) -> None:
    async with staged(tmp_path, new_postgres_url) as stage:
        alert_id = stage.kuma.raise_alert()
        async with at_work(stage) as (child, door):
            await eventually(lambda: stage.incidents(alert_id))
            await eventually(lambda: emptied(new_postgres_url))
            refused = await door.close(alert_id)
            code = await child.ended()

    assert refused.status_code == 503
    assert code == 1
    assert words(child) == "kuma-sync: the store was replaced: its tables are not in this database any more"
    assert "Traceback" not in child.log.read_text()


def emptied(url: str) -> bool:
    """Remove all tables of a database; false where that would have been a deadlock with whoever uses them."""
    with psycopg.connect(url) as operator:
        try:
            operator.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        except psycopg.errors.DeadlockDetected:
            return False
    return True


def replace_file(file: Path, migrated: Path, kind: str) -> None:
    match kind:
        case "another store" | "an empty file":
            fresh = file.with_name("fresh.db")
            shutil.copy(migrated, fresh) if kind == "another store" else fresh.touch()
            fresh.rename(file)
        case "its log removed":
            Path(f"{file}-wal").unlink()
        case _:
            for log in ("-wal", "-shm"):
                Path(f"{file}{log}").unlink()


@pytest.mark.parametrize("kind", ["its log removed", "its logs removed"])
async def test_what_was_promised_before_a_log_was_removed_is_kept(tmp_path: Path, sqlite_url: str, kind: str) -> None:
    file = own_folder(tmp_path, sqlite_url)
    async with staged(tmp_path, f"sqlite:///{file}") as stage:
        alert_id = stage.kuma.raise_alert()
        stage.kuma.faults.add("status", match="alerts/close", method="POST", code=500)
        async with at_work(stage) as (child, door):
            await eventually(lambda: stage.incidents(alert_id))
            promised = await door.close(alert_id)
            replace_file(file, file, kind)
            await child.ended()
        stage.kuma.faults.clear()
        async with at_work(stage):
            await eventually(lambda: stage.kuma.closes)

    assert promised.status_code == 204
    assert stage.kuma.closes == [(alert_id, "responded")]
    assert len(stage.wrote("create")) == 1


async def test_an_old_log_is_not_played_into_the_file_that_replaced_its_own(
    tmp_path: Path, sqlite_url: str, migrated_file: Path
) -> None:
    file = own_folder(tmp_path, sqlite_url)
    async with staged(tmp_path, f"sqlite:///{file}") as stage:
        alert_id = stage.kuma.raise_alert()
        async with at_work(stage) as (child, _door):
            await eventually(lambda: stage.incidents(alert_id))
            replace_file(file, migrated_file, "another store")
            await child.ended()
        log = Path(f"{file}-wal")

        assert not log.exists() or log.stat().st_size == 0
        assert await stage.run_once() == 0

    assert len(stage.wrote("create")) == 1, "found again, for the new store does not know it"
