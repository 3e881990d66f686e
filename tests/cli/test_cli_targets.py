"""Commands where there are several targets: alerts that no route takes, a broken target, and no plain [irp]."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prompt import World, ask, merged, world, write_config

from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.server import SimServer

NORTH = "Филиал «Север»"
NORTH_TOKEN = "canary-north-token-4715"
BY_TENANT = {"tenants": [NORTH], "target": "north"}


@dataclass(frozen=True, kw_only=True)
class Two:
    """A world with a second IRP, `north`, to which one tenant's alerts go."""

    world: World
    north: IrpSim
    c: tuple[str, str]

    def configured(self, *, without: str = "", **tables: Any) -> tuple[str, str]:
        """Write another configuration: these keys differ, and one section is not there."""
        others = {name: keys for name, keys in merged(self.world.tables, tables).items() if name != without}
        return "-c", str(write_config(self.world.folder / "other.toml", others))

    def broken(self, **tables: Any) -> tuple[str, str]:
        """Write a configuration in which the profile of `north` is broken."""
        return self.configured(targets={"north": self.north_with(profile=str(self.broken_profile))}, **tables)

    def north_with(self, **keys: Any) -> dict[str, Any]:
        """Return the section of `north` with other keys."""
        return {**self.world.tables["targets"]["north"], **keys}

    @property
    def broken_profile(self) -> Path:
        """Write a profile with an error in it."""
        path = self.world.folder / "broken.toml"
        path.write_text("[profile]\nname = 1\n")
        return path

    def alert(self, id_: str, *, tenant: str = NORTH, **given: Any) -> str:
        """Raise an alert, for the north unless a tenant is given."""
        return self.world.kuma.raise_alert(id=id_, tenant=tenant, **given)


@asynccontextmanager
async def two(folder: Path, **tables: Any) -> AsyncIterator[Two]:
    """Open a world with two IRPs and a route."""
    north = IrpSim(token=NORTH_TOKEN, prefix="NORTH")
    async with SimServer(north.app) as server:
        named = {"north": {"url": server.url, "token": NORTH_TOKEN}}
        async with world(folder, **{"targets": named, "route": [BY_TENANT], **tables}) as w:
            yield Two(world=w, north=north, c=w.c)


@asynccontextmanager
async def unrouted(folder: Path) -> AsyncIterator[tuple[Two, tuple[str, str]]]:
    """Open a world without [irp], where one alert went north and one is held, for no route takes it."""
    async with two(folder) as w:
        c = w.configured(without="irp")
        w.alert("alert-north")
        w.alert("alert-nowhere", tenant="Main", name="Nobody's alert")
        yield w, c


async def test_a_pass_that_leaves_an_alert_without_a_route_is_not_clean(tmp_path: Path) -> None:
    async with unrouted(tmp_path) as (w, c):
        answer = await ask("run", "--once", *c)

    assert answer.code == 1
    assert "1 held" in answer.out
    assert "1 alert held: no route; add a [[route]]" in answer.err
    assert len(w.north.incidents) == 1


async def test_status_names_alerts_without_a_route_and_says_what_frees_them(tmp_path: Path) -> None:
    async with unrouted(tmp_path) as (_w, c):
        await ask("run", "--once", *c)
        answer, shown = await ask("status", *c), await ask("status", "--json", *c)

    (line,) = answer.lines("1 alert held: no route (")
    assert "`kuma-sync alerts --state held`" in line
    assert "add a [[route]] that takes them" in line
    assert "alert-nowhere  Nobody's alert" in answer.out
    assert [one["id"] for one in shown.json["unrouted"]] == ["alert-nowhere"]
    assert shown.json["held"] == []


async def test_release_says_that_it_frees_no_alert_without_a_route(tmp_path: Path) -> None:
    async with unrouted(tmp_path) as (_w, c):
        await ask("run", "--once", *c)
        everything, one = await ask("release", "--yes", *c), await ask("release", "--yes", "alert-nowhere", *c)

    assert everything.code == 0
    assert "The brake holds nothing." in everything.out
    assert "1 alert held: no route; add a [[route]]" in everything.out
    assert one.code == 1
    assert "alert-nowhere: no route; add a [[route]]" in one.sentence


async def test_show_and_dry_run_say_that_an_alert_has_no_route(tmp_path: Path) -> None:
    async with unrouted(tmp_path) as (_w, c):
        trial = await ask("run", "--once", "--dry-run", *c)
        await ask("run", "--once", *c)
        shown = await ask("show", "alert-nowhere", *c)

    assert "1 alert held: no route" in trial.out
    assert "Nobody's alert" in trial.out
    assert "no route" in shown.out


