"""`db backup`: a whole copy beside a working daemon, or nothing; and what putting an older one back does."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

from mounts import small_disk
from prompt import ask, daemon, shell, until, world
from stores import opened

from kuma_sync.sim.comparison import compare


def counts(file: Path) -> dict[str, int]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        return {
            table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # our own names
            for table in ("alerts", "links", "audit")
        }


async def test_a_backup_beside_a_daemon_that_writes_is_whole_and_private(tmp_path: Path) -> None:
    async with world(tmp_path) as w, daemon(w):
        for round_ in range(5):
            for _ in range(10):
                w.kuma.raise_alert()
            await until(lambda: len(w.irp.incidents) >= round_ * 10 + 1)  # noqa: B023  # asked at once
            made = await ask("db", "backup", str(tmp_path / f"backup-{round_}.db"), *w.c)
            assert (made.code, made.err) == (0, "")
            assert made.out.startswith(f"The store is in {tmp_path}/backup-{round_}.db as it was at this moment: ")
        await until(lambda: len(w.irp.incidents) == 50)

    found = [counts(tmp_path / f"backup-{round_}.db") for round_ in range(5)]
    assert all(one["alerts"] == one["links"] > 0 for one in found)
    assert [one["alerts"] for one in found] == sorted(one["alerts"] for one in found)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("backup-*")} == {0o600}
    assert {path.name for path in tmp_path.glob("backup-*")} == {f"backup-{round_}.db" for round_ in range(5)}


async def test_a_file_that_is_there_is_never_written_over(sqlite_url: str, tmp_path: Path) -> None:
    there, broken = tmp_path / "there.db", tmp_path / "link.db"
    there.write_text("mine")
    broken.symlink_to(tmp_path / "nowhere.db")
    async with world(tmp_path, store={"url": sqlite_url}) as w:
        answers = [await ask("db", "backup", str(path), *w.c) for path in (there, broken, tmp_path / "store.db")]

    assert [answer.code for answer in answers] == [1, 1, 1]
    assert answers[0].sentence == f"kuma-sync: {there} exists already and stays as it is"
    assert there.read_text() == "mine"
    assert not (tmp_path / "nowhere.db").exists()


async def test_what_cannot_be_written_is_said_in_one_sentence_and_leaves_nothing(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w:
        missing = await ask("db", "backup", str(tmp_path / "no-folder" / "x.db"), *w.c)
        none = await ask(
            "db", "backup", str(tmp_path / "x.db"), *w.configured(store={"url": f"sqlite:///{tmp_path}/no.db"})
        )

    assert (missing.code, none.code) == (1, 1)
    assert missing.sentence.endswith("no-folder/x.db: No such file or directory")
    assert "there is no store at" in none.sentence
    assert not (tmp_path / "x.db").exists()
    assert list(tmp_path.glob("*.part*")) == []


async def test_a_full_disk_ends_it_with_one_sentence_and_leaves_nothing(sqlite_url: str, tmp_path: Path) -> None:
    small = tmp_path / "small"
    with small_disk(small):
        (small / "filler").write_bytes(bytes(950_000))
        async with world(tmp_path, store={"url": sqlite_url}) as w:
            full = await ask("db", "backup", str(small / "x.db"), *w.c)
        left = [path.name for path in small.iterdir()]

    assert full.code == 1
    assert "the backup was not made" in full.sentence
    assert left == ["filler"]


async def test_postgresql_is_backed_up_by_its_own_tool(postgres_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": postgres_url}) as w:
        answer = await ask("db", "backup", str(tmp_path / "x.db"), *w.c)

    assert answer.code == 2
    assert "pg_dump" in answer.err
    assert not (tmp_path / "x.db").exists()


async def test_an_older_backup_put_back_under_traffic_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        raised = [w.kuma.raise_alert() for _ in range(6)]
        async with daemon(w):
            await until(lambda: len(w.irp.incidents) == 6)
            assert (await ask("db", "backup", str(tmp_path / "backup.db"), *w.c)).code == 0
            raised += [w.kuma.raise_alert() for _ in range(6)]
            await until(lambda: len(w.irp.incidents) == 12)
            w.kuma.grow(raised[0])
            w.kuma.close(raised[7])
            await until(lambda: any(deed == "close" for deed, _, _ in w.irp.writes))
        w.kuma.raise_alert()
        _put_back(tmp_path)
        w.kuma.raise_alert()
        assert (await shell("resync", "--all", "--yes", *w.c)).code == 0
        once = await shell("run", "--once", *w.c, env={"KUMA_SYNC_POLL__UNSEEN": "all"})
        assert once.code == 0, once.err
        async with daemon(w):
            for _ in range(3):
                w.kuma.raise_alert()
            w.kuma.grow(raised[3])
            await until(lambda: len(w.irp.incidents) == 17 and compare(w.kuma, w.irp).agrees)
        doubled = w.irp.doubled()

    assert doubled == []


def _put_back(folder: Path) -> None:
    for rest in ("-wal", "-shm"):
        (folder / f"store.db{rest}").unlink(missing_ok=True)
    shutil.copy(folder / "backup.db", folder / "store.db")


async def test_a_backup_opens_as_a_store_and_needs_no_log_beside_it(sqlite_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w:
        assert (await ask("run", "--once", *w.c)).code == 0
        assert (await ask("db", "backup", str(tmp_path / "b.db"), *w.c)).code == 0
        status = await ask("status", *w.configured(store={"url": f"sqlite:///{tmp_path}/b.db"}))

    async with opened(f"sqlite:///{tmp_path}/b.db") as store:
        identity = await store.read(lambda tx: tx.targets.identity())
    assert identity is not None
    assert status.out.startswith("NOT RUNNING: no daemon works on "), status.err
