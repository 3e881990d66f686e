"""Where stderr is systemd's journal, every line has its priority; elsewhere none has."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, TextIO

import pytest
import structlog

from kuma_sync.telemetry import logs
from kuma_sync.telemetry.outlet import is_journal, with_priority


def stream_of(file: TextIO) -> str:
    """Return what systemd would write into JOURNAL_STREAM if this file were the journal's socket."""
    status = Path(file.name).stat()
    return f"{status.st_dev}:{status.st_ino}"


def raise_one() -> None:
    raise ZeroDivisionError


def logged(path: Path, style: Any) -> list[str]:
    with path.open("a+", encoding="utf-8") as stream:
        logs.configure(level="debug", format=style, stream=stream)
        log = structlog.get_logger("kuma_sync.test")
        for level in ("debug", "info", "warning", "error", "critical"):
            getattr(log, level)("it_happened")
        try:
            raise_one()
        except ZeroDivisionError:
            log.exception("loop_failed")
        logging.getLogger("uvicorn.error").warning("theirs")
    return path.read_text(encoding="utf-8").splitlines()


def test_in_the_journal_every_line_carries_the_priority_of_its_level(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    with path.open("w", encoding="utf-8") as file:
        monkeypatch.setenv("JOURNAL_STREAM", stream_of(file))

    found = logged(path, "json")

    assert [line[:3] for line in found] == ["<7>", "<6>", "<4>", "<3>", "<2>", "<3>", "<4>"]
    assert {json.loads(line[3:])["event"] for line in found} == {"it_happened", "loop_failed", "theirs"}


def test_in_the_journal_each_line_of_a_traceback_has_its_priority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal"
    with path.open("w", encoding="utf-8") as file:
        monkeypatch.setenv("JOURNAL_STREAM", stream_of(file))

    found = logged(path, "console")

    assert len(found) > 7
    assert [line for line in found if not re.match("<[2-7]>", line)] == []


def test_where_stderr_went_elsewhere_the_variable_alone_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "journal").open("w", encoding="utf-8") as journal:
        monkeypatch.setenv("JOURNAL_STREAM", stream_of(journal))

    assert [line[0] for line in logged(tmp_path / "file", "json")] == ["{"] * 7


@pytest.mark.parametrize("named", ["", "1", "1:2", "0:0", "no:number"])
def test_what_is_no_stream_of_the_journal_is_none(named: str) -> None:
    assert not is_journal(sys.stderr, {"JOURNAL_STREAM": named})


def test_a_text_without_lines_gets_no_priority() -> None:
    assert (with_priority("", logging.ERROR), with_priority("a\nb", logging.ERROR)) == ("", "<3>a\n<3>b")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "-c", "gone.toml"], "<3>kuma-sync: --config: there is no file gone.toml"),
        (["runs"], "<3>kuma-sync: No such command 'runs'. (see kuma-sync --help)"),
    ],
)
def test_the_sentence_a_start_failed_with_is_an_error_in_the_journal(
    tmp_path: Path, words: list[str], sentence: str
) -> None:
    path = tmp_path / "journal"
    with path.open("w", encoding="utf-8") as file:
        command = [sys.executable, "-m", "kuma_sync", *words]
        process = subprocess.run(
            command, cwd=tmp_path, stderr=file, env={"JOURNAL_STREAM": stream_of(file)}, check=False
        )

    assert process.returncode == 2
    assert path.read_text(encoding="utf-8").splitlines() == [sentence]
