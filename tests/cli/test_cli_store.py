"""Whose store it is, who holds it, and what `db` does to it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import postgres
import pytest
from mounts import bound
from odd_role import odd_role
from prompt import afresh, ask, daemon, merged, shell, typed, usual, world, write_config
from sqlalchemy import text
from stores import make_the_first, opened

from kuma_sync.store.revisions import head

ABSENT = (
    "status",
    "alerts",
    "show abcdef",
    "retry --all",
    "drop abcdef",
    "resync --all",
    "release",
    "db current",
    "db prune",
)


async def test_a_second_daemon_on_the_same_file_refuses_to_start(tmp_path: Path) -> None:
    async with world(tmp_path) as w, daemon(w):
        second, once, status = await shell("run", *w.c), await ask("run", "--once", *w.c), await ask("status", *w.c)

        assert second.code == once.code == 1
        held = f"another kuma-sync daemon holds {tmp_path}/store.db: stop it first, or let it do the work"
        assert second.err.splitlines()[-1] == f"kuma-sync: {held}"
        assert status.code == 0


@pytest.mark.parametrize("kind", ["mounted", "linked"])
async def test_commands_refuse_a_file_under_a_second_name_and_leave_it_alone(
    tmp_path: Path, sqlite_url: str, kind: str
) -> None:
    file = Path(sqlite_url.removeprefix("sqlite:///"))
    name = tmp_path / "elsewhere" / "other.db"
    name.parent.mkdir()
    async with world(tmp_path, store={"url": f"sqlite:///{name}"}) as w:
        with ExitStack() as stack:
            if kind == "mounted":
                stack.enter_context(bound(file, name))
            else:
                name.hardlink_to(file)
            words = ("status", "retry --all", "db upgrade", "db current", "run --once", "check")
            answers = [await ask(*one.split(), *w.c) for one in words]
            beside = [path.name for path in name.parent.iterdir()]

    said = "is a mount point" if kind == "mounted" else "has 2 hard links"
    assert [answer.code for answer in answers] == [1] * len(words)
    assert [said in answer.out + answer.err for answer in answers] == [True] * len(words)
    assert "Traceback" not in "".join(answer.err for answer in answers)
    assert beside == ["other.db"]


@pytest.mark.parametrize("encoding", ["WIN1251", "SQL_ASCII"])
async def test_a_database_of_another_encoding_is_refused_by_everybody(
    postgres_server: str, tmp_path: Path, encoding: str
) -> None:
    with postgres.encoded(postgres_server, encoding) as url:
        async with world(tmp_path, store={"url": url}) as w:
            words = ("check", "run --once", "db upgrade", "status")
            answers = [*[await ask(*one.split(), *w.c) for one in words], await shell("run", *w.c)]

    assert [answer.code for answer in answers] == [2] * 5
    assert "".join(answers[0].lines("failed")).count("expected UTF8, which holds every text") == 1
    for answer in answers[1:]:
        assert answer.err.splitlines()[-1].startswith("kuma-sync: store.url: this database is encoded in " + encoding)
        assert "createdb --encoding=UTF8" in answer.err
        assert "Traceback" not in answer.err


async def test_a_role_without_a_schema_is_told_so_by_everybody(new_postgres_url: str, tmp_path: Path) -> None:
    with odd_role(new_postgres_url, search_path="nowhere") as url:
        async with world(tmp_path, store={"url": url}) as w:
            words = ("check", "run --once", "db upgrade")
            answers = [*[await ask(*one.split(), *w.c) for one in words], await shell("run", *w.c)]

    assert [answer.code for answer in answers] == [1] * 4
    assert "search_path names no schema that exists" in "".join(answers[0].lines("failed"))
    for answer in answers[1:]:
        assert answer.err.splitlines()[-1].startswith("kuma-sync: the store refuses: the role's search_path")
        assert "Traceback" not in answer.err


@contextmanager
def durable_server() -> Iterator[str]:
    """Run a server that writes to the disk at every commit; that of the tests does not."""
    binaries = postgres.debian_binaries()
    if binaries is None:
        pytest.skip("needs Debian's PostgreSQL")
    server = postgres.Server(binaries, durable=True)
    try:
        server.start()
        yield server.url
    finally:
        server.stop()


@pytest.mark.parametrize("durable", [True, False])
async def test_check_warns_of_a_server_that_may_lose_what_it_acknowledged(
    tmp_path: Path, durable: bool, request: pytest.FixtureRequest
) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(durable_server()) if durable else request.getfixturevalue("postgres_url")
        async with world(tmp_path, store={"url": url}) as w:
            answer = await ask("check", *w.c)

    assert answer.code == 0
    assert any("fsync off" in line for line in answer.lines("warning")) is not durable


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with world(tmp_path, web={"listen": f"127.0.0.1:{port}"}) as w:
            answer = await ask("run", *w.c)

    assert answer.code == 1
    assert answer.err.splitlines()[-1] == (
        f"kuma-sync: web.listen: cannot listen on 127.0.0.1:{port}: another program has it"
    )


async def test_another_irps_store_is_refused_until_it_is_rebound(sqlite_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w:
        assert (await ask("run", "--once", *w.c)).code == 0
        moved = w.configured(irp={"url": "http://127.0.0.1:2"})

        refused = [await ask(*words.split(), *moved) for words in ("run --once", "status", "release", "db prune")]
        rebound = await ask("db", "rebind", *moved)
        accepted = await ask("status", *moved)

        assert [answer.code for answer in refused] == [2, 2, 2, 2]
        assert {answer.err.splitlines()[-1].split(": ")[1] for answer in refused} == {"irp.url"}
        assert rebound.lines("was")[0].endswith(f"IRP {w.tables['irp']['url']}, profile security-vision")
        assert rebound.lines("now")[0].endswith("IRP http://127.0.0.1:2, profile security-vision")
        assert accepted.code == 0
        async with opened(sqlite_url) as store:
            with store.reading() as tx:
                assert [(entry.actor.split(":")[0], entry.action) for entry in tx.audit.history("")] == [
                    ("operator", "rebind")
                ]


async def test_a_newer_schema_is_refused_by_everyone(empty_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": empty_url}) as w:
        async with opened(empty_url) as store:
            with store.engine.begin() as connection:
                connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

        words = ("run --once", "status", "db current", "db upgrade")
        refused = [await ask(*one.split(), *w.c) for one in words]
        checked = await ask("check", *w.c)

        assert [answer.code for answer in refused] == [1, 1, 1, 1]
        assert all(f"newer kuma-sync (schema 9999, this one knows {head()})" in answer.err for answer in refused)
        assert checked.code == 1
        assert "newer kuma-sync" in "".join(checked.lines("failed"))


async def test_an_older_schema_is_named_with_what_brings_it_up_to_date(empty_url: str, tmp_path: Path) -> None:
    make_the_first(empty_url)
    path = write_config(tmp_path / "config.toml", merged(usual(tmp_path), {"store": {"url": empty_url}}))

    words = (*(one for one in ABSENT if one != "db current"), "close abcdef --reason responded", "render abcdef")
    refused = [await ask(*one.split(), "-c", str(path)) for one in (*words, "db rebind")]
    shown, upgraded, after = [
        await ask(*one.split(), "-c", str(path)) for one in ("db current", "db upgrade", "status")
    ]

    assert {answer.code for answer in refused} == {1}
    assert {answer.sentence for answer in refused} == {
        f"kuma-sync: the store has schema 0001, this needs {head()}: `kuma-sync db upgrade` brings it up to date, "
        "and so does `kuma-sync run`"
    }
    assert shown.out == f"0001 (this program knows {head()})\n"
    assert upgraded.out == f"The schema is {head()} now, it was 0001.\n"
    assert after.code == 0


async def test_an_empty_store_gets_its_tables_and_is_then_current(empty_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": empty_url}) as w:
        first, again, current = [await ask("db", word, *w.c) for word in ("upgrade", "upgrade", "current")]

        assert first.out == f"The schema is {head()} now, it was empty.\n"
        assert again.out == f"The schema is {head()} already.\n"
        assert current.out == f"{head()} (the newest)\n"


async def test_a_directory_one_may_not_enter_is_a_sentence_too(tmp_path: Path) -> None:
    """Root may enter every directory, except without its capabilities."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o000)
    path = write_config(tmp_path / "config.toml", merged(usual(folder), {}))

    try:
        status, check = [await afresh(word, "-c", str(path), unprivileged=True) for word in ("status", "check")]
    finally:
        folder.chmod(0o700)

    assert status.code == check.code == 1
    assert status.sentence == f"kuma-sync: the store is out of reach: {folder}/store.db: Permission denied"
    (failed,) = [line for line in check.lines("failed") if "store " in line]
    assert failed.endswith(f"sqlite:///{folder}/store.db: Permission denied; may this user enter {folder}?")
    assert check.err == ""


