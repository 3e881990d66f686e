"""What the commands, and `/readyz`, say of an IRP that polls us, beside one that we send to."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from addresses import somewhere
from plain_http import plain_client
from prompt import Answered, World, ask, daemon, world

from kuma_sync.core.routing import IRP

TOKEN = "canary-bank-token-4716"
TENANT = "Банк"
COMMAND = "/api/v1/alerts/?withEvents&status=new"


@asynccontextmanager
async def with_a_bank(folder: Path, *, expect_every: str = "10m", **tables: Any) -> AsyncIterator[World]:
    """Open a world where one tenant's alerts go to a bank, which asks for them; the others go to the plain IRP."""
    bank = {"profile": "security-vision-pull", "token": TOKEN, "expect_every": expect_every}
    given = {
        "targets": {"bank": bank},
        "route": [{"tenants": [TENANT], "target": "bank"}],
        "web": {"listen": somewhere()},
        **tables,
    }
    async with world(folder, **given) as w:
        yield w


def at_the_door(w: World) -> httpx.AsyncClient:
    """Return a client with the bank's token."""
    address, headers = f"http://{w.tables['web']['listen']}", {"Authorization": f"Bearer {TOKEN}"}
    return plain_client(address, headers=headers)


def line(answer: Answered, what: str) -> str:
    """Return the one line of `check` about this."""
    (found,) = [one for one in answer.out.splitlines() if f"  {what}  " in one]
    return found


async def two_alerts(w: World) -> None:
    """Raise an alert for each target, and read them."""
    w.kuma.raise_alert(id="alert-bank", tenant=TENANT, name="At the bank")
    w.kuma.raise_alert(id="alert-main", tenant="Main", name="At home")
    assert (await ask("run", "--once", *w.c)).code == 0


async def bank_asks(w: World) -> list[str]:
    """Run the daemon until the bank has asked once; return the ids of the alerts that it was given."""
    async with daemon(w), at_the_door(w) as door:
        answer = await _answered(door)
    return [item["id"] for item in answer.json()]


async def _answered(door: httpx.AsyncClient) -> httpx.Response:
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await door.get(COMMAND)
                if answer.status_code == 200:
                    return answer
            await asyncio.sleep(0.05)


async def test_check_says_what_to_enter_there_and_that_it_never_asked(tmp_path: Path) -> None:
    async with with_a_bank(tmp_path, made=False) as w:
        new = await ask("check", *w.c)
        await two_alerts(w)
        read = await ask("check", *w.c)
        listen = w.tables["web"]["listen"]

    assert (new.code, read.code) == (0, 0)
    assert f"http://{listen}, under the name by which the IRP reaches this machine" in line(read, "IRP (bank) address")
    assert "GET api/v1/alerts/?withEvents&status=new" in line(read, "IRP (bank) command")
    assert "Authorization: Bearer <the token in targets.bank>" in line(read, "IRP (bank) header")
    assert line(new, "IRP (bank) asks").startswith("warning  ")
    assert "not known: the store cannot be read" in line(new, "IRP (bank) asks")
    assert "it never did; 1 alert waits for it" in line(read, "IRP (bank) asks")
    assert TOKEN not in read.out
    assert "templates (bank)" not in read.out


async def test_check_says_when_it_asked_last_and_warns_when_that_is_long_ago(tmp_path: Path) -> None:
    async with with_a_bank(tmp_path) as w:
        await two_alerts(w)
        given = await bank_asks(w)
        lately = await ask("check", *w.c)
        late = await ask(
            "check", *w.configured(targets={"bank": {**w.tables["targets"]["bank"], "expect_every": 0.001}})
        )

    assert given == ["alert-bank"]
    assert line(lately, "IRP (bank) asks").startswith("ok  ")
    assert "; no alert waits for it" in line(lately, "IRP (bank) asks")
    assert line(late, "IRP (bank) asks").startswith("warning  ")
    assert "longer than expect_every; last at " in line(late, "IRP (bank) asks")


async def test_check_fails_where_such_an_irp_has_no_door_to_ask_at(tmp_path: Path) -> None:
    async with with_a_bank(tmp_path, web={"listen": ""}) as w:
        answer = await ask("check", *w.c)

    assert answer.code == 2
    assert "it polls us, but web.listen is empty" in line(answer, "IRP (bank) door")


async def test_status_shows_when_it_asked_last_and_what_waits_for_it(tmp_path: Path) -> None:
    async with with_a_bank(tmp_path) as w:
        await two_alerts(w)
        before, told = await ask("status", *w.c), await ask("status", "--json", *w.c)
        await bank_asks(w)
        after = await ask("status", *w.c)

    assert "polls us  bank never asked; 1 alert waits to be handed out" in before.out
    assert "target bank polls us, profile security-vision-pull" in before.out
    assert told.json["polling"] == [{"target": "bank", "asked_at": None, "waiting": 1}]
    (line_after,) = after.lines("polls us  bank last asked ")
    assert line_after.endswith("; no alert waits to be handed out")


