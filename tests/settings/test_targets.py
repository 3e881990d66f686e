"""Several IRPs: every key of [irp] below [targets.<name>], one of them broken, and an IRP that polls us."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from locked import locked

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings import (
    Settings,
    changed_keys,
    frozen_changes,
    json_schema,
    load,
    load_store,
    masked,
    read,
    secrets_of,
    to_toml,
)
from kuma_sync.settings.sections import IrpSection

KUMA = {"KUMA_SYNC_KUMA__URL": "kuma.example.com", "KUMA_SYNC_KUMA__TOKEN": "t"}
PULL = "profile = 'security-vision-pull'\n"
OTHER: dict[str, Any] = {
    "profile": "ours.toml",
    "url": "https://north.example.com/base",
    "username": "sync",
    "verify_tls": False,
    "connect_timeout": "3s",
    "read_timeout": "4s",
    "concurrency": 3,
    "rate_limit": 2.5,
    "find_first": "always",
    "repeat_for": "1h",
    "expect_every": "",
    "options": {"organization": "North", "queue": "7"},
}
"""A value for each key that is neither a secret nor a file, other than its default."""


def loaded(folder: Path, toml: str, env: dict[str, str] | None = None) -> Settings:
    file = folder / "config.toml"
    file.write_text(toml, encoding="utf-8")
    file.chmod(0o600)
    return load(file, {**KUMA, **(env or {})})


def refused(folder: Path, toml: str, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, toml, env)
    return caught.value.lines


def every_key(folder: Path) -> dict[str, Any]:
    """Return a table with every key of [irp], secrets as text."""
    for name in ("ours.toml", "ca_file", "client_cert", "client_key"):
        (folder / name).write_text("")
        (folder / name).chmod(0o600)
    files = {name: str(folder / name) for name in ("ca_file", "client_cert", "client_key")}
    profile = {"profile": str(folder / "ours.toml")}
    secrets = {key: f"canary-{key}" for key in IrpSection.secret_keys()} | {"proxy": "http://u:canary-proxy@proxy:1"}
    named = {key: {"further": f"canary-{key}"} for key in IrpSection.secret_tables()}
    return {**OTHER, **profile, **files, **secrets, **named}


def test_a_target_has_every_key_of_irp_and_means_the_same_by_it(tmp_path: Path) -> None:
    table = every_key(tmp_path)
    text = tomli_w.dumps({"irp": table, "targets": {"north": table}})

    settings = loaded(tmp_path, text)

    assert set(table) == set(IrpSection.key_names())
    assert masked(settings)["targets"]["north"] == masked(settings)["irp"]
    assert [
        key for key, value in masked(loaded(tmp_path, "[irp]\nurl = 'sv'"))["irp"].items() if value == table[key]
    ] == []
    for key in IrpSection.key_names():
        if key not in (*IrpSection.secret_keys(), *IrpSection.secret_tables()):
            assert getattr(settings.targets["north"], key) == getattr(settings.irp, key), key


def test_the_environment_gives_every_key_of_a_target(tmp_path: Path) -> None:
    table = every_key(tmp_path)
    flat = {key: value for key, value in table.items() if not isinstance(value, dict)}
    flat |= {
        f"{key}__{name}": inner
        for key, value in table.items()
        if isinstance(value, dict)
        for name, inner in value.items()
    }
    env = {f"KUMA_SYNC_TARGETS__NORTH__{key.upper()}": str(value) for key, value in flat.items()}

    settings = loaded(tmp_path, "[targets.north]\nurl = 'old'\ntoken_file = 'gone'", env)

    assert (
        masked(settings)["targets"] == masked(loaded(tmp_path, tomli_w.dumps({"targets": {"north": table}})))["targets"]
    )


@pytest.mark.parametrize("key", IrpSection.secret_keys())
def test_a_targets_secret_is_masked_listed_and_may_come_from_a_file(tmp_path: Path, key: str) -> None:
    bird = "http://u:canary@proxy:1" if key == "proxy" else "canary"
    (tmp_path / "secret").write_text(f"{bird}\n")
    inline = loaded(tmp_path, f"[targets.north]\nurl = 'n'\n{key} = '{bird}'")
    filed = loaded(
        tmp_path,
        f"[targets.north]\nurl = 'n'\n{key}_file = '${{CREDENTIALS_DIRECTORY}}/secret'",
        {"CREDENTIALS_DIRECTORY": str(tmp_path)},
    )
    changed = loaded(
        tmp_path,
        f"[targets.north]\nurl = 'n'\n{key} = '{bird}'",
        {f"KUMA_SYNC_TARGETS__NORTH__{key.upper()}_FILE": "secret"},
    )

    for settings in (inline, filed, changed):
        assert {name: secret.reveal() for name, secret in secrets_of(settings)}[f"targets.north.{key}"] == bird
        assert "canary" not in to_toml(settings) + json.dumps(masked(settings)) + repr(settings)
    assert masked(filed)["targets"]["north"][f"{key}_file"] == str(tmp_path / "secret")
    assert changed.targets["north"].model_dump()[f"{key}_file"] == str(tmp_path / "secret")


def test_a_secret_among_a_targets_options_is_masked_and_listed(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "[targets.north]\nurl = 'n'\n[targets.north.options]\napi_key = 'canary'")

    assert masked(settings)["targets"]["north"]["options"]["api_key"] == "**********"
    assert ("targets.north.options.api_key", "canary") in [(key, one.reveal()) for key, one in secrets_of(settings)]


def test_irp_comes_first_and_the_targets_in_their_order(tmp_path: Path) -> None:
    toml = "[targets.zebra]\nurl = 'z'\n[targets.ape]\nurl = 'a'\n[irp]\nurl = 'sv'"

    several = loaded(tmp_path, toml, {"KUMA_SYNC_TARGETS__LAST__URL": "l"})
    plain = loaded(tmp_path, "[irp]\nurl = 'sv'")

    assert list(several.irps) == ["irp", "zebra", "ape", "last"]
    assert [irp.url for irp in several.irps.values()] == ["https://sv", "https://z", "https://a", "https://l"]
    assert (several.several, plain.several) == (True, False)
    assert (dict(plain.irps), dict(plain.targets), plain.has_plain) == ({"irp": plain.irp}, {}, True)
    assert {"targets", "route"} & masked(plain).keys() == set()


def test_irp_may_be_left_out_where_there_is_a_target(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "[targets.north]\nurl = 'n'")

    assert (list(settings.irps), settings.several, settings.has_plain) == (["north"], False, False)
    assert (settings.irp.url, settings.irp.concurrency) == ("", 8)
    assert "irp" not in masked(settings)
    assert refused(tmp_path, "") == refused(tmp_path, "[targets]") == ["irp.url: is required"]
    assert refused(tmp_path, "[irp]\n[targets.north]\nurl = 'n'") == ["irp.url: is required"]


def test_what_is_shown_of_targets_and_routes_means_the_same_again(tmp_path: Path) -> None:
    table = {key: value for key, value in every_key(tmp_path).items() if key not in IrpSection.secret_tables()}
    for key in IrpSection.secret_keys():
        (tmp_path / key).write_text(table.pop(key))
        table[f"{key}_file"] = str(tmp_path / key)
    route = {"tenants": ["Север"], "priorities": ["high"], "names": [r"^R0[12]\b"], "target": "north-1"}
    settings = loaded(tmp_path, tomli_w.dumps({"targets": {"north-1": table}, "route": [route]}))

    again = loaded(tmp_path, to_toml(settings))

    assert to_toml(again) == to_toml(settings)
    assert changed_keys(settings, again) == []


@pytest.mark.parametrize("written", ["north-1", "North-1", "NORTH_1", "north_1"])
def test_a_variable_finds_its_target_without_case_and_with_either_dash(tmp_path: Path, written: str) -> None:
    settings = loaded(tmp_path, f"[targets.{written}]\nurl = 'n'", {"KUMA_SYNC_TARGETS__NORTH_1__RATE_LIMIT": "5"})

    assert {name: irp.rate_limit for name, irp in settings.irps.items()} == {written: 5}


def test_a_target_may_come_from_the_environment_alone_a_key_or_a_table(tmp_path: Path) -> None:
    env = {"KUMA_SYNC_TARGETS__FAR_NORTH__URL": "n", "KUMA_SYNC_TARGETS__SOUTH": '{"url": "s", "token": "canary"}'}

    settings = loaded(tmp_path, "", env)

    assert {name: irp.url for name, irp in settings.irps.items()} == {"far-north": "https://n", "south": "https://s"}
    assert settings.targets["south"].token.reveal() == "canary"


WRONG = [
    ("[targets.north]\nurl = 'n'\nulr = 'x'", "targets.north.ulr: is not a known key, did you mean targets.north.url?"),
    ("[targets.north]\nurl = ''", "targets.north.url: is required"),
    ("[targets.north]\nurl = 'ftp://x'", "targets.north.url: expected an address that begins with https:// or"),
    ("[targets.north]\nurl = 'n'\nconcurrency = 0", "targets.north.concurrency: must be at least 1"),
    (
        "[targets.north]\nurl = 'n'\ntoken = 'canary canary'\nprofile = 'security-vision-pull'",
        "targets.north.token: expected vis",
    ),
    ("[targets.north]\nurl = 'n'\ntoken = 5", "targets.north.token: expected text"),
    ("[targets.north]\nurl = 'n'\ntoken = 'a'\ntoken_file = 'b'", "targets.north.token: is given twice, here and as"),
    ("[targets.north]\nurl = 'n'\ntoken_file = 5", "targets.north.token_file: expected the path of a file"),
    ("[targets.north]\nurl = 'n'\nca_file = 5", "targets.north.ca_file: expected the path of a file"),
    ("[targets.north]\nurl = 'n'\nclient_key = 'config.toml'", "targets.north.client_cert: is required, because"),
    ("[targets.north]\nurl = 'n'\nexpect_every = '0s'", "targets.north.expect_every: must be longer than zero"),
    ("[targets.north]\nurl = 'n'\nrepeat_for = 'soon'", "targets.north.repeat_for: expected a duration"),
    (
        "[targets.north.options]\na = { b = [12:00:00] }\n[targets.north]\nurl = 'n'",
        "targets.north.options.a: holds a date",
    ),
    ("[targets]\nnorth = 5", "targets.north: expected a table"),
    ("[targets.'no rth']\nurl = 'n'", 'targets."no rth": expected a name of 1 to 32 letters, digits, - and _'),
    ("[targets.'']\nurl = 'n'", 'targets."": expected a name of 1 to 32 letters, digits, - and _'),
    ("[targets.Север]\nurl = 'n'".replace("Север", "'Север'"), 'targets."Север": expected a name of 1 to 32 letters'),
    (f"[targets.{'n' * 33}]\nurl = 'n'", f"targets.{'n' * 33}: expected a name of 1 to 32 letters"),
    ("[target.north]\nurl = 'n'\n[irp]\nurl = 'x'", "target: is not a known key, did you mean targets?"),
]


@pytest.mark.parametrize(("toml", "sentence"), WRONG, ids=[sentence[:60] for _toml, sentence in WRONG])
def test_a_wrong_target_is_one_sentence_with_its_key(tmp_path: Path, toml: str, sentence: str) -> None:
    (line,) = refused(tmp_path, toml)

    assert line.startswith(sentence)
    assert "canary" not in line


@pytest.mark.parametrize("name", ["irp", "kuma", "close", "ignore", "all", "All"])
def test_a_name_with_another_meaning_is_no_target(tmp_path: Path, name: str) -> None:
    (line,) = refused(tmp_path, f"[targets.{name}]\nurl = 'n'")

    assert line.startswith(f"targets.{name}: this name means something else already; all, close, ignore, irp, kuma")


def test_names_that_the_environment_cannot_tell_apart_are_refused(tmp_path: Path) -> None:
    lines = refused(tmp_path, "[targets.north-1]\nurl = 'n'\n[targets.North_1]\nurl = 'n'")

    assert lines[0].startswith("targets.north-1: differs from targets.North_1 only in case, or in - and _")
    assert loaded(tmp_path, f"[targets.{'n' * 32}]\nurl = 'n'\n[targets.7]\nurl = 'n'").several


WRONG_VARIABLES = [
    (
        {"KUMA_SYNC_TARGETS__NORTH__ULR": "canary", "KUMA_SYNC_TARGETS__NORTH__URL": "n"},
        "targets.north.ulr: is not a known key, did you mean targets.north.url? (set by KUMA_SYNC_TARGETS__NORTH__ULR)",
    ),
    ({"KUMA_SYNC_TARGETS__NORTH": "canary"}, "targets.north: expected a table (set by KUMA_SYNC_TARGETS__NORTH)"),
    (
        {"KUMA_SYNC_TARGETS__NORTH": '{"url": "canary"}', "KUMA_SYNC_TARGETS__NORTH__URL": "canary"},
        "targets.north: expected a table, because the environment sets KUMA_SYNC_TARGETS__NORTH__URL",
    ),
    (
        {
            "KUMA_SYNC_TARGETS__NORTH__OPTIONS": '{"a": "b"}',
            "KUMA_SYNC_TARGETS__NORTH__OPTIONS__A": "canary",
            "KUMA_SYNC_TARGETS__NORTH__URL": "n",
        },
        "targets.north.options: expected a table, because the environment sets KUMA_SYNC_TARGETS__NORTH__OPTIONS__A",
    ),
    ({"KUMA_SYNC_ROUTE__TARGET": "canary"}, "route: cannot be given by KUMA_SYNC_ROUTE__TARGET; write [[route]] into"),
]


@pytest.mark.parametrize(("env", "sentence"), WRONG_VARIABLES)
def test_a_wrong_variable_of_a_target_is_one_sentence(tmp_path: Path, env: dict[str, str], sentence: str) -> None:
    (line,) = refused(tmp_path, "[irp]\nurl = 'sv'", env)

    assert line.startswith(sentence)
    assert "canary" not in line


def test_a_variable_of_a_target_with_one_underscore_is_told_with_its_right_name(tmp_path: Path) -> None:
    variable = {"KUMA_SYNC_TARGETS_NORTH_TOKEN_FILE": "canary"}

    (warning,) = map(str, loaded(tmp_path, "[targets.north]\nurl = 'n'", variable).warnings)

    assert "write KUMA_SYNC_TARGETS__NORTH__TOKEN_FILE, with two underscores" in warning


def test_what_should_not_stay_so_in_a_target_earns_a_warning_with_its_name(tmp_path: Path) -> None:
    for name in ("token", "cert.pem", "key.pem"):
        (tmp_path / name).write_text("canary")
        (tmp_path / name).chmod(0o644)
    files = "token_file = 'token'\nclient_cert = 'cert.pem'\nclient_key = 'key.pem'"
    target = f"url = 'http://n.example.com'\nverify_tls = false\n{files}"

    warnings = tuple(map(str, loaded(tmp_path, f"[targets.north]\n{target}").warnings))

    assert [warning.partition(":")[0] for warning in warnings] == [
        "targets.north.url",
        "targets.north.verify_tls",
        "targets.north.token_file",
        "targets.north.client_key",
    ]
    assert "set targets.north.ca_file instead" in warnings[1]


def test_a_targets_secrets_in_a_file_that_everyone_can_read_earn_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        "[targets.north]\nurl = 'n'\ntoken = 'canary'\nproxy = 'http://proxy:1'\n[targets.north.options]\npwd = 'x'"
    )
    file.chmod(0o644)

    (warning,) = map(str, load(file, KUMA).warnings)
    given = load(
        file, {**KUMA, "KUMA_SYNC_TARGETS__NORTH__TOKEN": "t", "KUMA_SYNC_TARGETS__NORTH__OPTIONS": '{"pwd": "x"}'}
    )

    assert "holds secrets (targets.north.token, targets.north.options.pwd)" in warning
    assert given.warnings == ()


# One broken target


SECRET_FILES = [f"{key}_file" for key in IrpSection.secret_keys()]
CERTIFICATES = ["ca_file", "client_cert", "client_key"]


@pytest.mark.parametrize(
    ("key", "content"),
    [(key, None) for key in SECRET_FILES + CERTIFICATES]
    + [(key, "locked") for key in SECRET_FILES + CERTIFICATES]
    + [(key, "") for key in SECRET_FILES],  # what is in a certificate is judged when it is used
)
def test_a_file_that_one_of_several_cannot_read_leaves_the_others_alone(
    tmp_path: Path, key: str, content: str | None
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    if content is not None:
        (folder / "it").write_text(content)
    (tmp_path / "cert.pem").write_text("")
    cert = "client_cert = 'cert.pem'\n" if key == "client_key" else ""
    wrong = f"url = 'n'\nconcurrency = 3\n{cert}{key} = '{folder / 'it'}'\n"

    with locked(folder) if content else nullcontext():
        target = loaded(tmp_path, f"[irp]\nurl = 'sv'\n[targets.north]\n{wrong}")
        plain = loaded(tmp_path, f"[targets.south]\nurl = 's'\n[irp]\n{wrong}")
        alone = refused(tmp_path, f"[irp]\n{wrong}")

    assert (list(target.irps), list(target.broken), target.several) == (["irp"], ["north"], True)
    assert target.broken["north"].startswith(f"targets.north.{key}: ")
    assert (target.targets["north"].url, target.targets["north"].concurrency) == ("https://n", 3)
    assert (list(plain.irps), list(plain.broken)) == (["south"], ["irp"])
    assert plain.broken["irp"].startswith(f"irp.{key}: ")
    assert alone == [plain.broken["irp"]]


def test_all_that_is_wrong_with_a_broken_target_is_one_sentence(tmp_path: Path) -> None:
    north = (
        f"[targets.north]\n{PULL}token_file = './gone'\nca_file = 'gone.pem'\nclient_cert = 'no'\nclient_key = 'no'\n"
    )

    settings = loaded(tmp_path, f"[irp]\nurl = 'sv'\n{north}")

    assert settings.broken == {
        "north": f"targets.north.token_file: there is no such file: {tmp_path}/gone; "
        f"targets.north.ca_file: there is no such file: {tmp_path}/gone.pem; "
        f"targets.north.client_cert: there is no such file: {tmp_path}/no; "
        f"targets.north.client_key: there is no such file: {tmp_path}/no"
    }
    assert not settings.targets["north"].token


def test_a_broken_target_and_a_mistake_elsewhere_are_told_together(tmp_path: Path) -> None:
    north = "[targets.north]\nurl = 'n'\ntoken_file = 'gone'\n"

    for mistake in (
        "[targets.south]\nurl = 's'\nulr = 'x'",
        "[log]\nlevel = 'loud'",
        "[targets.north.options]\na = 12:00:00",
    ):
        lines = refused(tmp_path, f"[irp]\nurl = 'sv'\n{north}{mistake}")

        assert lines[0].startswith("targets.north.token_file: there is no such file")
        assert len(lines) == 2


def test_no_target_left_over_is_an_error_as_with_a_single_one(tmp_path: Path) -> None:
    lines = refused(
        tmp_path, "[targets.north]\nurl = 'n'\ntoken_file = 'gone'\n[targets.south]\nurl = 's'\nca_file = 'gone'"
    )

    assert [line.partition(":")[0] for line in lines] == ["targets.north.token_file", "targets.south.ca_file"]


def test_where_only_the_store_is_needed_no_target_is_broken(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f"[irp]\nurl = 'sv'\n[targets.north]\n{PULL}token_file = '${{CREDENTIALS_DIRECTORY}}/gone'")

    settings = load(file, KUMA, remotes=False)
    file.write_text("[store]\nurl = 'sqlite:////x.db'\n[targets.north]\nulr = 5\n[[route]]\ntarget = 'nowhere'")

    assert (list(settings.irps), settings.broken) == (["irp", "north"], {})
    assert load_store(file, {}).store.url == "sqlite:////x.db"


def test_a_faulty_configuration_tells_which_targets_are_sound(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[log]\nlevel = 'loud'\n[targets.a]\nurl = 'a'\n[targets.b]\nurl = ''\n[targets.'c d']\nurl = 'c'")

    reading = read(file, KUMA)
    file.write_text("[irp]\nurl = 'sv'\ntoken_file = 'gone'\n[targets.a]\nurl = 'a'")
    broken = read(file, KUMA)

    assert (list(reading.irps), "irp" in reading.sections, "kuma" in reading.sections) == (["a"], False, True)
    assert (list(broken.irps), "irp" in broken.sections, broken.error) == (["a"], False, None)


# An IRP that polls us


def test_an_irp_that_asks_us_needs_no_address_but_a_token(tmp_path: Path) -> None:
    (tmp_path / "ours.toml").write_text("[profile]\nname = 'ours'\nmode = 'pull'\n")
    for profile in ("security-vision-pull", "ours.toml"):
        settings = loaded(tmp_path, f"[irp]\nprofile = '{profile}'\ntoken = '0123456789abcdef'")
        lines = refused(tmp_path, f"[targets.north]\nprofile = '{profile}'")

        assert (settings.irp.url, settings.irp.pulls, settings.warnings) == ("", True, ())
        assert (settings.irp.repeat_for, settings.irp.expect_every) == (timedelta(minutes=15), timedelta(minutes=10))
        assert lines == [
            'targets.north.token: is required with a profile of mode = "pull": the IRP shows it at our door (or '
            "targets.north.token_file)"
        ]


@pytest.mark.parametrize("heading", ["[profile]\nname = 'ours'", "[profile]\nmode = 'push'", "[create]", "profile = 5"])
def test_an_irp_that_we_ask_needs_an_address(tmp_path: Path, heading: str) -> None:
    (tmp_path / "ours.toml").write_text(heading)

    assert refused(tmp_path, "[irp]\nprofile = 'ours.toml'") == ["irp.url: is required"]


def test_of_a_profile_that_cannot_be_read_only_the_profile_is_told_later(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[profile\n")

    for profile in ("broken.toml", "gone.toml", "no-such-profile"):
        assert loaded(tmp_path, f"[irp]\nprofile = '{profile}'").irp.url == ""


def test_nobody_is_waited_for_where_expect_every_is_empty(tmp_path: Path) -> None:
    irp = loaded(tmp_path, f"[irp]\n{PULL}token = '0123456789abcdef'\nexpect_every = ''\nrepeat_for = 0").irp

    assert (irp.expect_every, irp.repeat_for) == (None, timedelta(0))
    assert irp.model_dump()["expect_every"] == ""


def test_an_irp_that_asks_us_needs_a_token_of_its_own(tmp_path: Path) -> None:
    token = "token = 'canary-of-the-door'\n"
    north, south = f"[targets.north]\n{PULL}{token}", f"[targets.south]\n{PULL}{token}"

    pulls = refused(tmp_path, north + south)
    caller = refused(tmp_path, f"{north}[web.tokens]\nsv = 'canary-of-the-door'")
    pushed = loaded(tmp_path, f"{north}[targets.south]\nurl = 's'\n{token}")

    assert pulls == [
        "targets.north.token: is the same token as targets.south.token: an IRP that polls us needs one of its own",
        "targets.south.token: is the same token as targets.north.token: an IRP that polls us needs one of its own",
    ]
    assert caller == [
        "targets.north.token: is the same token as web.tokens.sv: an IRP that polls us needs one of its own"
    ]
    assert pushed.warnings == ()


def test_a_short_token_that_opens_the_door_earns_a_warning(tmp_path: Path) -> None:
    (warning,) = map(str, loaded(tmp_path, f"[targets.north]\n{PULL}token = 'short'").warnings)

    assert warning.startswith("targets.north.token: is shorter than 16 characters and may be guessed")


# A reload


TWO = "[irp]\nurl = 'sv'\n[targets.north]\nurl = 'n'\n"


@pytest.mark.parametrize(
    ("toml", "frozen"),
    [
        ("[irp]\nurl = 'sv'\n[targets.north]\nurl = 'other'", ["targets.north.url"]),
        (f"{TWO}profile = 'other'", ["targets.north.profile"]),
        (f"{TWO}profile = 'security-vision-pull'\ntoken = 'x'", ["targets.north.profile"]),
        (f"{TWO}rate_limit = 5\ntoken = 'x'", []),
        (f"{TWO}[targets.south]\nurl = 's'", []),
        ("[irp]\nurl = 'sv'", []),
        (f"{TWO}[[route]]\ntarget = 'north'", []),
        ("[targets.north]\nurl = 'n'", []),
        ("[irp]\nurl = 'other'\n[targets.north]\nurl = 'n'", ["irp.url"]),
        ("[irp]\nurl = 'other'", ["irp.url"]),
    ],
)
def test_a_reload_takes_targets_that_come_and_go_but_no_other_address(
    tmp_path: Path, toml: str, frozen: list[str]
) -> None:
    assert frozen_changes(loaded(tmp_path, TWO), loaded(tmp_path, toml)) == frozen


def test_a_broken_target_does_not_hide_that_its_address_was_changed(tmp_path: Path) -> None:
    toml = "[irp]\nurl = 'sv'\n[targets.north]\nurl = 'other'\ntoken_file = 'gone'"

    assert frozen_changes(loaded(tmp_path, TWO), loaded(tmp_path, toml)) == ["targets.north.url"]


@pytest.mark.parametrize(
    ("toml", "changed"),
    [
        (TWO, []),
        (f"{TWO}rate_limit = 5\ntoken = 'x'", ["targets.north.token", "targets.north.rate_limit"]),
        (f"{TWO}[targets.north.options]\na = 1", ["targets.north.options.a"]),
        (f"{TWO}[targets.south]\nurl = 's'", ["targets.south"]),
        ("[irp]\nurl = 'sv'", ["targets.north"]),
        (f"{TWO}[[route]]\ntarget = 'north'", ["route"]),
        (f"{TWO}[web.passthrough]\nallow = ['GET /api/v1/assets/']", ["web.passthrough.allow"]),
    ],
)
def test_the_keys_that_changed_are_named_with_their_target(tmp_path: Path, toml: str, changed: list[str]) -> None:
    assert changed_keys(loaded(tmp_path, TWO), loaded(tmp_path, toml)) == changed


def test_the_schema_describes_a_target_as_it_describes_irp() -> None:
    properties = json_schema()["properties"]

    assert properties["targets"]["additionalProperties"] == properties["irp"] == {"$ref": "#/$defs/IrpSection"}


def test_irp_that_asks_us_where_there_is_no_door_is_warned_of() -> None:
    asks = {"KUMA_SYNC_IRP__PROFILE": "security-vision-pull", "KUMA_SYNC_IRP__TOKEN": "t" * 32}

    (warning,) = map(str, load(None, {**KUMA, **asks, "KUMA_SYNC_WEB__LISTEN": ""}).warnings)
    (open_to_all,) = map(str, load(None, {**KUMA, **asks, "KUMA_SYNC_WEB__LISTEN": "0.0.0.0:8484"}).warnings)

    assert warning == "web.listen: there is no door, and irp would have to ask there for its alerts"
    assert open_to_all.startswith("web.listen: tokens arrive unencrypted")
