"""The example, the page and the schema name every key; nothing that is shown holds a secret."""

from __future__ import annotations

import json
import logging
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings import (
    SECTIONS,
    Section,
    Settings,
    example_text,
    json_schema,
    load,
    masked,
    secret_keys,
    to_toml,
)
from kuma_sync.settings.console import ConsoleSection, OidcSection
from kuma_sync.settings.sections import IrpSection, RouteSection

ROOT = Path(__file__).parents[2]
REQUIRED = {"kuma.url", "irp.url"}
MASK = "**********"
ADDRESSES = {"KUMA_SYNC_KUMA__URL": "kuma", "KUMA_SYNC_IRP__URL": "sv", "KUMA_SYNC_KUMA__TOKEN": "t"}


TABLES: dict[str, type[Section]] = {**SECTIONS, "web.console": ConsoleSection, "web.console.oidc": OidcSection}
"""The tables that the example and the page have, those inside a section too."""


def written_default(section: str, key: str) -> Any:
    """What a model's default looks like in a file."""
    field = TABLES[section].model_fields[key]
    if f"{section}.{key}" in TABLES:
        inner = f"{section}.{key}"
        return {name: written_default(inner, name) for name in TABLES[inner].key_names()}
    if field.is_required() or key in TABLES[section].secret_keys():
        return ""
    return list(field.default) if isinstance(field.default, tuple) else field.default


def all_keys() -> list[tuple[str, str]]:
    return [(section, key) for section, model in SECTIONS.items() for key in model.key_names()]


def test_the_sections_are_those_of_the_contract() -> None:
    named = "kuma poll irp close retry brake store run web notify log privacy"
    assert list(SECTIONS) == named.split()
    assert all(issubclass(model, Section) for model in SECTIONS.values())


@pytest.mark.parametrize(("section", "key"), all_keys())
def test_the_example_shows_every_key_with_its_default(section: str, key: str) -> None:
    example = tomllib.loads(example_text())

    assert example[section][key] == written_default(section, key)


def test_the_example_has_no_other_keys_and_explains_each_in_a_comment() -> None:
    example = tomllib.loads(example_text())
    lines = [line for line in example_text().splitlines() if re.match(r"(# )?[A-Za-z_\" -]+ = |\[", line)]

    assert {f"{section}.{key}" for section in example for key in example[section]} == {
        f"{section}.{key}" for section, key in all_keys()
    }
    unexplained = [line for line in lines if not line.startswith("[") and "#" not in line[1:]]
    assert unexplained == ['"False positive" = "incorrect data"']


@pytest.mark.parametrize("section", TABLES)
def test_the_example_mentions_the_file_form_of_every_secret(section: str) -> None:
    body = example_text().split(f"\n[{section}]")[1].split("\n[")[0]

    assert all(f"# {key}_file = " in body for key in TABLES[section].secret_keys())


def test_the_example_loads_once_addresses_and_token_are_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "config.toml"
    file.write_text(example_text(), encoding="utf-8")

    assert to_toml(load(file, ADDRESSES)) == to_toml(load(None, ADDRESSES))
    with pytest.raises(ConfigError, match=r"^kuma.url: is required"):
        load(file, {})


def test_the_example_loads_with_all_that_is_commented_out_in_it(tmp_path: Path) -> None:
    text = re.sub(r"^# (?=\[|[\w-]+ = )", "", example_text(), flags=re.MULTILINE)
    tables, values = tomllib.loads(text), tomllib.loads(text)
    values["web"].pop("tokens")  # an empty one is refused
    values["irp"].pop("secrets")
    values["web"]["console"].pop("users")
    file = tmp_path / "config.toml"
    file.write_text(tomli_w.dumps(values), encoding="utf-8")

    settings = load(file, ADDRESSES)

    assert set(tables) == set(Settings.model_fields)
    assert set(tables["targets"]["north"]) <= set(IrpSection.model_fields)
    assert [set(route) for route in tables["route"]] == [set(RouteSection.model_fields)]
    assert settings.irps["north"].url == "https://north.example.com"
    assert {key: value for key, value in values["route"][0].items() if value} == {"target": "north"}


def test_the_page_has_a_table_of_every_key_of_a_route() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    body = page.split("\n## [[route]]\n")[1].split("\n## ")[0]

    assert re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE) == list(RouteSection.model_fields)


def test_the_example_is_found_in_a_wheel_and_in_a_checkout(tmp_path: Path) -> None:
    package = tmp_path / "kuma_sync"
    package.mkdir()
    (tmp_path / "config.example.toml").write_text("beside")
    beside = example_text(package=package)
    (package / "config.example.toml").write_text("inside")

    assert (beside, example_text(package=package)) == ("beside", "inside")


@pytest.mark.parametrize("section", TABLES)
def test_the_page_has_one_table_a_section_with_every_key_and_its_default(section: str) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    body = page.split(f"\n## [{section}]\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.+?)`|(required)) \| .+ \|$", body, re.MULTILINE)

    assert [key for key, *_ in rows] == list(TABLES[section].key_names())
    for key, default, required in rows:
        if required:
            assert f"{section}.{key}" in REQUIRED | {"kuma.token"}
        elif f"{section}.{key}" in TABLES:
            assert default == "{}", "its own table has them"
        else:
            assert tomllib.loads(f"x = {default}")["x"] == written_default(section, key)


