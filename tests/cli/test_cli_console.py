"""`console-user`: a password in, a line for the configuration out, and nothing of the password anywhere."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from terminal import at_terminal

from kuma_sync.cli.console import console_user
from kuma_sync.settings import load
from kuma_sync.web.console.passwords import verified

ADDRESSES = {"KUMA_SYNC_KUMA__URL": "kuma", "KUMA_SYNC_IRP__URL": "sv", "KUMA_SYNC_KUMA__TOKEN": "t"}
PASSWORD = "canary горячий чай"


def given(text: str, name: str = "anna") -> Result:
    return CliRunner().invoke(console_user, [name], input=text)


@pytest.mark.parametrize("name", ["anna", "Анна К.", 'o"hara', "anna@example.com", "a.b"])
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_the_line_lets_the_user_sign_in(tmp_path: Path, name: str, end: str) -> None:
    answer = given(PASSWORD + end, name)
    file = tmp_path / "config.toml"
    file.write_text(f"[web.console.users]\n{answer.stdout}", encoding="utf-8")
    file.chmod(0o600)
    settings = load(file, ADDRESSES)

    assert (answer.exit_code, answer.stdout.count("\n"), answer.stderr) == (0, 1, "")
    assert "canary" not in answer.output
    known = settings.web.console.users[name].reveal()
    assert verified(known, PASSWORD)
    assert not verified(known, PASSWORD + " ")
    assert settings.warnings == ()


def test_the_same_password_gives_another_line_each_time() -> None:
    assert given(PASSWORD).stdout != given(PASSWORD).stdout


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the password is empty"),
        ("\n", "the password is empty"),
        ("          \n", "the password is empty"),
        ("canary\n", "the password is too short: expected at least 10 characters"),
        ("abababababab\n", "the password is one or two characters over and over"),
        ("canary-one-two\ncanary-three\n", "expected the password alone on standard input, in one line"),
    ],
)
def test_a_poor_password_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    answer = given(text)

    assert answer.exit_code != 0
    assert answer.stdout == ""
    assert str(answer.exception) == f"{sentence}; nothing was printed"


@pytest.mark.parametrize("name", ["", " anna", "x" * 65, "a\u202eb", "a\nb"])
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    answer = given(PASSWORD, name)

    assert answer.exit_code == 2
    assert "expected 1 to 64 printable characters" in answer.stderr


async def test_at_a_terminal_the_password_is_asked_for_twice_and_not_shown() -> None:
    typed = "canary-at-terminal"
    seen = await at_terminal("console-user", "anna", answers=[typed, "something else", typed, typed])

    line = seen.lines[-1]
    assert seen.code == 0
    assert "canary" not in seen.text
    assert "do not match" in seen.text
    assert verified(tomllib.loads(line)["anna"], typed)