async def test_prune_removes_what_is_settled_and_old_and_says_how_much(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        closed, kept = w.kuma.raise_alert(), w.kuma.raise_alert()
        await ask("run", "--once", *w.c)
        w.kuma.close(closed)
        # The first pass hears of the closing by asking for the alert; only the next does without it.
        assert [(await ask("run", "--once", *w.c)).code for _ in range(2)] == [0, 0]
        long_ago = (datetime.now(UTC) - timedelta(days=91)).isoformat().replace("+00:00", "Z")
        async with opened(w.tables["store"]["url"]) as store:
            with store.engine.begin() as connection:
                connection.execute(text(f"UPDATE links SET changed_at = '{long_ago}'"))
                connection.execute(text(f"UPDATE alerts SET shown_at = '{long_ago}', last_seen = '{long_ago}'"))

        pruned = await ask("db", "prune", *w.c)

        assert pruned.out == "1 settled alerts older than 90d removed.\n"
        assert [row["alert_id"] for row in (await ask("alerts", "--json", *w.c)).json] == [kept]


def test_a_store_that_is_not_there_is_not_made_by_looking(tmp_path: Path) -> None:
    path = write_config(tmp_path / "config.toml", merged(usual(tmp_path), {}))

    answers = [typed(*words.split(), "-c", str(path)) for words in ABSENT]

    assert {answer.code for answer in answers} == {1}
    # What follows asks about the service of this very machine, where it has one.
    assert {answer.sentence.partition("; or is ")[0] for answer in answers} == {
        f"kuma-sync: there is no store at {tmp_path}/store.db yet: `kuma-sync run` makes it"
    }
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.toml"]