def canaries(tmp_path: Path) -> tuple[Settings, list[str]]:
    """Load a configuration with a canary in every secret, alternately inline and from a file."""
    lines, birds = [], []
    for section, model in SECTIONS.items():
        lines.append(f"[{section}]")
        lines += [f'url = "{section}.example.com"'] if section in {"kuma", "irp"} else []
        lines += ['url = "postgresql://sync@db/kuma"'] if section == "store" else []
        for key in secret_keys(section):
            bird = f"canary-{section}-{key}"
            birds.append(bird)
            forms = {"proxy": f"http://user:{bird}@proxy:3128"} | {
                f"{what}_url": f"https://alarms.example.com/{bird}" for what in ("heartbeat", "webhook")
            }
            lines.append(f'{key} = "{forms.get(key, bird)}"')
        for table in model.secret_tables():
            (tmp_path / f"{table}-file").write_text(f"canary-{table}-file")
            birds += [f"canary-{table}-inline", f"canary-{table}-file"]
            lines += [f"[{section}.{table}]", f'a = "canary-{table}-inline"', f'b_file = "{tmp_path / table}-file"']
    file = tmp_path / "config.toml"
    file.write_text("\n".join(lines))
    return load(file, {}), birds


def test_no_secret_is_in_anything_that_is_shown(tmp_path: Path) -> None:
    settings, birds = canaries(tmp_path)

    shown = "\n".join(
        [
            repr(settings),
            str(settings),
            to_toml(settings),
            json.dumps(masked(settings)),
            json.dumps(json_schema()),
            *map(str, settings.warnings),
        ]
    )

    assert len(birds) == 13
    assert "canary" not in shown
    assert 'token = "**********"' in shown
    assert 'proxy = "http://**********@proxy:3128"' in shown


@pytest.mark.parametrize(
    "breaker", ["[log]\nlevel = 'x'", "[poll]\nx = 1", "[kuma]\nx = 1", "[irp]\nconcurrency = 'x'"]
)
def test_no_secret_is_in_an_error_about_a_neighbour(tmp_path: Path, breaker: str) -> None:
    section = breaker.split("\n", maxsplit=1)[0]
    canaries(tmp_path)
    text = (tmp_path / "config.toml").read_text() + "\n"
    text = text.replace(f"{section}\n", f"{breaker}\n", 1)
    (tmp_path / "config.toml").write_text(text)

    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "config.toml", {})

    assert "canary" not in str(caught.value) + repr(caught.value)


def test_no_secret_is_in_what_the_library_logs_where_it_is_told_to_log_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    caplog.set_level(logging.DEBUG, logger="pydantic_settings")

    canaries(tmp_path)

    assert "canary" not in caplog.text


def test_what_is_shown_is_toml_again_and_means_the_same(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        "[poll]\ninterval = 90\nmax_alert_size = 1048576\nignore_before = 2026-01-31T00:00:00Z\n"
        "[irp.options]\norganization = 'Ромашка \"SOC\" \\'\nlist = [1, {a = 'b'}]\ndeep = {a = {b = 1.5}}\n"
        "[close.reasons]\n'Ложное' = 'incorrect data'",
        encoding="utf-8",
    )
    settings = load(file, ADDRESSES)

    file.write_text(to_toml(settings), encoding="utf-8")
    again = load(file, ADDRESSES)

    assert to_toml(again) == to_toml(settings)
    assert again.irp.options == settings.irp.options
    assert 'interval = "90s"' in to_toml(settings)


def test_a_secret_from_a_file_is_shown_as_its_path(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("canary")

    settings = load(None, {**ADDRESSES, "KUMA_SYNC_IRP__TOKEN_FILE": str(secret)})

    assert masked(settings)["irp"]["token_file"] == str(secret)
    assert "token" not in masked(settings)["irp"]


def test_an_option_with_the_name_of_a_secret_is_masked(tmp_path: Path) -> None:
    settings = load(None, {**ADDRESSES, "KUMA_SYNC_IRP__OPTIONS__API_KEY": "canary"})

    assert masked(settings)["irp"]["options"] == {"organization": "", "api_key": "**********"}


def test_all_that_is_below_the_name_of_a_secret_is_masked_whatever_it_is(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        "[irp.options]\napi_keys = ['canary']\ntoken = 12345678\ndb_pwd = 'canary'\nempty_token = ''\n"
        "desks = [{ name = 'a', password = 'canary' }]\n"
        "[irp.options.secret]\na = 'canary'\n"
        "[irp.options.deep.deeper]\nPrivateKey = 'canary'\nqueue = 5\n"
    )
    settings = load(file, ADDRESSES)

    assert masked(settings)["irp"]["options"] == {
        "organization": "",
        "api_keys": MASK,
        "token": MASK,
        "db_pwd": MASK,
        "empty_token": "",
        "desks": [{"name": "a", "password": MASK}],
        "secret": MASK,
        "deep": {"deeper": {"PrivateKey": MASK, "queue": 5}},
    }
    assert "canary" not in to_toml(settings)


def test_a_resolution_is_no_secret_whatever_it_is_called(tmp_path: Path) -> None:
    settings = load(None, {**ADDRESSES, "KUMA_SYNC_CLOSE__REASONS": '{"Token revoked": "responded"}'})

    assert masked(settings)["close"]["reasons"] == {"Token revoked": "responded"}


def test_the_schema_knows_every_key_and_the_file_form_of_every_secret() -> None:
    schema = json_schema()

    for section, model in SECTIONS.items():
        properties = schema["$defs"][model.__name__]["properties"]
        assert set(properties) == {*model.model_fields, *(f"{key}_file" for key in secret_keys(section))}
        assert schema["$defs"][model.__name__]["additionalProperties"] is False
    assert schema["$defs"]["PollSection"]["properties"]["interval"]["default"] == "30s"
    assert schema["required"] == ["kuma"]
    assert schema["anyOf"] == [{"required": ["irp"]}, {"required": ["targets"]}]
    assert schema["properties"]["targets"]["additionalProperties"] == {"$ref": "#/$defs/IrpSection"}
    assert set(schema["$defs"]["RouteSection"]["properties"]) == set(RouteSection.model_fields)