@pytest.mark.parametrize(
    ("profile", "problem"),
    [
        ("nothing-like-it", "neither a built-in profile nor a file"),
        ("gone.toml", "cannot be read"),
        ("broken.toml", "profile.name"),
        ("lacking.toml", "create.extract.id is missing"),
        ("no-toml.toml", "is not valid TOML"),
    ],
)
async def test_an_error_in_a_targets_profile_names_the_key_of_that_target(
    profile: str, problem: str, tmp_path: Path
) -> None:
    async with two(tmp_path) as w:
        assert w.broken_profile
        own = '[profile]\nname = "own"\n[auth]\nkind = "bearer"\n'
        (tmp_path / "lacking.toml").write_text(own + '[create]\nmethod = "POST"\npath = "/"\nbody = {a = "b"}\n')
        (tmp_path / "no-toml.toml").write_text("[[[")
        both = w.configured(targets={"north": w.north_with(profile=profile)})
        alone = w.configured(without="irp", targets={"north": w.north_with(profile=profile)})
        answers = [await ask(*words, *both) for words in (("check",), ("config", "check"))]
        answers += [await ask(*words, *alone) for words in (("check",), ("config", "check"), ("run", "--once"))]

    for answer in answers:
        said = answer.out + answer.err
        assert answer.code == 2
        assert problem in said
        assert "targets.north.profile: " in said
        assert "irp.profile" not in said


@asynccontextmanager
async def delivered(folder: Path) -> AsyncIterator[Two]:
    """Open a world where each target has one incident."""
    async with two(folder) as w:
        w.alert("alert-north")
        w.alert("alert-main", tenant="Main")
        assert (await ask("run", "--once", *w.c)).code == 0
        yield w


async def test_one_targets_broken_profile_stops_no_closing_of_another(tmp_path: Path) -> None:
    async with delivered(tmp_path) as w:
        c = w.broken()
        told = await ask("close", "alert-main", "--reason", "responded", *c)
        await ask("run", "--once", *c)

    assert told.code == 0
    assert "alert-main will be closed in KUMA and in the IRP, reason 'responded'." in told.out
    assert [one.status for one in w.world.irp.incidents.values()] == ["closed"]
    assert w.world.kuma.closes == [("alert-main", "responded")]


async def test_a_closing_for_a_broken_target_waits_until_it_is_mended(tmp_path: Path) -> None:
    async with delivered(tmp_path) as w:
        c = w.broken()
        told = await ask("close", "alert-north", "--reason", "responded", *c)
        first = await ask("run", "--once", *c)
        meanwhile = [one.status for one in w.north.incidents.values()]
        again = await ask("run", "--once", *w.c)

    assert told.code == 0
    assert told.out.splitlines()[0] == "alert-north will be closed in KUMA and in the IRP, reason 'responded'."
    assert told.out.splitlines()[1].startswith(
        "The closing in the IRP waits: target north cannot be used: targets.north."
    )
    assert "mend it" in told.out.splitlines()[1]
    assert (first.code, again.code) == (1, 0)
    assert meanwhile == ["open"]
    assert [one.status for one in w.north.incidents.values()] == ["closed"]
    assert w.world.kuma.closes == [("alert-north", "responded")]


async def test_nobody_waits_a_minute_for_a_closing_in_a_broken_target(tmp_path: Path) -> None:
    async with delivered(tmp_path) as w:
        c = w.broken(close={"to_kuma": False})
        async with asyncio.timeout(30):
            told = await ask("close", "alert-north", "--reason", "responded", "--wait", *c)

    assert told.code == 1
    assert "the closing in the IRP waits: target north cannot be used" in told.sentence


@pytest.mark.parametrize(
    ("close", "target", "said"),
    [
        ({"to_irp": False}, {}, "in the IRP it stays open: close.to_irp is off"),
        ({}, {"profile": "lacking.toml"}, "in the IRP it stays open: the profile own cannot close"),
    ],
)
async def test_close_says_why_an_incident_stays_open(
    close: dict[str, bool], target: dict[str, str], said: str, tmp_path: Path
) -> None:
    own = '[profile]\nname = "own"\n[auth]\nkind = "bearer"\n[create]\nmethod = "POST"\npath = "/"\n'
    (tmp_path / "lacking.toml").write_text(own + 'body = {a = "b"}\nextract = {id = "id"}\n')
    async with two(tmp_path) as w:
        c = w.configured(close=close, targets={"north": w.north_with(**target)})
        w.alert("alert-north")
        await ask("run", "--once", *c)
        told = await ask("close", "alert-north", "--reason", "responded", *c)

    assert told.code == 0
    assert f"alert-north will be closed in KUMA; {said}, reason" in told.out


