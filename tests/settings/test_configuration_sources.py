"""File, environment and secret files; what a loaded configuration holds."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from locked import locked

from kuma_sync.core.closing import Reason
from kuma_sync.core.errors import ConfigError
from kuma_sync.settings import Secret, Settings, find_config, frozen_changes, load, secrets_of, to_toml
from kuma_sync.settings.warnings import cautions

GOOD = {"KUMA_SYNC_KUMA__URL": "kuma.example.com", "KUMA_SYNC_KUMA__TOKEN": "t", "KUMA_SYNC_IRP__URL": "sv.example.com"}


def loaded(tmp_path: Path, toml: str = "", env: dict[str, str] | None = None) -> Settings:
    file = tmp_path / "config.toml"
    file.write_text(toml, encoding="utf-8")
    file.chmod(0o600)
    return load(file, {**GOOD, **(env or {})})


def test_the_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    settings = loaded(tmp_path)

    assert settings.kuma.statuses == ("new",)
    assert settings.kuma.read_timeout == timedelta(minutes=2)
    assert (settings.poll.interval, settings.poll.overlap) == (timedelta(seconds=30), timedelta(minutes=30))
    assert settings.poll.max_alert_size == 32 * 1024 * 1024
    assert settings.poll.ignore_before is None
    assert settings.irp.options == {"organization": ""}
    assert settings.close.default_reason is Reason.RESPONDED
    assert settings.close.reasons == {"False positive": Reason.INCORRECT_DATA}
    assert settings.store.retention == timedelta(days=90)
    assert settings.web.listen == "127.0.0.1:8484"
    assert not settings.irp.token
    assert settings.warnings == ()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        "[poll]\ninterval = '10s'\noverlap = '1h'",
        {"KUMA_SYNC_POLL__INTERVAL": "5", "kuma_sync_log__level": "DEBUG"},
    )

    assert settings.poll.interval == timedelta(seconds=5)
    assert settings.poll.overlap == timedelta(hours=1)
    assert settings.log.level == "debug"


def test_variables_without_a_double_underscore_are_not_keys(tmp_path: Path) -> None:
    settings = loaded(tmp_path, env={"KUMA_SYNC_CONFIG": "x", "KUMA_SYNC_FOO": "x", "OTHER__KEY": "x"})

    assert to_toml(settings) == to_toml(loaded(tmp_path))


@pytest.mark.parametrize("text", ["new,assigned", " new , assigned,", '["new", "assigned"]'])
def test_a_list_in_the_environment_is_json_or_separated_by_commas(tmp_path: Path, text: str) -> None:
    assert loaded(tmp_path, env={"KUMA_SYNC_KUMA__STATUSES": text}).kuma.statuses == ("new", "assigned")


def test_numbers_and_booleans_come_through_the_environment(tmp_path: Path) -> None:
    env = {"KUMA_SYNC_KUMA__VERIFY_TLS": "false", "KUMA_SYNC_IRP__CONCURRENCY": "4", "KUMA_SYNC_IRP__RATE_LIMIT": "2.5"}

    settings = loaded(tmp_path, env=env)

    assert (settings.kuma.verify_tls, settings.irp.concurrency, settings.irp.rate_limit) == (False, 4, 2.5)


def test_an_underscore_in_a_variable_also_stands_for_a_hyphen(tmp_path: Path) -> None:
    toml = "[web.tokens]\nsecurity-vision = 'old'\n[close.reasons]\n'False positive' = 'responded'"

    settings = loaded(
        tmp_path,
        toml,
        {
            "KUMA_SYNC_WEB__TOKENS__SECURITY_VISION": "new",
            "KUMA_SYNC_WEB__TOKENS__OTHER_DESK": "other",
            "KUMA_SYNC_CLOSE__REASONS__FALSE_POSITIVE": "incorrect data",
            "KUMA_SYNC_IRP__OPTIONS__CUSTOMER_CODE": "7",
        },
    )

    assert {name: token.reveal() for name, token in settings.web.tokens.items()} == {
        "security-vision": "new",
        "other-desk": "other",
    }
    assert settings.close.reasons == {"False positive": Reason.INCORRECT_DATA}
    assert settings.irp.options == {"organization": "", "customer_code": "7"}


def test_tables_in_the_environment_are_json(tmp_path: Path) -> None:
    env = {"KUMA_SYNC_WEB__TOKENS": '{"sv": "abc"}', "KUMA_SYNC_CLOSE__REASONS": '{"No threat": "responded"}'}

    settings = loaded(tmp_path, env=env)

    assert settings.web.tokens["sv"].reveal() == "abc"
    assert settings.close.reasons == {"No threat": Reason.RESPONDED}


def test_a_secret_comes_from_its_file_without_the_newline_and_can_be_read_again(tmp_path: Path) -> None:
    secret = tmp_path / "sv-token"
    secret.write_text("first\r\n")
    secret.chmod(0o600)

    settings = loaded(tmp_path, f"[web.tokens]\nsv_file = '{secret}'")
    token = settings.web.tokens["sv"]
    secret.write_text("second\n")

    assert token.reveal() == "first"
    assert token.reload()
    assert token.reveal() == "second"


@pytest.mark.parametrize("content", [None, "second".encode("utf-16")])
def test_a_secret_file_that_cannot_be_read_again_changes_nothing(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    secret = Secret(path=file)
    file.unlink()
    if content is not None:
        file.write_bytes(content)

    assert not secret.reload()
    assert secret.reveal() == "first"


def test_the_credentials_directory_is_expanded_in_every_file(tmp_path: Path) -> None:
    for name in ("kuma", "ca.pem", "cert.pem", "sv"):
        (tmp_path / name).write_text("x")
    toml = """
        [kuma]
        token_file = "${CREDENTIALS_DIRECTORY}/kuma"
        ca_file = "${CREDENTIALS_DIRECTORY}/ca.pem"
        [web]
        cert_file = "${CREDENTIALS_DIRECTORY}/cert.pem"
        [web.tokens]
        sv_file = "${CREDENTIALS_DIRECTORY}/sv"
        """

    settings = loaded(tmp_path, toml, {"CREDENTIALS_DIRECTORY": str(tmp_path), "KUMA_SYNC_KUMA__TOKEN": ""})

    assert settings.kuma.token.path == tmp_path / "kuma"
    assert settings.kuma.ca_file == tmp_path / "ca.pem"
    assert settings.web.cert_file == tmp_path / "cert.pem"
    assert settings.web.tokens["sv"].path == tmp_path / "sv"


def test_a_secret_in_the_environment_replaces_its_file_and_the_other_way_round(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from-file")
    toml = f"[irp]\ntoken_file = '{secret}'\n[web.tokens]\nsv = 'inline'"

    settings = loaded(
        tmp_path,
        toml,
        {"KUMA_SYNC_IRP__TOKEN": "from-env", "KUMA_SYNC_WEB__TOKENS__SV_FILE": str(secret)},
    )

    assert settings.irp.token.reveal() == "from-env"
    assert settings.web.tokens["sv"].reveal() == "from-file"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("kuma.example.com", "https://kuma.example.com:7223"),
        ("kuma.example.com:7223", "https://kuma.example.com:7223"),
        ("https://KUMA.example.com/", "https://kuma.example.com:7223"),
        ("http://127.0.0.1:9999", "http://127.0.0.1:9999"),
        ("https://kuma.example.com:443/soc/kuma/", "https://kuma.example.com:443/soc/kuma"),
        ("[::1]:8000", "https://[::1]:8000"),
    ],
)
def test_kumas_address_is_completed(tmp_path: Path, given: str, url: str) -> None:
    assert loaded(tmp_path, env={"KUMA_SYNC_KUMA__URL": given}).kuma.url == url


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("sv.example.com", "https://sv.example.com"),
        ("https://sv.example.com:443/", "https://sv.example.com"),
        ("http://sv.example.com:8080/base/", "http://sv.example.com:8080/base"),
    ],
)
def test_the_irps_address_is_completed_without_a_port(tmp_path: Path, given: str, url: str) -> None:
    assert loaded(tmp_path, env={"KUMA_SYNC_IRP__URL": given}).irp.url == url


def test_a_password_inside_the_stores_address_is_moved_out_of_it(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "[store]\nurl = ' postgresql://sync:p%40ss@db.example.com:5433/kuma?sslmode=require'")

    assert settings.store.url == "postgresql://sync@db.example.com:5433/kuma?sslmode=require"
    assert settings.store.password.reveal() == "p@ss"


@pytest.mark.parametrize(
    "url", ["sqlite:////var/lib/kuma.db", "sqlite:////var/lib/50%.db", "postgresql://u@h/d", "postgresql:///d"]
)
def test_these_stores_are_accepted(tmp_path: Path, url: str) -> None:
    assert loaded(tmp_path, f"[store]\nurl = '{url}'").store.url == url


@pytest.mark.parametrize(
    "written", ["'2026-01-31T03:00:00+03:00'", "2026-01-31T03:00:00+03:00", "'2026-01-31t00:00:00z'"]
)
def test_a_moment_is_utc(tmp_path: Path, written: str) -> None:
    settings = loaded(tmp_path, f"[poll]\nignore_before = {written}")

    assert settings.poll.ignore_before == datetime(2026, 1, 31, tzinfo=UTC)
    assert settings.poll.ignore_before.tzinfo is UTC


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("'500ms'", timedelta(milliseconds=500)),
        ("'1.5h'", timedelta(minutes=90)),
        ("2.5", timedelta(seconds=2.5)),
        ("90", timedelta(seconds=90)),
        ("'90'", timedelta(seconds=90)),
        ("'90d'", timedelta(days=90)),
    ],
)
def test_durations_have_units(tmp_path: Path, written: str, expected: timedelta) -> None:
    assert loaded(tmp_path, f"[poll]\ninterval = {written}").poll.interval == expected


@pytest.mark.parametrize(
    ("written", "expected"), [("'1kb'", 1024), ("'2 MB'", 2 << 20), ("'1GB'", 1 << 30), ("77", 77)]
)
def test_sizes_have_units(tmp_path: Path, written: str, expected: int) -> None:
    assert loaded(tmp_path, f"[poll]\nmax_alert_size = {written}").poll.max_alert_size == expected


def test_reasons_are_compared_without_case_and_the_default_may_be_none(tmp_path: Path) -> None:
    toml = "[close]\ndefault_reason = ''\n[close.reasons]\n'Bad rule' = 'Incorrect Correlation Rule'"

    close = loaded(tmp_path, toml).close

    assert close.default_reason is None
    assert close.reasons == {"Bad rule": Reason.INCORRECT_RULE}


def test_writing_back_is_for_the_newest_version_of_kumas_api(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "[kuma]\nwrite_back = true\napi_version = 'v3'")

    assert (settings.kuma.write_back, loaded(tmp_path).kuma.write_back) == (True, False)


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings = loaded(tmp_path)

    with pytest.raises(ValueError, match="frozen"):
        settings.poll.max_events = 5  # type: ignore[misc]  # that is what is tried


@pytest.mark.parametrize(
    ("key", "env"),
    [
        ("store.url", {"KUMA_SYNC_STORE__URL": "sqlite:///other.db"}),
        ("web.listen", {"KUMA_SYNC_WEB__LISTEN": ""}),
        ("kuma.url", {"KUMA_SYNC_KUMA__URL": "other"}),
        ("kuma.instance", {"KUMA_SYNC_KUMA__INSTANCE": "other"}),
        ("irp.url", {"KUMA_SYNC_IRP__URL": "other"}),
        ("irp.profile", {"KUMA_SYNC_IRP__PROFILE": "other"}),
    ],
)
def test_a_reload_may_not_change_what_needs_a_restart(tmp_path: Path, key: str, env: dict[str, str]) -> None:
    assert frozen_changes(loaded(tmp_path), loaded(tmp_path, env=env)) == [key]


def test_a_reload_may_change_the_rest_and_write_an_address_differently(tmp_path: Path) -> None:
    env = {"KUMA_SYNC_KUMA__URL": "https://KUMA.example.com:7223/", "KUMA_SYNC_POLL__INTERVAL": "1m"}

    assert frozen_changes(loaded(tmp_path), loaded(tmp_path, env=env)) == []


def test_what_should_not_stay_so_earns_a_warning(tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text("abc")
    secret.chmod(0o644)
    env = {
        "KUMA_SYNC_KUMA__URL": "http://kuma.example.com",
        "KUMA_SYNC_IRP__VERIFY_TLS": "false",
        "KUMA_SYNC_IRP__TOKEN_FILE": str(secret),
        "KUMA_SYNC_WEB__LISTEN": "0.0.0.0:8484",
        "KUMA_SYNC_WEB__TOKENS__SV": "abc",
    }

    warnings = tuple(map(str, loaded(tmp_path, env=env).warnings))

    assert [warning.split(":")[0] for warning in warnings] == [
        "kuma.url",
        "irp.verify_tls",
        "web.listen",
        "web.tokens.sv",
        "irp.token_file",
    ]


def test_a_short_token_of_the_door_and_one_that_is_there_twice_earn_warnings(tmp_path: Path) -> None:
    toml = "[web]\nmetrics_token = 'canary-of-the-door'\n[web.tokens]\na = 'canary-of-doors'\nb = 'canary-of-the-door'"

    warnings = tuple(map(str, loaded(tmp_path, toml).warnings))

    assert warnings == (
        "web.tokens.a: is shorter than 16 characters and may be guessed; `openssl rand -hex 32` makes one",
        "web.metrics_token: is the same token as web.tokens.b: who calls cannot be told apart; give each its own",
    )


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("KUMA_SYNC_KUMA_URL", "KUMA_SYNC_KUMA__URL"),
        ("kuma_sync_irp_token_file", "KUMA_SYNC_IRP__TOKEN_FILE"),
        ("KUMA_SYNC_POLL_SWEEP_INTERVAL", "KUMA_SYNC_POLL__SWEEP_INTERVAL"),
        ("KUMA_SYNC_POLL_INTERVALL", "KUMA_SYNC_POLL__INTERVAL"),
        ("KUMA_SYNC_WEB_TOKENS_SECURITY_VISION", "KUMA_SYNC_WEB__TOKENS__SECURITY_VISION"),
        ("KUMA_SYNC_IRP_OPTIONS_ORGANIZATION", "KUMA_SYNC_IRP__OPTIONS__ORGANIZATION"),
    ],
)
def test_a_variable_with_one_underscore_is_told_with_its_right_name(tmp_path: Path, name: str, right: str) -> None:
    (warning,) = map(str, loaded(tmp_path, env={name: "canary"}).warnings)

    assert warning == f"the environment variable {name} is not read; write {right}, with two underscores"


def test_a_missing_key_tells_the_variable_that_was_meant_for_it(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("")
    env = {"KUMA_SYNC_KUMA_URL": "canary", "KUMA_SYNC_KUMA__TOKEN": "t", "KUMA_SYNC_IRP__URL": "sv"}

    with pytest.raises(ConfigError) as caught:
        load(file, env)
    with pytest.raises(ConfigError, match="write KUMA_SYNC_KUMA__URL, with two underscores"):
        find_config(None, {"KUMA_SYNC_KUMA_URL": "canary"}, system_wide=tmp_path / "gone.toml")

    meant = "the environment variable KUMA_SYNC_KUMA_URL is not read; write KUMA_SYNC_KUMA__URL, with two underscores"
    assert str(caught.value) == f"kuma.url: is required; {meant}"


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:1", "[::1]:1"])
def test_plain_http_on_loopback_is_silent(tmp_path: Path, host: str) -> None:
    assert loaded(tmp_path, env={"KUMA_SYNC_KUMA__URL": f"http://{host}"}).warnings == ()


@pytest.mark.parametrize("host", ["127.evil.example.com:1", "128.0.0.1:1", "localhost.example.com:1", "[::2]:1"])
def test_plain_http_to_what_only_looks_like_loopback_is_not(tmp_path: Path, host: str) -> None:
    (warning,) = map(str, loaded(tmp_path, env={"KUMA_SYNC_KUMA__URL": f"http://{host}"}).warnings)

    assert warning.startswith("kuma.url:")


def test_secrets_in_a_configuration_that_everyone_can_read_earn_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[irp]\ntoken = 'canary'\nproxy = 'http://u:canary@proxy:1'")
    file.chmod(0o644)

    warnings = tuple(map(str, load(file, GOOD).warnings))

    assert warnings == (
        f"{file} holds secrets (irp.token, irp.proxy) and can be read by every user of this machine; chmod o-r it",
    )


def test_secrets_in_the_services_configuration_are_to_go_into_files(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    options = "[irp.options]\napi_key = 'canary'"
    file.write_text(f"[store]\nurl = 'postgresql://u:canary@h/d'\n[irp]\ntoken = 'canary'\n{options}")
    file.chmod(0o644)

    (warning,) = map(str, cautions(load(file, GOOD), file, {"kuma.token": ""}, {}, system_wide=file))

    assert warning == (
        f"{file} holds secrets (irp.token, store.password, irp.options.api_key) and can be read by every user of this "
        "machine; put them into files of their own (irp.token_file, store.password_file), those of irp.options into "
        "environment variables; no chmod: the service must read this file as another user"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file to another user")
def test_secrets_in_a_configuration_of_another_user_earn_no_advice_that_locks_us_out(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[irp]\ntoken = 'canary'")
    file.chmod(0o644)
    os.chown(file, 12345, 12345)

    (warning,) = map(str, load(file, GOOD).warnings)

    assert warning.endswith(
        "put them into files of their own (irp.token_file); no chmod: the service must read this file as another user"
    )


def test_a_secrets_file_of_the_service_is_closed_and_handed_to_it_by_systemd(tmp_path: Path) -> None:
    secret = tmp_path / "kuma-token"
    secret.write_text("canary")
    secret.chmod(0o644)
    settings = loaded(tmp_path, env={"KUMA_SYNC_IRP__TOKEN_FILE": str(secret)})

    (warning,) = map(str, cautions(settings, None, {}, {}, system_wide=tmp_path / "config.toml"))

    assert warning == (
        f"irp.token_file: {secret} can be read by every user of this machine; chmod o-r it; the service gets it by "
        'LoadCredential= in the unit, and "${CREDENTIALS_DIRECTORY}/kuma-token" here'
    )


@pytest.mark.parametrize(
    "env",
    [
        {"KUMA_SYNC_STORE__URL": "postgresql://u:canary@h/d", "KUMA_SYNC_WEB__TOKENS": '{"a": "canary-of-the-door"}'},
        {"KUMA_SYNC_STORE__PASSWORD": "canary", "KUMA_SYNC_WEB__TOKENS__A": "canary-of-the-door"},
    ],
)
def test_secrets_that_the_environment_gives_are_not_in_the_file(tmp_path: Path, env: dict[str, str]) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[store]\nurl = 'postgresql://u@h/d'\n[web.tokens]\na = 'x'\n[kuma]\nproxy = 'http://user@proxy:1'")
    file.chmod(0o644)

    assert load(file, {**GOOD, **env}).warnings == ()


def test_a_password_in_the_file_is_told_though_the_environment_gives_the_address(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[store]\npassword = 'canary'\n[web.tokens]\nproxy = '[canary-of-the-door'")
    file.chmod(0o644)

    (warning,) = map(str, load(file, {**GOOD, "KUMA_SYNC_STORE__URL": "postgresql://u@h/d"}).warnings)

    assert "holds secrets (store.password, web.tokens.proxy)" in warning


def test_all_secrets_can_be_listed(tmp_path: Path) -> None:
    options = "[irp.options]\norganization = 'ours'\nsap = {api_key = 'k', credentials = {words = ['w']}}"
    settings = loaded(tmp_path, f"[web.tokens]\nsv = 'abc'\n[irp]\npassword = 'p w'\n{options}")

    assert {key: secret.reveal() for key, secret in secrets_of(settings)} == {
        "kuma.token": "t",
        "irp.password": "p w",
        "web.tokens.sv": "abc",
        "irp.options.sap.api_key": "k",
        "irp.options.sap.credentials.words": "w",
    }


def test_the_configuration_is_found_in_the_order_of_the_contract(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = [tmp_path / name for name in ("option.toml", "variable.toml", "config.toml", "etc.toml")]
    for file in files:
        file.touch()
    env = {"KUMA_SYNC_CONFIG": str(files[1])}

    assert find_config(files[0], env, system_wide=files[3]) == files[0]
    assert find_config(None, env, system_wide=files[3]) == files[1]
    assert find_config(None, {}, system_wide=files[3]) == Path("config.toml")
    files[2].unlink()
    assert find_config(None, {}, system_wide=files[3]) == files[3]
    files[3].unlink()
    assert find_config(None, GOOD, system_wide=files[3]) is None
    with pytest.raises(ConfigError, match="no configuration found"):
        find_config(None, {"KUMA_SYNC_X": "no key"}, system_wide=files[3])


def test_a_named_configuration_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--config: there is no file"):
        find_config(tmp_path / "x", {})
    with pytest.raises(ConfigError, match=r"^KUMA_SYNC_CONFIG: there is no file"):
        find_config(None, {"KUMA_SYNC_CONFIG": str(tmp_path / "x")})


def test_a_folder_in_place_of_the_file_is_told_as_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").mkdir()

    for option, env, system_wide in (
        (tmp_path / "config.toml", {}, tmp_path / "x"),
        (None, GOOD, tmp_path / "config.toml"),
    ):
        with pytest.raises(ConfigError, match=r"config\.toml is a folder, expected a file; a container runtime makes"):
            find_config(option, env, system_wide=system_wide)


def test_a_folder_that_lets_nobody_in_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "config.toml"

    for key, option, env in (
        ("--config", file, {}),
        ("KUMA_SYNC_CONFIG", None, {"KUMA_SYNC_CONFIG": "config.toml"}),
    ):
        with locked(tmp_path), pytest.raises(ConfigError) as caught:
            find_config(option, env)

        assert str(caught.value) == f"{key}: {file} cannot be looked for (Permission denied)"


def test_a_current_folder_that_lets_nobody_in_holds_no_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").touch()
    open_to_all = Path("/etc/passwd")

    with locked(tmp_path):
        assert find_config(None, {}, system_wide=open_to_all) == open_to_all


def test_what_can_be_no_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be looked for \(File name too long\)$"):
        find_config(tmp_path / ("x" * 300), {})
