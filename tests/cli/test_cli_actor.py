"""The history names the human who gave an order, not the account that sudo lent."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest
from prompt import World, ask, world
from stores import opened

from kuma_sync.cli.options import human

ACCOUNT = pwd.getpwuid(os.getuid()).pw_name
NOBODY = pwd.getpwuid(65534)


def loginuid(folder: Path, text: str) -> Path:
    path = folder / "loginuid"
    path.write_text(text, encoding="ascii")
    return path


@pytest.mark.parametrize(
    ("env", "login", "name"),
    [
        ({"SUDO_USER": "alice"}, "4294967295", "alice"),
        ({"SUDO_USER": "alice"}, "65534", "alice"),
        ({"DOAS_USER": "bob"}, "4294967295", "bob"),
        ({"SUDO_USER": "root"}, "65534", NOBODY.pw_name),
        ({}, "65534", NOBODY.pw_name),
        ({"USER": "mallory", "LOGNAME": "mallory"}, "4294967295", ACCOUNT),
        ({"SUDO_USER": "a\x1b[31m"}, "4294967294", ACCOUNT),
        ({}, "no number", ACCOUNT),
    ],
)
def test_who_types_is_told_by_sudo_or_doas_or_the_login(
    tmp_path: Path, env: dict[str, str], login: str, name: str
) -> None:
    assert human(env, loginuid=loginuid(tmp_path, login)) == name


def test_without_a_login_it_is_the_account(tmp_path: Path) -> None:
    assert human({}, loginuid=tmp_path / "absent") == ACCOUNT


async def actors(w: World, alert_id: str) -> list[tuple[str, str]]:
    async with opened(w.tables["store"]["url"]) as store:
        with store.reading() as tx:
            return [(entry.action, entry.actor) for entry in tx.audit.history(alert_id)]


async def ordered(w: World, *said: str) -> dict[str, str]:
    """Give every order there is; return who gave each by the history."""
    alert, refused, held = (w.kuma.raise_alert(name=name) for name in ("a", "refused", "held"))
    w.irp.knobs.reject_titles = "refused"
    await ask("run", "--once", *w.c)
    commands = (
        ("resync", alert),
        ("retry", refused),
        ("release", "--yes"),
        ("close", alert, "--reason", "responded"),
        ("drop", "--yes", refused),
        ("db", "prune"),
        ("db", "rebind"),
    )
    for command in commands:
        answer = await ask(*command, *said, *w.c)
        assert answer.code == 0, answer
    lines = [line for name in (alert, refused, held, "") for line in await actors(w, name)]
    return {action: actor for action, actor in lines if actor.startswith("operator")}


ORDERS = {"resync", "retry", "release", "close_ordered", "drop", "prune", "rebind"}


async def test_every_order_is_noted_with_the_human_behind_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    async with world(tmp_path, brake={"max_new": 2}) as w:
        found = await ordered(w)

    assert found == dict.fromkeys(ORDERS, "operator:alice")


async def test_a_name_that_is_said_stands_beside_the_one_that_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_USER", "alice")
    async with world(tmp_path, brake={"max_new": 2}) as w:
        found = await ordered(w, "--as", "Боб из смены 2")

    assert found == dict.fromkeys(ORDERS, "operator:Боб из смены 2 (alice)")


@pytest.mark.parametrize("name", ["", "  ", "a\x1b", "x" * 65])
async def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    async with world(tmp_path) as w:
        answer = await ask("retry", "--all", "--as", name, *w.c)

    assert answer.code == 2
    assert "expected a name of at most 64 printable characters" in answer.sentence
