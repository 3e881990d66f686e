"""Configurations: shown, written, and refused in one sentence that names the key."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from prompt import merged, shell, typed, usual, write_config

from kuma_sync.settings import example_text

BROKEN_PROFILE = """\
[profile]
name = "mine"
[create]
method = "POST"
path = "/api"
[create.body]
title = "{{ alert.nmae }}"
[create.extract]
id = "id"
"""

WRONG: list[tuple[dict[str, dict[str, Any]], str]] = [
    ({"poll": {"intervall": "5s"}}, "poll.intervall"),
    ({"polls": {"interval": "5s"}}, "polls"),
    ({"poll": {"interval": "soon"}}, "poll.interval"),
    ({"kuma": {"url": "ftp://kuma.example.com"}}, "kuma.url"),
    ({"irp": {"url": ""}}, "irp.url"),
    ({"kuma": {"api_version": "v4"}}, "kuma.api_version"),
    ({"kuma": {"token": ""}}, "kuma.token"),
    ({"irp": {"token": ""}}, "irp.token"),
    ({"kuma": {"token": "", "token_file": "/nowhere/token"}}, "kuma.token_file"),
    ({"kuma": {"ca_file": "/nowhere/ca.pem"}}, "kuma.ca_file"),
    ({"irp": {"profile": "securityvision"}}, "irp.profile"),
    ({"irp": {"profile": "broken.toml"}}, "irp.profile"),
    ({"close": {"default_reason": "boredom"}}, "close.default_reason"),
    ({"close": {"reasons": {"Duplicate": "boredom"}}}, "close.reasons.Duplicate"),
    ({"store": {"url": "mysql://db/kuma"}}, "store.url"),
    ({"web": {"listen": "8484"}}, "web.listen"),
    ({"log": {"level": "loud"}}, "log.level"),
    ({"retry": {"base": "10s", "max": "1s"}}, "retry.max"),
]


@pytest.mark.parametrize(("tables", "key"), WRONG, ids=[key for _tables, key in WRONG])
def test_a_wrong_configuration_is_one_sentence_naming_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tables: dict[str, dict[str, Any]], key: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.toml").write_text(BROKEN_PROFILE, encoding="utf-8")
    write_config(Path("config.toml"), merged(usual(tmp_path), tables))

    for words in (["check"], ["run"], ["run", "--once"]):
        answer = typed(*words)

        assert answer.code == 2, words
        assert answer.sentence.startswith(f"kuma-sync: {key}: ")
        assert "canary" not in answer.err
    assert sorted(path.name for path in tmp_path.iterdir() if "store" in path.name) == []


async def test_the_real_process_refuses_without_a_traceback(tmp_path: Path) -> None:
    write_config(tmp_path / "config.toml", merged(usual(tmp_path), {"poll": {"intervall": "5s"}}))

    answer = await shell("run", cwd=tmp_path)

    assert answer.code == 2
    assert answer.out == ""
    assert answer.sentence == "kuma-sync: poll.intervall: is not a known key, did you mean poll.interval?"


@pytest.mark.parametrize("words", ["check", "run", "status", "alerts", "release", "render"])
def test_a_missing_configuration_is_told_by_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.chdir(tmp_path)

    named, unnamed = typed(words, "-c", "gone.toml"), typed(words)

    assert named.code == unnamed.code == 2
    assert named.sentence == "kuma-sync: --config: there is no file gone.toml"
    assert "`kuma-sync init` writes one" in unnamed.sentence


def test_the_configuration_is_shown_with_every_secret_masked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_config(tmp_path / "config.toml", usual(tmp_path))
    monkeypatch.setenv("KUMA_SYNC_POLL__INTERVAL", "7s")

    shown, as_json = typed("config", "show", "-c", str(path)), typed("config", "show", "--json", "-c", str(path))

    tables = tomllib.loads(shown.out)
    assert shown.out.startswith(f"# {path}")
    assert tables == as_json.json
    assert tables["poll"]["interval"] == "7s"
    assert tables["kuma"]["token"] == tables["irp"]["token"] == "**********"
    assert "canary" not in shown.out + shown.err + as_json.out + as_json.err


def test_the_schema_is_json_and_knows_every_section() -> None:
    schema = typed("config", "schema").json

    assert schema["type"] == "object"
    assert set(schema["properties"]) == set(tomllib.loads(example_text()))


def test_init_writes_the_example_once_and_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    first, again, elsewhere = typed("init"), typed("init"), typed("init", "no/such/place.toml")

    assert first.code == 0
    assert Path("config.toml").read_text(encoding="utf-8") == example_text()
    assert Path("config.toml").stat().st_mode & 0o777 == 0o600
    assert again.code == elsewhere.code == 1
    assert again.sentence == "kuma-sync: config.toml exists already and stays as it is"
    assert "no/such/place.toml cannot be written" in elsewhere.sentence


def test_a_builtin_profile_is_listed_and_shown_ready_to_be_copied(tmp_path: Path) -> None:
    table, listed = typed("profile", "list"), typed("profile", "list", "--json").json
    shown = typed("profile", "show", "security-vision")
    (tmp_path / "mine.toml").write_text(shown.out, encoding="utf-8")
    tables = merged(usual(tmp_path), {"irp": {"profile": str(tmp_path / "mine.toml")}})

    sample = typed("render", "-c", str(write_config(tmp_path / "config.toml", tables)))

    assert table.out.splitlines()[1].startswith("security-vision  push  no")
    assert [(one["name"], one["verified"]) for one in listed] == [("security-vision", False)]
    assert "create" in listed[0]["operations"]
    assert sample.code == 0


def test_a_secret_among_the_options_is_rendered_as_asterisks(tmp_path: Path) -> None:
    profile = typed("profile", "show", "security-vision").out.replace("options.organization", "options.api_key")
    (tmp_path / "mine.toml").write_text(profile, encoding="utf-8")
    irp = {"profile": str(tmp_path / "mine.toml"), "options": {"api_key": 's3cret "of/ours', "pwd": "2025"}}
    path = write_config(tmp_path / "config.toml", merged(usual(tmp_path), {"irp": irp}))

    text, as_json = typed("render", "-c", str(path)), typed("render", "--json", "-c", str(path))

    assert "s3cret" not in text.out + as_json.out
    assert as_json.json[1]["body"]["organization"] == "**********"


def test_the_sample_is_rendered_without_store_token_or_network(tmp_path: Path) -> None:
    tables = merged(usual(tmp_path), {"irp": {"options": {"organization": "ООО Ромашка"}}})
    path = write_config(tmp_path / "config.toml", tables)

    text, requests = typed("render", "-c", str(path)), typed("render", "--json", "-c", str(path)).json

    assert [one["operation"] for one in requests] == ["find", "create", "update", "add_events", "close"]
    create = requests[1]
    assert (create["method"], create["url"]) == ("POST", "http://127.0.0.1:1/api/v1/incidents")
    assert create["body"]["organization"] == "ООО Ромашка"
    assert create["body"]["externalId"].startswith("kuma:kuma:")
    assert create["headers"]["Authorization"] == "Bearer **********"
    assert "\nPOST http://127.0.0.1:1/api/v1/incidents\n" in text.out
    assert json.dumps(create["body"], ensure_ascii=False, indent=2) in text.out
    assert "canary" not in text.out
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.toml"]
