"""`status` and a real daemon: whether it runs, and six troubles, each told by `status` alone."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from addresses import somewhere
from forked import Forked, command, fork
from plain_http import plain_client
from prompt import NOWHERE, Answered, ask, ended, merged, started, world, write_config
from sqlalchemy import text
from stores import opened
from test_cli_asking import HELD, with_held

from kuma_sync import __version__


@asynccontextmanager
async def running(*config: str) -> AsyncIterator[Forked]:
    """Run the daemon, whatever its remotes do, until the block ends."""
    process = fork(Path(config[-1]).with_suffix(".log"), command, "run", *config, env=os.environ)
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def told(config: tuple[str, ...], said: Callable[[Answered], bool], *, seconds: float = 30) -> Answered:
    """Ask `status` until it says something."""
    last = time.monotonic() + seconds
    while True:
        answer = await ask("status", "--exit-code", *config)
        if said(answer):
            return answer
        assert time.monotonic() < last, answer
        await asyncio.sleep(0.1)


def works(answer: Answered) -> bool:
    return answer.code == 0


async def test_a_daemon_that_runs_is_told_and_so_is_one_that_does_not(tmp_path: Path, database_url: str) -> None:
    async with world(tmp_path, store={"url": database_url}) as w:
        before = await ask("status", "--exit-code", *w.c)
        async with running(*w.c) as process:
            during = await told(w.c, works)
            as_json = (await ask("status", "--json", *w.c)).json
            process.terminate()
            await process.wait()
            after = await ask("status", "--exit-code", *w.c)

    assert (before.code, after.code) == (3, 3)
    assert before.out.splitlines()[0].startswith("NOT RUNNING: no daemon works on ")
    assert after.out.splitlines()[0].startswith("NOT RUNNING: no daemon works on ")
    assert during.out.startswith("daemon running since ")
    assert during.out.splitlines()[0].endswith(f"(pid {process.pid}, version {__version__})")
    assert as_json["verdict"] == "works"
    assert [one["process"]["pid"] for one in as_json["running"]["daemons"]] == [process.pid]


async def test_what_could_be_shown_ends_with_0_whatever_it_shows(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.knobs.strays = ["not an alert"]
        assert (await ask("run", "--once", *w.c)).code == 1
        plain, as_json = await ask("status", *w.c), await ask("status", "--json", *w.c)

    assert "NOT RUNNING" in plain.out
    assert "1 parked" in plain.out
    assert (plain.code, as_json.code) == (0, 0)


@pytest.mark.parametrize("words", ["status", "alerts", "show 5f0c2a3e"])
async def test_a_refused_configuration_is_named_where_there_is_no_store_to_look_at(tmp_path: Path, words: str) -> None:
    async with world(tmp_path) as w:
        wrong = {"poll": {"interval": "soon"}, "store": {"url": f"sqlite:///{tmp_path}/none.db"}}
        answer = await ask(*words.split(), *w.configured(**wrong))

    assert answer.code == 2
    assert answer.sentence.startswith("kuma-sync: poll.interval: expected a duration")


async def test_a_killed_daemon_is_not_running_at_once_on_a_file(tmp_path: Path) -> None:
    async with world(tmp_path) as w, running(*w.c) as process:
        await told(w.c, works)

        process.kill()
        await process.wait()
        answer = await ask("status", "--exit-code", *w.c)

    assert answer.code == 3
    assert "NOT RUNNING" in answer.out
    assert f"last heard 20{answer.out.split('last heard 20')[1][:17]}Z" in answer.out
    assert f"(pid {process.pid}, " in answer.out


async def test_a_killed_daemon_is_not_running_a_minute_later_on_postgres(tmp_path: Path, postgres_url: str) -> None:
    async with world(tmp_path, store={"url": postgres_url}) as w, running(*w.c) as process:
        await told(w.c, works)

        process.kill()
        await process.wait()
        at_once, later = await ask("status", "--exit-code", *w.c), {}
        for seconds in (45, 61):
            async with opened(postgres_url) as store:
                with store.engine.begin() as connection:
                    connection.execute(
                        text(f"UPDATE heartbeats SET heard_at = clock_timestamp() - interval '{seconds} seconds'")
                    )
            later[seconds] = await ask("status", "--exit-code", *w.c)

    assert at_once.code == 0, "nothing tells yet"
    assert later[45].code == 1
    assert re.search(rf"pid {process.pid} was not heard for (4[5-9]|5\d) s", later[45].out)
    assert later[61].code == 3


async def test_a_scrape_shows_the_queue_of_that_moment(tmp_path: Path, sqlite_url: str) -> None:
    listen = somewhere()
    door = {"listen": listen, "metrics_public": True}
    async with (
        world(tmp_path, store={"url": sqlite_url}, web=door) as w,
        running(*w.c),
        plain_client(f"http://{listen}") as client,
    ):
        await told(w.c, works)
        w.irp.faults.add("status", code=503, method="POST")
        w.kuma.raise_alert()
        while not w.irp.faults.fired:
            await asyncio.sleep(0.02)
        shown = (await client.get("/metrics")).text

    assert sum(float(line.split()[-1]) for line in shown.splitlines() if 'depth{queue="delivery"' in line) == 1


async def test_a_refused_token_is_told(tmp_path: Path, sqlite_url: str) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w:
        w.irp.token = "another"
        w.kuma.raise_alert()
        async with running(*w.c):
            answer = await told(w.c, lambda one: "IRP STOPPED" in one.out)

    assert answer.code == 1
    assert "\nIRP STOPPED: token refused" in answer.out


async def test_a_kuma_out_of_reach_is_told(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        config = w.configured(kuma={"url": NOWHERE})
        async with running(*config):
            answer = await told(config, lambda one: "KUMA " in one.out.split("\n\n")[0])

    assert answer.code == 1
    assert "connection refused" in answer.out.split("\n\n")[0]


async def test_a_store_whose_folder_cannot_be_written_is_told(tmp_path: Path) -> None:
    owner = 12345
    folder = tmp_path / "state"
    folder.mkdir()
    async with world(tmp_path, store={"url": f"sqlite:///{folder}/store.db"}) as w:
        assert (await ask("run", "--once", *w.c)).code == 0
        if os.geteuid() != 0:
            pytest.skip("only root can give a file to another user")
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner, owner)
        fine = await ask("status", "--exit-code", *w.c)
        folder.chmod(0o500)
        answer = await ask("status", "--exit-code", *w.c)

    assert "NOT WRITABLE" not in fine.out
    assert answer.out.splitlines()[1] == (
        f"store NOT WRITABLE: user {owner}, to whom the store belongs, cannot write to its folder {folder}"
    )


@pytest.mark.parametrize("tables", [{"poll": {"intervall": "5s"}}, {"irp": {"profile": "nosuch"}}])
async def test_a_configuration_refused_by_a_reload_is_told_and_so_is_its_end(
    tmp_path: Path, sqlite_url: str, tables: dict[str, dict[str, str]]
) -> None:
    ((section, keys),) = tables.items()
    async with world(tmp_path, store={"url": sqlite_url}) as w, running(*w.c) as process:
        await told(w.c, works)

        write_config(w.config, merged(w.tables, tables))
        on_disk = await ask("status", "--exit-code", *w.c)
        process.send_signal(signal.SIGHUP)
        refused = await told(w.c, lambda one: "(since " in one.out.split("\n\n")[0])
        write_config(w.config, w.tables)
        process.send_signal(signal.SIGHUP)
        again = await told(w.c, works)

    assert "; the file was changed at " in on_disk.out.split("\n\n")[0].replace("\n    ", " ")
    for answer in (on_disk, refused):
        assert answer.code == 1
        assert f"\nconfiguration on disk refused: {section}.{next(iter(keys))}: " in answer.out
        assert answer.out.startswith("daemon running since ")
    assert "configuration on disk refused" not in again.out


async def test_a_key_that_needs_a_restart_is_told_as_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as w, running(*w.c) as process:
        await told(w.c, works)

        write_config(w.config, merged(w.tables, {"web": {"listen": "127.0.0.1:1"}}))
        process.send_signal(signal.SIGHUP)
        answer = await told(w.c, lambda one: one.code == 1)

    assert "\nconfiguration on disk refused: web.listen: cannot change while the daemon runs" in answer.out


async def test_an_address_changed_on_disk_is_told_and_hides_no_daemon(tmp_path: Path) -> None:
    async with world(tmp_path) as w, running(*w.c) as process:
        await told(w.c, works)
        write_config(w.config, merged(w.tables, {"irp": {"url": "http://127.0.0.1:2"}}))

        during = await ask("status", "--exit-code", *w.c)
        process.kill()
        await process.wait()
        after = await ask("status", "--exit-code", *w.c)

    assert during.code == 1
    assert during.out.startswith("daemon running since ")
    assert "\nconfiguration on disk refused: irp.url: the store belongs to " in during.out
    assert (after.code, after.out) == (2, "")


async def test_a_file_that_is_no_toml_is_one_sentence(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert (await ask("run", "--once", *w.c)).code == 0
        w.config.write_text("[kuma\n", encoding="utf-8")

        answer = await ask("status", "--exit-code", *w.c)

    assert answer.code == 2
    assert "is not valid TOML" in answer.sentence


async def test_what_the_brake_holds_is_told_in_the_first_lines(tmp_path: Path) -> None:
    async with with_held(tmp_path) as w:
        answer = await ask("status", "--exit-code", *w.c)

    counted = "2 to close in the IRP, 2 to close in KUMA, 3 to create in the IRP"
    assert answer.code == 3
    assert answer.out.splitlines()[1].startswith(f"{len(HELD)} held by the brake ({counted}): ")


async def test_of_two_copies_the_one_that_stands_by_is_told(tmp_path: Path, postgres_url: str) -> None:
    async with world(tmp_path, store={"url": postgres_url}) as w, running(*w.c) as one, running(*w.c) as other:
        answer = await told(w.c, lambda said: "stands by" in said.out and said.code == 0)

    first, second = answer.out.splitlines()[:2]
    assert {f"pid {process.pid}," in first + second for process in (one, other)} == {True}
    assert (first + second).count("stands by") == 1


async def frozen_and_silent(process: asyncio.subprocess.Process, file: Path) -> None:
    """Freeze a daemon, but not in a transaction, which would keep all others out; let its last heartbeat be old."""
    while True:
        process.send_signal(signal.SIGSTOP)
        try:
            with closing(sqlite3.connect(file, timeout=0.1)) as store, store:
                store.execute("UPDATE heartbeats SET heard_at = '2026-01-01T00:00:00.000000Z'")
                return
        except sqlite3.OperationalError:
            process.send_signal(signal.SIGCONT)
            await asyncio.sleep(0.05)


async def test_a_frozen_daemon_is_told_as_silent_and_not_as_running(tmp_path: Path) -> None:
    async with world(tmp_path) as w, running(*w.c) as process:
        await told(w.c, works)
        await frozen_and_silent(process, tmp_path / "store.db")

        answer = await ask("status", "--exit-code", *w.c)
        process.send_signal(signal.SIGCONT)

    assert answer.code == 1
    assert answer.out.startswith("daemon SILENT: a process holds ")


@pytest.mark.parametrize(
    "words", ["close R000 --reason responded", "resync R000", "resync --all --yes", "release --yes"]
)
async def test_an_order_without_a_daemon_says_that_it_waits_for_one(tmp_path: Path, words: str) -> None:
    waits = "No daemon is running: this waits on the queue until one does"
    async with with_held(tmp_path) as w:
        alert = list(w.kuma.alerts)[5]
        command = [word.replace("R000", alert) for word in words.split()]
        alone = await ask(*command, *w.c)

    assert alone.code == 0
    assert waits in alone.out


async def test_an_order_with_a_daemon_says_nothing_about_waiting(tmp_path: Path, sqlite_url: str) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w, running(*w.c):
        alert = w.kuma.raise_alert()
        await told(w.c, lambda one: "1 open" in one.out)

        closed = await ask("close", alert, "--reason", "responded", "--wait", *w.c)
        nothing = await ask("close", alert, "--reason", "responded", *w.c)

    assert "No daemon" not in closed.out + nothing.out
    assert closed.out.splitlines()[-1] == "Closed."


async def test_a_wait_without_a_daemon_says_so_at_once_and_ends_when_one_comes(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        alert = w.kuma.raise_alert()
        assert (await ask("run", "--once", *w.c)).code == 0
        waiting = await started("close", alert, "--reason", "responded", "--wait", *w.c)
        assert waiting.stdout is not None
        said = [(await waiting.stdout.readline()).decode() for _ in range(2)]
        async with running(*w.c):
            answer = await ended(waiting)

    assert said[1].startswith("No daemon is running: this waits")
    assert (answer.code, answer.out) == (0, "Closed.\n")


async def test_a_look_leaves_no_file_beside_the_store(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert (await ask("run", "--once", *w.c)).code == 0
        before = sorted(path.name for path in tmp_path.iterdir())

        await ask("status", "--exit-code", *w.c)

        assert sorted(path.name for path in tmp_path.iterdir()) == before
