"""The configuration's name, before and after the command's; two different ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from prompt import typed, usual, write_config


@pytest.fixture
def config(tmp_path: Path) -> str:
    return str(write_config(tmp_path / "config.toml", usual(tmp_path)))


PLACES = (
    "-c {c} db upgrade",
    "db -c {c} upgrade",
    "db upgrade -c {c}",
    "--config {c} db upgrade -c {c}",
    "-c {c} db -c {c} upgrade",
    "-c{c} db upgrade",
)


@pytest.mark.parametrize("line", PLACES)
def test_a_configuration_is_named_before_or_after_the_command(tmp_path: Path, config: str, line: str) -> None:
    answer = typed(*line.format(c=config).split())

    assert (answer.code, answer.err) == (0, "")
    assert (tmp_path / "store.db").exists()


@pytest.mark.parametrize(
    "line", ["-c {c} status -c other.toml", "-c other.toml db -c {c} current", "db -c {c} current -c o"]
)
def test_two_different_configurations_are_wrong_usage(tmp_path: Path, config: str, line: str) -> None:
    answer = typed(*line.format(c=config).split())

    assert answer.code == 2
    assert "--config names two files" in answer.sentence
    assert config in answer.sentence


def test_one_file_in_two_spellings_is_one(tmp_path: Path, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert typed("-c", "config.toml", "config", "check", "-c", config).code == 0


def test_a_file_named_before_the_command_must_be_there() -> None:
    answer = typed("-c", "/nowhere/config.toml", "status")

    assert answer.code == 2
    assert "/nowhere/config.toml" in answer.sentence


def test_a_command_that_reads_no_configuration_takes_one_before_it(tmp_path: Path) -> None:
    assert typed("-c", str(tmp_path / "gone.toml"), "profile", "list").code == 0
