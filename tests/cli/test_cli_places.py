"""Which store a command means, and what is told instead of beginning a second one."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path

import pytest
from addresses import somewhere
from locked import locked
from prompt import World, ask, daemon, shell, until, world

from kuma_sync.app.build import open_store
from kuma_sync.app.identity import meant
from kuma_sync.app.processes import refuse_second
from kuma_sync.app.usable_store import assure_usable
from kuma_sync.core.errors import ConfigError, StoreHeld, StoreUnavailable
from kuma_sync.settings import load
from kuma_sync.store.file import StoreFile, held

RELATIVE = {"url": "sqlite:///kuma-sync.db"}
LOOKS = ("status", "alerts", "show abcdef", "retry --all", "resync --all", "db current", "db prune", "db rebind")
BEGINS = ("run --once", "run", "db upgrade")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Call every command in a folder that is not the configuration's."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def moved(w: World, folder: str, **tables: dict[str, object]) -> tuple[str, str]:
    """Write the configuration into another folder, some keys changed; give the option that names it."""
    _, other = w.configured(**{"store": RELATIVE, **tables})
    (w.folder / folder).mkdir(exist_ok=True)
    return "-c", str(shutil.move(other, w.folder / folder / "config.toml"))


async def test_a_command_finds_the_store_of_its_configuration_from_any_folder(tmp_path: Path, elsewhere: Path) -> None:
    async with world(tmp_path, store=RELATIVE) as w:
        w.kuma.raise_alert()
        ran = await ask("run", "--once", *w.c)

        status, checked = await ask("status", *w.c), await ask("check", *w.c)

    assert (ran.code, status.code, checked.code) == (0, 0, 0)
    assert status.lines("store")[0].startswith(f"store     sqlite:///{tmp_path}/kuma-sync.db, schema")
    assert f"  sqlite:///{tmp_path}/kuma-sync.db\n" in checked.out
    assert "1 open" in status.lines("alerts")[0]
    assert (tmp_path / "kuma-sync.db").exists()
    assert names(elsewhere) == []


async def test_a_store_that_is_not_there_is_told_by_its_whole_path(tmp_path: Path, elsewhere: Path) -> None:
    async with world(tmp_path, store=RELATIVE) as w:
        status = await ask("status", *w.c)

    told = f"kuma-sync: there is no store at {tmp_path}/kuma-sync.db yet: `kuma-sync run` makes it"
    assert status.sentence.startswith(told)


async def test_status_of_a_missing_store_tells_of_the_daemon_that_runs_on_another(tmp_path: Path) -> None:
    async with world(tmp_path, web={"listen": somewhere()}) as w:
        alert = w.kuma.raise_alert()
        async with daemon(w):
            await until(lambda: w.irp.by_key(f"kuma:kuma:{alert}"))

            status = await ask("status", *w.configured(store={"url": f"sqlite:///{tmp_path}/another.db"}))

    assert status.code == 1
    assert status.sentence == (
        f"kuma-sync: there is no store at {tmp_path}/another.db, but a daemon answers at {w.tables['web']['listen']}: "
        "was store.url changed after it was started?"
    )


async def test_a_missing_store_beside_a_configured_service_asks_which_was_meant(
    tmp_path: Path, elsewhere: Path
) -> None:
    async with world(tmp_path, store=RELATIVE) as w:
        here = load(Path(moved(w, "sources")[1]), {})
        store, said = open_store(here), f"; or is {w.config} meant (-c)? It may name another store"

        with pytest.raises(StoreUnavailable) as caught:
            assure_usable(store, here, system_wide=w.config)
        with pytest.raises(StoreUnavailable) as plain:
            assure_usable(store, here, system_wide=tmp_path / "gone.toml")
        await store.aclose()

    assert str(caught.value).endswith(f"`kuma-sync run` makes it{said}")
    assert str(plain.value).endswith("`kuma-sync run` makes it")


async def test_the_unit_and_a_command_outside_it_mean_the_same_store(
    tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir()
    async with world(tmp_path, store=RELATIVE) as w:
        ran = await shell("run", "--once", *w.c, env={"STATE_DIRECTORY": str(tmp_path / "state")})

    assert ran.code == 0
    assert "kuma-sync.db" in names(tmp_path / "state")
    assert names(elsewhere) == []


async def test_a_store_where_relative_paths_led_before_is_told_and_no_other_is_begun(
    tmp_path: Path, elsewhere: Path
) -> None:
    async with world(tmp_path, store={"url": f"sqlite:///{elsewhere}/kuma-sync.db"}) as w:
        await ask("run", "--once", *w.c)
        before, other = names(elsewhere), moved(w, "etc")

        answers = {words: await ask(*words.split(), *other) for words in (*BEGINS, *LOOKS)}
        checked = await ask("check", *other)

    old, new = f"{elsewhere}/kuma-sync.db", f"{tmp_path}/etc/kuma-sync.db"
    assert {answer.code for answer in answers.values()} == {2}
    assert {answer.err.splitlines()[-1] for answer in answers.values()} == {
        f"kuma-sync: store.url: leads to {new}, where there is no store; there is one at {old}, where a relative path "
        f"led before: stop its daemon and move it, its -wal and -shm files with it, or name it: "
        f'store.url = "sqlite:///{old}"'
    }
    assert checked.code == 2
    assert f"there is one at {old}" in "".join(checked.lines("failed"))
    assert (names(elsewhere), names(tmp_path / "etc")) == (before, ["config.toml"])


async def test_a_folder_that_lets_us_not_in_is_not_said_to_hold_no_store(tmp_path: Path, elsewhere: Path) -> None:
    """An operator without rights stands in a folder with some store of that name."""
    (tmp_path / "etc").mkdir()
    (elsewhere / "kuma-sync.db").touch()
    async with world(tmp_path, store=RELATIVE) as w:
        settings = load(Path(moved(w, "etc")[1]), {})
        store = open_store(settings)

        with locked(tmp_path / "etc"), pytest.raises(StoreUnavailable) as caught:
            assure_usable(store, settings)
        await store.aclose()

    assert str(caught.value) == f"the store is out of reach: {tmp_path}/etc/kuma-sync.db: Permission denied"


async def test_a_second_store_beside_a_running_daemon_is_not_begun(tmp_path: Path, elsewhere: Path) -> None:
    """Its door tells whom it serves: the operator may not be able to look into its folder."""
    async with world(tmp_path, web={"listen": somewhere()}) as w:
        alert = w.kuma.raise_alert()
        async with daemon(w):
            await until(lambda: w.irp.by_key(f"kuma:kuma:{alert}"))
            other, writes = moved(w, "etc"), len([one for one in w.irp.requests if one.method != "GET"])

            once, ran = await ask("run", "--once", *other), await shell("run", *other)
            stranger = await ask("run", "--once", *moved(w, "third", kuma={"instance": "another"}))
            served = json.loads(_get(f"http://{w.tables['web']['listen']}/readyz"))["serves"]

        assert len([one for one in w.irp.requests if one.method != "GET"]) == writes + 1, "the stranger's own incident"

    for answer in (once, ran):
        assert answer.code == 1
        assert answer.err.splitlines()[-1] == _refused(f"at {w.tables['web']['listen']}", w, tmp_path / "etc")
    assert stranger.code == 0
    assert names(tmp_path / "etc") == ["config.toml"]
    assert served.isalnum()


async def test_a_second_store_beside_a_held_one_of_the_same_kuma_and_irp_is_not_begun(
    tmp_path: Path, elsewhere: Path
) -> None:
    store = f"sqlite:///{elsewhere}/kuma-sync.db"
    async with world(tmp_path, store={"url": store}) as w:
        await ask("run", "--once", *w.c)
        new = {"url": f"sqlite:///{tmp_path}/new.db"}
        with held(StoreFile(elsewhere / "kuma-sync.db")):
            once = await ask("run", "--once", *moved(w, "etc", store=new))
            checked = await ask("check", *moved(w, "etc", store=new))
            stranger = await ask("run", "--once", *moved(w, "etc", store=new, kuma={"instance": "another"}))

    assert once.code == 1
    refused = _refused(f"with the store {elsewhere}/kuma-sync.db", w, tmp_path, "new.db")
    assert once.err.splitlines()[-1] == refused
    assert checked.code == 1
    assert refused.removeprefix("kuma-sync: ") in checked.out
    assert stranger.code == 0


async def test_a_forgotten_store_of_the_same_two_sides_is_told_before_a_new_one(
    tmp_path: Path, elsewhere: Path, postgres_url: str
) -> None:
    async with world(tmp_path, store={"url": f"sqlite:///{elsewhere}/kuma-sync.db"}) as w:
        await ask("run", "--once", *w.c)

        file = await ask("run", "--once", *moved(w, "etc", store={"url": f"sqlite:///{tmp_path}/new.db"}))
        checked = await ask("check", *moved(w, "etc", store={"url": f"sqlite:///{tmp_path}/new.db"}))
        database = await ask("run", "--once", *moved(w, "etc", store={"url": postgres_url}))
        (elsewhere / "kuma-sync.db").rename(elsewhere / "kuma-sync.db.old")
        on_purpose = await ask("run", "--once", *moved(w, "etc", store={"url": f"sqlite:///{tmp_path}/new.db"}))

    assert file.code == 2
    assert file.err.splitlines()[-1] == (
        f"kuma-sync: store.url: {tmp_path}/new.db is empty, and {elsewhere}/kuma-sync.db is the store of the same KUMA "
        f"'kuma', IRP {w.tables['irp']['url']}, profile security-vision: a second one "
        "would send everything anew, over what analysts wrote. "
        f'Name it, store.url = "sqlite:///{elsewhere}/kuma-sync.db"; or move it away to begin anew'
    )
    assert checked.code == 2
    assert f"{elsewhere}/kuma-sync.db is the store of the same KUMA" in checked.out
    assert database.code == 0, "from a file to PostgreSQL there is no other way"
    assert on_purpose.code == 0


@pytest.mark.parametrize("where", ["var", "named"])
async def test_the_system_wide_store_is_looked_at_wherever_a_command_is_called(
    tmp_path: Path, elsewhere: Path, where: str
) -> None:
    """The places of the service are arguments here: no test writes into /etc or /var."""
    system = tmp_path / "system"
    system.mkdir()
    file = system / ("kuma-sync.db" if where == "var" else "named.db")
    async with world(tmp_path, store={"url": f"sqlite:///{file}"}) as w:
        await ask("run", "--once", *w.c)
        settings = load(Path(moved(w, "home")[1]), {})
        ours = meant(settings)
        places = {"system_wide": w.config if where == "named" else tmp_path / "gone.toml", "system_state": system}

        with pytest.raises(ConfigError, match=str(file)):
            refuse_second(settings, ours, **places)
        with held(StoreFile(file)), pytest.raises(StoreHeld, match=str(file)):
            refuse_second(settings, ours, **places)


async def test_a_store_in_use_is_asked_nothing_about_others(tmp_path: Path, elsewhere: Path) -> None:
    """A service that begins anew each day must not fail for what lies about."""
    async with world(tmp_path, store=RELATIVE) as w:
        await ask("run", "--once", *w.c)
        shutil.copy(tmp_path / "kuma-sync.db", elsewhere / "kuma-sync.db")

        again = await ask("run", "--once", *w.c)

    assert again.code == 0


async def test_an_empty_store_that_was_only_upgraded_is_still_a_new_one(tmp_path: Path, elsewhere: Path) -> None:
    async with world(tmp_path, store=RELATIVE) as w:
        upgraded = await ask("db", "upgrade", *w.c)
        shutil.move(tmp_path / "kuma-sync.db", tmp_path / "upgraded.db")
        await ask("run", "--once", *w.c)
        shutil.move(tmp_path / "kuma-sync.db", elsewhere / "kuma-sync.db")
        shutil.move(tmp_path / "upgraded.db", tmp_path / "kuma-sync.db")

        answer = await ask("run", "--once", *w.c)

    assert upgraded.code == 0
    assert answer.code == 2
    assert f"{elsewhere}/kuma-sync.db is the store of the same KUMA" in answer.err


async def test_what_lies_about_and_is_no_store_of_ours_does_not_matter(tmp_path: Path, elsewhere: Path) -> None:
    (elsewhere / "kuma-sync.db").write_text("no database at all, and long enough to be taken for one by its length")

    async with world(tmp_path, store={"url": f"sqlite:///{tmp_path}/new.db"}) as w:
        answer = await ask("run", "--once", *w.c)

    assert answer.code == 0, answer.err


def _refused(where: str, w: World, folder: Path, name: str = "kuma-sync.db") -> str:
    return (
        f"kuma-sync: a running kuma-sync, {where}, serves KUMA 'kuma', IRP {w.tables['irp']['url']}, "
        "profile security-vision already, and "
        f"{folder}/{name} is empty: a second store would send everything anew, over what analysts wrote. Use its "
        "configuration; or, if this is another KUMA, give it a kuma.instance of its own"
    )


def _get(url: str) -> bytes:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5) as answer:
        return bytes(answer.read())