async def test_show_says_what_was_handed_out_and_claims_nothing_sent(tmp_path: Path) -> None:
    async with with_a_bank(tmp_path) as w:
        await two_alerts(w)
        before, told = await ask("show", "alert-bank", *w.c), await ask("show", "--json", "alert-bank", *w.c)
        await bank_asks(w)
        after, sent = await ask("show", "alert-bank", *w.c), await ask("show", "alert-main", *w.c)

    assert "handed out         nothing yet; it was put out " in before.out
    assert "events handed out  0" in before.out
    assert "events sent" not in before.out + after.out
    assert (told.json["link"]["events_sent"], told.json["link"]["handed_out"]["first_at"]) == (0, None)
    assert re.search(r"handed out         first 20.*\n.*events handed out  [1-9]", after.out)
    assert re.search(r"events sent +[1-9]", sent.out)
    assert "handed out" not in sent.out


async def test_alerts_of_one_target_are_listed_alone(tmp_path: Path) -> None:
    async with with_a_bank(tmp_path) as w:
        await two_alerts(w)
        everything = await ask("alerts", "--json", *w.c)
        listed = {name: await ask("alerts", "--json", "--target", name, *w.c) for name in (IRP, "bank")}
        table = await ask("alerts", "--target", "bank", *w.c)
        unknown = await ask("alerts", "--target", "bnak", *w.c)

    assert len(everything.json) == 2
    assert {name: [row["alert_id"] for row in answer.json] for name, answer in listed.items()} == {
        IRP: ["alert-main"],
        "bank": ["alert-bank"],
    }
    assert "bank" in table.out
    assert "alert-main" not in table.out
    assert unknown.out == "No alerts of target bnak.\n"


@pytest.mark.parametrize("words", [("--target", "bank"), ("alert-bank",)])
async def test_render_says_that_nothing_is_sent_to_it(words: tuple[str, ...], tmp_path: Path) -> None:
    async with with_a_bank(tmp_path) as w:
        await two_alerts(w)
        answer, other = await ask("render", *words, *w.c), await ask("render", *w.c)

    assert answer.code == 2
    assert answer.sentence == ("kuma-sync: targets.bank.profile: security-vision-pull sends nothing: this IRP polls us")
    assert other.code == 0


async def test_readyz_names_one_that_stopped_asking_until_it_asks_again(tmp_path: Path) -> None:
    async with with_a_bank(tmp_path, expect_every="1s") as w, daemon(w), at_the_door(w) as door:
        await _answered(door)
        await until_part(door, "irp:bank", "ok")
        missed = await until_part(door, "irp:bank", "failing")
        status = await needs_a_look(w)
        await _answered(door)
        again = await until_part(door, "irp:bank", "ok")

    assert missed["state"] == "not ready"
    assert missed["parts"]["irp:bank"]["reason"].startswith("nobody asked for alerts for ")
    assert "(expect_every); the last time was " in missed["parts"]["irp:bank"]["reason"]
    assert missed["parts"]["irp"]["state"] == missed["parts"]["delivery:bank"]["state"] == "ok"
    assert "IRP bank FAILING: nobody asked for alerts for " in status.out
    assert again["parts"]["irp:bank"]["reason"] == ""


async def needs_a_look(w: World) -> Answered:
    """Ask for the `status` until the daemon has said that something is not well."""
    async with asyncio.timeout(30):
        while (answer := await ask("status", "--exit-code", *w.c)).code != 1:
            await asyncio.sleep(0.1)
    return answer


async def until_part(door: httpx.AsyncClient, part: str, state: str) -> dict[str, Any]:
    """Ask `/readyz` until a part is in this state."""
    async with asyncio.timeout(30):
        while True:
            told: dict[str, Any] = (await door.get("/readyz")).json()
            if told["parts"][part]["state"] == state:
                return told
            await asyncio.sleep(0.05)


async def test_readyz_is_well_while_it_asks_more_often_than_it_is_expected(tmp_path: Path) -> None:
    async with with_a_bank(tmp_path, expect_every="2s") as w, daemon(w), at_the_door(w) as door:
        await _answered(door)
        await until_part(door, "irp:bank", "ok")
        states, ends = set(), time.monotonic() + 5
        while time.monotonic() < ends:
            await door.get(COMMAND)
            states.add((await door.get("/readyz")).json()["parts"]["irp:bank"]["state"])
            await asyncio.sleep(0.05)

    assert states == {"ok"}
