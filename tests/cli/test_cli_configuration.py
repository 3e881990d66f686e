"""Configurations: shown, written, and refused in one sentence that names the key."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from prompt import afresh, merged, typed, usual, write_config

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

    answer = await afresh("run", cwd=tmp_path)

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


def test_a_good_configuration_is_told_offline_with_what_should_not_stay_so(tmp_path: Path) -> None:
    path = write_config(tmp_path / "config.toml", merged(usual(tmp_path), {"web": {"metrics_token": "canary-1"}}))

    good, as_json = typed("config", "check", "-c", str(path)), typed("config", "check", "--json", "-c", str(path))

    assert good.code == as_json.code == 0
    assert good.out.splitlines()[-1] == f"{path}: no problem"
    assert [line.partition("  ")[0] for line in good.out.splitlines()[:-1]] == ["warning", "warning"]
    assert as_json.json["problems"] == []
    assert "canary" not in good.out + as_json.out
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.toml"]


def test_every_problem_of_configuration_profile_and_certificates_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text(BROKEN_PROFILE.replace("id = ", "nr = ").replace("[create.b", "[close.b"))
    (tmp_path / "empty.pem").write_text("")
    tables = {
        "kuma": {"url": "https://localhost:1", "ca_file": "empty.pem"},
        "poll": {"intervall": "5s", "interval": "soon"},
        "irp": {"url": "https://localhost:1", "profile": "ours.toml", "client_cert": "empty.pem"},
        "web": {"listen": "127.0.0.1:0", "cert_file": "empty.pem"},
        "log": {"level": "loud"},
    }
    path = write_config(tmp_path / "config.toml", merged(usual(tmp_path), tables))

    answer, as_json = typed("config", "check", "-c", str(path)), typed("config", "check", "--json", "-c", str(path))

    lines = answer.lines("problem  ")
    assert answer.code == as_json.code == 2
    assert [line.removeprefix("problem  ").partition(": ")[0] for line in lines] == [
        *("poll.interval", "poll.intervall", "log.level", "kuma.ca_file", "irp.client_cert"),
        *("irp.profile", "irp.profile", "irp.profile", "web.cert_file"),
    ]
    assert as_json.json["problems"] == [line.removeprefix("problem  ") for line in lines]
    assert answer.err == as_json.err == ""


def test_one_broken_target_of_several_is_a_problem_of_the_offline_check(tmp_path: Path) -> None:
    north = {"url": "https://localhost:1", "token_file": "gone/token"}
    tables = merged(usual(tmp_path), {"targets": {"north": north}})
    path = write_config(tmp_path / "config.toml", tables)
    swapped = {**tables, "irp": {**north, "ca_file": "gone.pem"}, "targets": {"north": tables["irp"]}}
    other = write_config(tmp_path / "other.toml", swapped)

    answer, as_json = typed("config", "check", "-c", str(path)), typed("config", "check", "--json", "-c", str(path))
    plain = typed("config", "check", "-c", str(other))

    (told,) = answer.lines("problem  ")
    assert answer.code == as_json.code == plain.code == 2
    assert told.startswith("problem  targets.north.token_file: there is no such file")
    assert as_json.json["problems"] == [told.removeprefix("problem  ")]
    (told,) = plain.lines("problem  ")
    assert told.startswith("problem  irp.token_file: there is no such file")
    assert "; irp.ca_file: there is no such file" in told


def test_targets_and_routes_are_shown_with_every_secret_masked(tmp_path: Path) -> None:
    north = {"url": "https://north.example.com", "token": "canary-north", "proxy": "http://u:canary-north@proxy:1"}
    route = [{"names": ["^R0[12]"], "target": "north"}]
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps({**usual(tmp_path), "targets": {"north": north}, "route": route}), encoding="utf-8")

    shown, as_json = typed("config", "show", "-c", str(path)), typed("config", "show", "--json", "-c", str(path))

    tables = tomllib.loads(shown.out)
    assert tables == as_json.json
    assert (tables["targets"]["north"]["token"], tables["route"][0]["names"]) == ("**********", ["^R0[12]"])
    assert "canary" not in shown.out + as_json.out


def test_a_broken_file_is_one_line_of_the_offline_check(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[kuma]\ntoken = canary\n")

    answer = typed("config", "check", "-c", str(path))

    said = f"{path}: is not valid TOML at line 2, column 9: text is written in quotation marks"
    assert (answer.code, answer.out) == (2, f"problem  {said}\n")


def test_a_command_tells_one_problem_and_how_many_more_there_are(tmp_path: Path) -> None:
    tables = {"poll": {"intervall": "5s"}, "log": {"level": "loud"}}
    path = write_config(tmp_path / "config.toml", merged(usual(tmp_path), tables))

    sentence = typed("run", "-c", str(path)).sentence

    assert sentence.startswith("kuma-sync: poll.intervall: is not a known key, did you mean poll.interval? (1 more: ")
    assert sentence.endswith("`kuma-sync config check` lists them)")


def test_the_schema_is_json_and_knows_every_section() -> None:
    schema = typed("config", "schema").json

    assert schema["type"] == "object"
    assert set(schema["properties"]) == {*tomllib.loads(example_text()), "targets", "route"}


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

    verified = {one["name"]: one["verified"] for one in listed}
    default = next(one for one in listed if one["name"] == "security-vision")
    lines = [line.split()[:3] for line in table.out.splitlines()]
    assert ["security-vision", "push", "no"] in lines
    assert ["security-vision-pull", "pull", "no"] in lines
    assert (verified["security-vision"], verified["request-tracker"]) == (False, True)
    assert "create" in default["operations"]
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