async def test_an_alert_without_a_route_is_closed_in_kuma_alone(tmp_path: Path) -> None:
    async with unrouted(tmp_path) as (_w, c):
        await ask("run", "--once", *c)
        told = await ask("close", "alert-nowhere", "--reason", "responded", *c)

    assert told.code == 0
    assert "will be closed in KUMA; in the IRP nothing is done: no route takes it" in told.out


async def test_one_targets_broken_profile_stops_no_resync_of_another(tmp_path: Path) -> None:
    async with delivered(tmp_path) as w:
        c = w.broken()
        looked = await ask("resync", "--all", "--dry-run", *c)
        told = await ask("resync", "--all", "--yes", *c)
        w.world.irp.writes.clear()
        await ask("run", "--once", *c)
        meanwhile = len(w.north.writes)
        again = await ask("run", "--once", *w.c)

    assert (looked.code, told.code, again.code) == (0, 0, 0)
    assert "title" in looked.out
    assert "target north cannot be used: targets.north.profile: " in looked.out
    assert [deed for deed, _id, _body in w.world.irp.writes] == ["update"]
    assert len(w.north.writes) == meanwhile + 1


async def test_render_without_a_plain_irp_shows_where_the_sample_would_go(tmp_path: Path) -> None:
    async with two(tmp_path) as w:
        routed = w.configured(without="irp", route=[{"target": "north"}])
        nowhere = w.configured(without="irp")
        first, other = await ask("render", *routed), await ask("render", "--json", *nowhere)
        named = await ask("render", "--target", "north", *w.c)
        plain = await ask("render", *w.c)
        unknown = await ask("render", "--target", "nroth", *w.c)

    address = w.world.tables["targets"]["north"]["url"]
    assert (first.code, other.code, named.code, plain.code) == (0, 0, 0, 0)
    assert f"POST {address}/api/v1/incidents" in first.out
    assert {one["operation"] for one in other.json} >= {"create", "update", "close"}
    assert all(one["url"].startswith(address) for one in other.json)
    assert f"POST {address}/api/v1/incidents" in named.out
    assert address not in plain.out
    assert unknown.code == 2
    assert unknown.sentence == "kuma-sync: --target: there is no target nroth; there are irp, north"


async def test_render_shows_a_stored_alert_in_its_own_target_or_in_a_named_one(tmp_path: Path) -> None:
    async with unrouted(tmp_path) as (w, c):
        await ask("run", "--once", *c)
        own = await ask("render", "alert-north", "--json", *c)
        held = await ask("render", "alert-nowhere", *c)
        named = await ask("render", "alert-nowhere", "--target", "north", *c)
        incident = next(iter(w.north.incidents))

    updates = [one["url"] for one in own.json if one["operation"] == "update"]
    assert own.code == 0
    assert updates[0].endswith(incident)
    assert held.code == 2
    assert held.sentence == "kuma-sync: route: no route takes this alert; --target shows how it would look in one"
    assert named.code == 0
    assert "# create: for an alert without an incident (the next request)" in named.out


async def test_render_says_that_a_target_is_broken_and_shows_another(tmp_path: Path) -> None:
    async with two(tmp_path) as w:
        c = w.broken()
        broken, other = await ask("render", "--target", "north", *c), await ask("render", *c)

    assert broken.code == 2
    assert broken.sentence.startswith("kuma-sync: targets.north.profile: ")
    assert other.code == 0


async def test_resync_leaves_alerts_without_a_route_and_says_so(tmp_path: Path) -> None:
    async with unrouted(tmp_path) as (_w, c):
        await ask("run", "--once", *c)
        looked = await ask("resync", "--all", "--dry-run", *c)
        everything = await ask("resync", "--all", "--yes", *c)
        one = await ask("resync", "alert-nowhere", *c)

    assert "1 alerts would be found and fully updated." in looked.out
    assert (everything.code, everything.err) == (0, "")
    assert "alert-north: will be found and fully updated" in everything.out
    assert "1 alert held: no route; " in everything.out
    assert one.code == 1
    assert one.sentence.startswith("kuma-sync: alert-nowhere: no route; add a [[route]]")


async def test_status_shows_the_jobs_of_a_target_that_was_broken_from_the_start(tmp_path: Path) -> None:
    async with two(tmp_path) as w:
        c = w.broken()
        w.alert("alert-north")
        await ask("run", "--once", *c)
        answer = await ask("status", *c)

    (row,) = answer.lines("→ north ")
    assert row.split()[2] == "1"
