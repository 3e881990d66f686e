"""What is printed before anything is done: help, versions, and one line about every misuse."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from prompt import python, typed

from kuma_sync import __version__
from kuma_sync.cli import COMMANDS

HEAVY = ("httpx", "sqlalchemy", "pydantic", "structlog", "jinja2", "starlette", "apscheduler", "alembic")
GROUPS = {
    "config": ("show", "check", "schema"),
    "profile": ("list", "show"),
    "db": ("upgrade", "current", "prune", "rebind"),
    "sim": ("kuma", "irp", "robot"),
}

COMMAND_LINES = [
    *((name,) for name in COMMANDS if name not in GROUPS),
    *((group, one) for group, every in GROUPS.items() for one in every),
]


def imported(*words: str) -> set[str]:
    """The packages a command loads."""
    lines = python("-X", "importtime", "-m", "kuma_sync", *words).stderr.splitlines()
    return {line.rpartition("|")[2].strip().split(".")[0] for line in lines if line.startswith("import time:")}


def cost(*words: str) -> float:
    """The seconds of a processor that a run of the interpreter takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    python(*words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_loads_no_librarys_weight_and_takes_no_time() -> None:
    loaded = imported("--help")
    shown = python("-m", "kuma_sync", "--help")
    # Both are slow where the machine is; of several, the one that was disturbed least counts.
    nothing, help_ = (min(cost(*words) for _ in range(3)) for words in (("-c", ""), ("-m", "kuma_sync", "--help")))

    assert "click" in loaded
    assert loaded & set(HEAVY) == set()
    assert help_ < 12 * nothing, "click alone takes the time of four interpreters, the libraries that of forty"
    assert [name for name in COMMANDS if f"  {name} " not in shown.stdout] == []


def test_health_is_light_because_a_container_asks_every_few_seconds() -> None:
    loaded = imported("health", "--url", "http://127.0.0.1:1")

    assert "urllib" in loaded
    assert loaded & set(HEAVY) == set()


def test_the_module_and_the_command_tell_the_same_version() -> None:
    assert (
        python("-m", "kuma_sync", "--version").stdout == typed("--version").out == f"kuma-sync, version {__version__}\n"
    )


@pytest.mark.parametrize(
    "words", [*((name,) for name in COMMANDS), *((g, one) for g, all_ in GROUPS.items() for one in all_)]
)
def test_every_command_explains_itself(words: tuple[str, ...]) -> None:
    answer = typed(*words, "--help")

    assert answer.code == 0
    assert answer.out.startswith(f"Usage: kuma-sync {' '.join(words)} ")
    assert all(f"  {name} " in answer.out for name in (GROUPS.get(words[0], ()) if len(words) == 1 else ()))


@pytest.mark.parametrize("words", COMMAND_LINES)
def test_every_command_takes_a_configurations_name(words: tuple[str, ...]) -> None:
    assert "-c, --config" in typed(*words, "--help").out


@pytest.mark.parametrize("words", ["config schema", "profile list", "profile show security-vision", "init here.toml"])
def test_a_command_that_reads_no_configuration_looks_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.chdir(tmp_path)

    answer = typed(*words.split(), "-c", "gone.toml")

    assert answer.code == 0
    assert {entry.name for entry in tmp_path.iterdir()} <= {"here.toml"}


@pytest.mark.parametrize("words", ["show {}", "close a --reason responded --comment {}", "init {}", "{}"])
def test_an_argument_that_is_no_text_is_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    typed_words = words.format("a\udcffb").split()

    answer = typed(*typed_words)

    assert answer.code == 2
    assert f"argument {len(typed_words)} is not UTF-8" in answer.sentence


def test_bytes_typed_that_are_no_text_are_wrong_usage() -> None:
    result = subprocess.run([sys.executable, "-m", "kuma_sync", "show", b"\xff"], capture_output=True, check=False)

    assert (result.returncode, result.stderr) == (2, b"kuma-sync: argument 2 is not UTF-8 (see kuma-sync --help)\n")


def test_an_output_that_has_no_such_letters_gets_escapes() -> None:
    given = {
        "KUMA_SYNC_IRP__OPTIONS": '{"organization": "Север"}',
        "KUMA_SYNC_KUMA__URL": "k",
        "KUMA_SYNC_IRP__URL": "i",
    }
    tokens = {"KUMA_SYNC_KUMA__TOKEN": "t", "KUMA_SYNC_IRP__TOKEN": "t"}
    result = subprocess.run(
        [sys.executable, "-m", "kuma_sync", "config", "show"],
        env={**os.environ, **given, **tokens, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
    )

    assert (result.returncode, result.stderr) == (0, b"")
    assert rb"\u0421" in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["retri"], "retri"),
        (["close", "a"], "--reason"),
        (["close", "a", "--reason", "boredom"], "'responded', 'incorrect data', 'incorrect correlation rule'"),
        (["retry"], "--all"),
        (["retry", "a", "--all"], "--all"),
        (["resync"], "--since"),
        (["resync", "--since", "yesterday"], "2026-01-31T00:00:00Z"),
        (["resync", "--since", "0001-01-01T00:00:00+05:00"], "2026-01-31T00:00:00Z"),
        (["alerts", "--state", "lost"], "parked"),
        (["alerts", "--limit", "many"], "many"),
        (["drop"], "ALERT"),
        (["show"], "ALERT"),
        (["profile", "show", "securityvision"], "security-vision"),
        (["demo", "--seconds", "soon"], "--seconds"),
        (["demo", "--seconds", "nan"], "expected a number of seconds"),
        (["demo", "--seconds", "inf"], "expected a number of seconds"),
        (["demo", "--listen", "here"], "host:port"),
        (["health", "--url", "ftp://x"], "--url"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(words: list[str], said: str) -> None:
    answer = typed(*words)

    assert answer.code == 2
    assert answer.out == ""
    assert said in answer.sentence
