"""`db rebind`: what it costs is said before, it waits for nobody who works, and it advises what the case needs."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from prompt import World, ask, daemon, world
from stores import opened
from terminal import at_terminal

from kuma_sync.store import Identity
from kuma_sync.store.copies import Process

KEYS = (
    "kuma.instance is part of every incident's key: give the old name 'kuma' back instead. After a rebind to 'soc' the "
    "older incidents keep their old keys, and a lost or moved store would make every one of them again."
)
MOVED = {"url": "http://127.0.0.1:2"}


async def owner(w: World) -> Identity | None:
    async with opened(w.tables["store"]["url"]) as store:
        with store.reading() as tx:
            return tx.targets.identity()


async def test_another_instance_is_refused_with_the_advice_to_give_the_old_name_back(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w:
        assert (await ask("run", "--once", *w.c)).code == 0
        renamed = w.configured(kuma={"instance": "soc"})
        refused = [await ask(*words.split(), *renamed) for words in ("run --once", "release", "check")]
        moved = await ask("release", *w.configured(irp=MOVED))

    assert [answer.code for answer in refused] == [2, 2, 2]
    assert all(
        "the store belongs to 'kuma', not 'soc'; give the old name back, for it is part of every incident's key"
        in answer.out + answer.err
        for answer in refused
    )
    assert moved.sentence.endswith("`kuma-sync db rebind` accepts the configured one")
    assert "give the old name back" not in moved.sentence


async def test_a_rebind_to_another_instance_needs_a_yes_and_says_what_it_costs(sqlite_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w:
        assert (await ask("run", "--once", *w.c)).code == 0
        before, renamed = await owner(w), w.configured(kuma={"instance": "soc"})

        nobody = await ask("db", "rebind", *renamed)
        looked = await ask("db", "rebind", "--dry-run", *renamed)
        refused = await at_terminal("db", "rebind", *renamed, answers=["n"])
        untouched = await owner(w)
        agreed = await at_terminal("db", "rebind", *renamed, answers=["y"])
        bound = await owner(w)
        back = await ask("db", "rebind", "--yes", *w.c)

        assert (nobody.code, looked.code, refused.code, agreed.code, back.code) == (2, 0, 1, 0, 0)
        assert "there is no terminal to ask on: say --yes" in nobody.sentence
        assert KEYS in nobody.out
        assert KEYS in looked.out
        assert KEYS in " ".join(refused.text.split())
        assert refused.lines[-1] == "kuma-sync: nothing was done"
        assert untouched == before
        assert bound is not None
        assert bound.kuma_instance == "soc"
        assert await owner(w) == before


async def test_a_rebind_to_another_address_asks_nothing_unless_it_is_to_be_looked_at(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert (await ask("run", "--once", *w.c)).code == 0
        before, moved = await owner(w), w.configured(irp=MOVED)

        looked = await ask("db", "rebind", "--dry-run", *moved)
        after_a_look = await owner(w)
        rebound = await ask("db", "rebind", *moved)
        bound = await owner(w)

    assert (looked.code, rebound.code) == (0, 0)
    assert after_a_look == before
    assert looked.out.splitlines()[-1] == "It would be rebound."
    assert bound is not None
    assert bound.targets["irp"].irp_url == MOVED["url"]


async def test_a_rebind_says_when_incidents_are_to_be_looked_for(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert (await ask("run", "--once", *w.c)).code == 0
        moved = await ask("db", "rebind", *w.configured(irp=MOVED))
        again = await ask("db", "rebind", *w.configured(irp=MOVED))

    assert moved.out.splitlines()[-1] == (
        "Where these are not the same incidents under a new address, `kuma-sync resync --all` looks for them."
    )
    assert "resync" not in again.out


async def test_a_rebind_is_refused_while_a_daemon_works_on_the_store(either_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": either_url}) as w:
        async with daemon(w) as process:
            before = await owner(w)
            refused = await ask("db", "rebind", *w.configured(irp=MOVED))
            untouched = await owner(w)
        rebound = await ask("db", "rebind", *w.configured(irp=MOVED))

    assert refused.code == 1
    assert refused.sentence.startswith(f"kuma-sync: a daemon runs (pid {process.pid} on ")
    assert "): stop all copies first" in refused.err
    assert untouched == before
    assert rebound.code == 0


async def test_a_rebind_is_refused_when_a_daemon_starts_while_it_asks(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert (await ask("run", "--once", *w.c)).code == 0
        before, renamed = await owner(w), w.configured(kuma={"instance": "soc"})
        w.kuma.requests.clear()  # the daemon's first one tells that it works
        async with AsyncExitStack() as stack:
            refused = await at_terminal(
                "db", "rebind", *renamed, answers=["y"], meanwhile=lambda: stack.enter_async_context(daemon(w))
            )
        untouched = await owner(w)

    assert refused.code == 1
    assert "stop all copies first" in " ".join(refused.text.split())
    assert untouched == before


async def test_a_rebind_is_refused_while_a_single_pass_is_under_way(tmp_path: Path, postgres_url: str) -> None:
    once = Process(
        owner="a", host="h", pid=77, version="1", started_at=datetime(2026, 1, 1, tzinfo=UTC), single_pass=True
    )
    async with world(tmp_path, store={"url": postgres_url}) as w:
        assert (await ask("run", "--once", *w.c)).code == 0
        async with opened(postgres_url) as store:
            with store.writing() as tx:
                tx.heartbeats.beat(once, ())
        refused = await ask("db", "rebind", *w.configured(irp=MOVED))

    assert refused.code == 1
    assert refused.sentence.startswith("kuma-sync: a single pass runs (pid 77 on h): stop all copies first")


async def test_a_rebind_is_refused_while_a_process_holds_the_file_and_says_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        assert (await ask("run", "--once", *w.c)).code == 0
        async with opened(w.tables["store"]["url"]) as store:
            with store.hold():
                refused = await ask("db", "rebind", *w.configured(irp=MOVED))
                await store.aclose()

    assert refused.code == 1
    assert refused.sentence.startswith("kuma-sync: a process holds the store's file: stop all copies first")


async def test_the_alerts_of_a_removed_target_go_where_the_routes_say(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        url, token = w.tables["irp"]["url"], w.tables["irp"]["token"]
        north = {"url": url, "token": token}
        two = w.configured(targets={"north": north}, route=[{"target": "north"}])
        w.kuma.raise_alert(id="a")
        assert (await ask("run", "--once", *two)).code == 0

        gone = w.configured(targets={}, route=[])
        refused = await ask("run", "--once", *gone)
        nobody = await ask("db", "rebind", "--target", "north", *gone)
        unknown = await ask("db", "rebind", "--target", "south", "--yes", *gone)
        moved = await ask("db", "rebind", "--target", "north", "--yes", *gone)
        after = await ask("run", "--once", *gone)
        listed = await ask("alerts", "--target", "irp", "--json", *gone)

    assert (refused.code, nobody.code, unknown.code, moved.code, after.code) == (2, 2, 1, 0, 0)
    assert "targets.north: is missing, and has 1 open link; give it back" in refused.err
    assert moved.out.splitlines() == ["1 to irp", "The store knows no target north any more."]
    assert [row["alert_id"] for row in json.loads(listed.out)] == ["a"]


async def test_the_alerts_of_a_target_that_never_worked_go_where_the_routes_say(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        broken = tmp_path / "broken.toml"
        broken.write_text("[profile]\nname = 1\n")
        north = {"url": "http://127.0.0.1:2", "token": "t", "profile": str(broken)}
        two = w.configured(targets={"north": north}, route=[{"target": "north"}])
        w.kuma.raise_alert(id="a")
        assert (await ask("run", "--once", *two)).code == 1

        gone = w.configured(targets={}, route=[])
        refused = await ask("run", "--once", *gone)
        looked = await ask("db", "rebind", "--target", "north", "--dry-run", *gone)
        moved = await ask("db", "rebind", "--target", "north", "--yes", *gone)
        after = await ask("run", "--once", *gone)
        again = await ask("db", "rebind", "--target", "north", "--yes", *gone)

    assert (refused.code, looked.code, moved.code, after.code, again.code) == (2, 0, 0, 0, 1)
    assert "targets.north: is missing, and has 1 open link and 1 job; give it back" in refused.err
    assert looked.out.startswith("Target north has 1 open link and 1 job: what is not closed goes")
    assert moved.out.splitlines()[-2:] == ["1 to irp", "The store knows no target north any more."]
    assert len(w.irp.incidents) == 1
