"""Every way a configuration can be wrong ends in one sentence that names the key and what is expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings import load

GOOD = {
    "KUMA_SYNC_KUMA__URL": "kuma.example.com",
    "KUMA_SYNC_KUMA__TOKEN": "canary-token",
    "KUMA_SYNC_IRP__URL": "https://sv.example.com",
}


def problem(tmp_path: Path, toml: str, env: dict[str, str] | None = None) -> str:
    file = tmp_path / "config.toml"
    file.write_text(toml, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(file, {**GOOD, **(env or {})})
    return str(caught.value)


TOML_ERRORS = [
    ("[kuma]\napi_version = 'v9'", "kuma.api_version: 'v9' is not known, expected one of v1, v2, v2.1, v3"),
    (
        "[kuma]\nstatuses = ['nwe']",
        "kuma.statuses: 'nwe' is not known, expected one of new, assigned, escalated, closed",
    ),
    ("[kuma]\nstatuses = []", "kuma.statuses: expected at least one entry"),
    ("[kuma]\nverify_tls = 'perhaps'", "kuma.verify_tls: expected true or false"),
    ("[kuma]\ninstance = 'a:b'", "kuma.instance: expected a name without spaces and colons"),
    ("[kuma]\ninstance = ''", "kuma.instance: expected a name without spaces and colons"),
    ("[kuma]\ninstance = 5", "kuma.instance: expected text"),
    ("[kuma]\nca_file = '/no/such/ca.pem'", "kuma.ca_file: there is no such file"),
    ("[kuma]\nca_file = '/'", "kuma.ca_file: is a directory, expected a file"),
    ("[kuma]\nweb_url = 'ftp://x'", "kuma.web_url: expected an address that begins with https:// or http://"),
    ("[kuma]\ntenants = ['']", "kuma.tenants: must not be empty"),
    (
        "[kuma]\nwrite_back = true",
        'kuma.write_back: true needs kuma.api_version = "v3": only there can an alert be given',
    ),
    ("[kuma]\nwrite_back = true\napi_version = 'v2.1'", 'kuma.write_back: true needs kuma.api_version = "v3"'),
    ("[kuma]\nread_timeout = '0s'", "kuma.read_timeout: must be longer than zero"),
    (
        "[poll]\ninterval = 'soon'",
        'poll.interval: expected a duration such as "500ms", "30s", "10m", "2h" or "90d", or',
    ),
    ("[poll]\ninterval = true", "poll.interval: expected a duration"),
    ("[poll]\ninterval = -1", "poll.interval: expected a duration"),
    ("[poll]\ninterval = nan", "poll.interval: expected a duration"),
    ("[poll]\ninterval = 1e99", "poll.interval: expected a duration of at most 100 years"),
    ("[poll]\nintervall = 3", "poll.intervall: is not a known key, did you mean poll.interval?"),
    ("[poll]\nmax_alert_size = '32 apples'", 'poll.max_alert_size: expected a size such as "512KB" or "32MB", or'),
    ("[poll]\nmax_alert_size = 0", "poll.max_alert_size: must be more than zero"),
    ("[poll]\nmax_events = -1", "poll.max_events: must be at least 0"),
    ("[poll]\nmax_events = 1.5", "poll.max_events: expected a whole number"),
    ("[poll]\nmax_events = true", "poll.max_events: expected a whole number"),
    ("[poll]\nignore_before = '2026-01-31'", "poll.ignore_before: expected a time with its offset, such as"),
    ("[poll]\nignore_before = 2026-01-31T00:00:00", "poll.ignore_before: expected a time with its offset, such as"),
    ("[poll]\nignore_before = '2026-13-31T00:00:00Z'", "poll.ignore_before: expected a time with its offset, such as"),
    ("[poll]\nignore_before = '0001-01-01T00:00:00+05:00'", "poll.ignore_before: expected a time that lies"),
    ("[poll]\nignore_before = 9999-12-31T23:59:59-05:00", "poll.ignore_before: expected a time that lies"),
    (f"[poll]\nmax_alert_size = '{'9' * 5000}KB'", 'poll.max_alert_size: expected a size such as "512KB" or'),
    ("[irp]\nprofile = ' '", "irp.profile: must not be empty"),
    ("[irp]\nconcurrency = 0", "irp.concurrency: must be at least 1"),
    ("[irp]\nrate_limit = -0.5", "irp.rate_limit: must be at least 0"),
    ("[irp]\nfind_first = 'never'", "irp.find_first: 'never' is not known, expected one of auto, always"),
    ("[irp]\noptions = 3", "irp.options: expected a table"),
    ("[irp.options]\nsince = 2026-01-31", "irp.options.since: holds a date or a time, expected text, a number, true"),
    ("[irp.options]\na = { b = [12:00:00] }", "irp.options.a: holds a date or a time, expected text, a number, true"),
    ("[irp]\noptions = 'x'", "irp.options: expected a table"),
    ("[irp]\nclient_key = '/dev/null'", "irp.client_key: there is no such file"),
    ("[irp]\nto_irp = true", "irp.to_irp: is not a known key, did you mean close.to_irp?"),
    ("[irp]\ntokenfile = 'x'", "irp.tokenfile: is not a known key, did you mean irp.token_file?"),
    (
        "[close]\ndefault_reason = 'done'",
        "close.default_reason: is not known, expected one of responded, incorrect data, incorrect correlation rule",
    ),
    (
        "[close.reasons]\n'No threat' = 'nothing'",
        'close.reasons."No threat": is not known, expected one of responded, incorrect data, incorrect',
    ),
    ("[irp]\ntoken = 'a'\ntoken_file = 'b'", "irp.token: is given twice, here and as irp.token_file; keep one"),
    ("[web.tokens]\nsv = 'a'\nsv_file = 'b'", "web.tokens.sv: is given twice, here and as web.tokens.sv_file"),
    ("[retry]\nbase = '1h'\nmax = '1m'", "retry.max: must not be shorter than retry.base"),
    ("[brake]\nmax_closed_percent = 101", "brake.max_closed_percent: must be at most 100"),
    (
        "[store]\nurl = 'mysql://u@h/d'",
        'store.url: expected "sqlite:///path/of/file.db" or "postgresql://user@host/database"',
    ),
    ("[store]\nurl = 'sqlite://'", 'store.url: expected "sqlite:///path/of/file.db" or'),
    ("[store]\nurl = 'sqlite:///:memory:'", "store.url: expected the path of a file after sqlite:///"),
    ("[store]\nurl = 'sqlite:///x.db?mode=memory'", "store.url: expected the path of a file after sqlite:///"),
    ("[store]\nurl = 'postgresql://user@host'", 'store.url: expected "postgresql://user@host/database"'),
    ("[store]\nurl = 'postgresql://u@h:x/d'", 'store.url: expected "postgresql://user@host/database"'),
    ("[store]\nurl = 'postgresql://u@h/d?password=canary'", "store.url: must not hold a password among its parameters"),
    ("[store]\nurl = 'postgresql://u:1234/def@h/d'", "store.url: must not hold @ after the host; percent-encode / ? #"),
    ("[store]\nurl = 'postgresql://u:12/d?ef@h/d'", "store.url: must not hold @ after the host; percent-encode / ? #"),
    ("[store]\nurl = 'postgresql://u:canary/@h/d'", "store.url: must not hold @ after the host; percent-encode / ? #"),
    ("[web]\nlisten = '8484'", 'web.listen: expected "host:port" such as "127.0.0.1:8484", or "" for no HTTP door'),
    ("[web]\nlisten = ':8484'", 'web.listen: expected "host:port"'),
    ("[web]\nlisten = '127.0.0.1:70000'", 'web.listen: expected "host:port"'),
    (f"[web]\nlisten = '127.0.0.1:{'9' * 5000}'", 'web.listen: expected "host:port"'),
    ("[web]\nlisten = '::1:8484'", 'web.listen: expected "host:port"'),
    ("[web.tokens]\nsv = ''", "web.tokens.sv: the token must not be empty"),
    ("[web.tokens]\nsv = 5", "web.tokens.sv: expected text"),
    ("[web]\ntokens = 5", "web.tokens: expected a table"),
    ("[log]\nlevel = 'loud'", "log.level: 'loud' is not known, expected one of debug, info, warning, error"),
    ("[pool]\ninterval = 3", "pool: is not a known key, did you mean poll?"),
    ("dry_run = true", "dry_run: is not a known key"),
    ("kuma = 5", "kuma: expected a table, because the environment sets KUMA_SYNC_KUMA__TOKEN"),
    ("poll = 5", "poll: expected a table"),
]


@pytest.mark.parametrize(("toml", "sentence"), TOML_ERRORS)
def test_a_wrong_value_is_one_sentence_with_its_key(tmp_path: Path, toml: str, sentence: str) -> None:
    if "/dev/null" in toml:
        toml = toml.replace("/dev/null", str(tmp_path / "missing.pem"))

    told = problem(tmp_path, toml)

    assert told.startswith(sentence)
    assert "\n" not in told
    assert "canary" not in told


ENVIRONMENT_ERRORS = [
    ({"KUMA_SYNC_KUMA__URL": ""}, "kuma.url: is required"),
    ({"KUMA_SYNC_KUMA__TOKEN": ""}, "kuma.token: is required (or kuma.token_file)"),
    ({"KUMA_SYNC_IRP__URL": ""}, "irp.url: is required"),
    ({"KUMA_SYNC_KUMA__URL": "https://:7223"}, "kuma.url: expected an address such as"),
    ({"KUMA_SYNC_KUMA__URL": "kuma example"}, "kuma.url: expected an address such as"),
    ({"KUMA_SYNC_KUMA__URL": "kuma:99999"}, "kuma.url: expected an address such as"),
    ({"KUMA_SYNC_KUMA__URL": "https://kuma/?x=1"}, "kuma.url: expected an address without ? and #"),
    (
        {"KUMA_SYNC_KUMA__URL": "u:canary@kuma"},
        "kuma.url: must not hold a user or a password; they have keys of their own",
    ),
    ({"KUMA_SYNC_KUMA__PROXY": "socks5://canary@h:1"}, "kuma.proxy: expected a proxy address such as"),
    (
        {"KUMA_SYNC_KUMA__TOKEN": "canary canary"},
        "kuma.token: expected visible ASCII characters without spaces, in one",
    ),
    ({"KUMA_SYNC_IRP__PASSWORD": "a\nb"}, "irp.password: expected one line of printable characters"),
    ({"KUMA_SYNC_KUMA__TOKEN_FILE": "canary"}, "kuma.token: is given twice, here and as kuma.token_file; keep one"),
    ({"KUMA_SYNC_IRP__TOKEN_FILE": "canary"}, "irp.token_file: there is no such file"),
    (
        {"KUMA_SYNC_IRP__TOKEN_FILE": "${CREDENTIALS_DIRECTORY}/x"},
        "irp.token_file: ${CREDENTIALS_DIRECTORY} is not set",
    ),
    (
        {"KUMA_SYNC_STORE__PASSWORD": "a", "KUMA_SYNC_STORE__URL": "postgresql://u:canary@h/d"},
        "store.password: is given tw",
    ),
    (
        {"KUMA_SYNC_POLL__INTERVALL": "1"},
        "poll.intervall: is not a known key, did you mean poll.interval? (set by KUMA_S",
    ),
    (
        {"KUMA_SYNC_POLLS__INTERVAL": "1"},
        "polls: is not a known key, did you mean poll? (set by KUMA_SYNC_POLLS__INTERVAL)",
    ),
    ({"KUMA_SYNC_FOO__BAR__X": "1"}, "foo: is not a known key (set by KUMA_SYNC_FOO__BAR__X)"),
    ({"KUMA_SYNC_POLL__": "1"}, 'poll."": is not a known key'),
    ({"KUMA_SYNC_POLL__INTERVAL": "x"}, "poll.interval: expected a duration"),
    ({"KUMA_SYNC_KUMA__TENANTS": "[1"}, "kuma.tenants: expected a list"),
    ({"KUMA_SYNC_WEB__TOKENS": "canary"}, "web.tokens: expected a table"),
    ({"KUMA_SYNC_WEB__LISTEN__X": "1"}, 'web.listen: expected "host:port"'),
]


@pytest.mark.parametrize(("env", "sentence"), ENVIRONMENT_ERRORS)
def test_a_wrong_variable_is_one_sentence_and_shows_no_secret(env: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {**GOOD, **env})

    assert str(caught.value).startswith(sentence)
    assert "canary" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("table", ["KUMA_SYNC_WEB__TOKENS", "kuma_sync_web__tokens"])
def test_a_variable_that_would_hide_another_one_or_be_hidden_is_refused(table: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {**GOOD, table: '{"a": "canary-of-the-door"}', "KUMA_SYNC_WEB__TOKENS__B": "canary-of-the-desk"})

    sentence = "web.tokens: expected a table, because the environment sets KUMA_SYNC_WEB__TOKENS__B"
    assert str(caught.value) == sentence


def test_a_broken_file_is_named_with_line_and_column_and_not_quoted(tmp_path: Path) -> None:
    told = problem(tmp_path, "[kuma]\ntoken = canary\n")

    assert told == (
        f"{tmp_path / 'config.toml'}: is not valid TOML at line 2, column 9: text is written in quotation marks"
    )


def test_a_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    assert problem(tmp_path, "[kuma]\ntoken = ").startswith(f"{tmp_path / 'config.toml'}: is not valid TOML at ")


@pytest.mark.parametrize(
    ("value", "ending"),
    [
        (f"{'9' * 5000}", "holds a whole number of more than 64 bits at line 2"),
        (f"{'9' * 400}", "holds a whole number of more than 64 bits at poll.interval"),
        (f"0x{'f' * 6000}", "holds a whole number of more than 64 bits at poll.interval"),
        (f"[{{ a = -{'9' * 20} }}]", "holds a whole number of more than 64 bits at poll.interval.a"),
        ("[" * 5000, "is nested too deep"),
        (f"{{ {'.'.join('a' * 5000)} = 1 }}", "is nested too deep"),
    ],
    ids=["5000 digits", "400 digits", "hexadecimal", "in a list", "lists", "tables"],
)
def test_what_is_more_than_toml_promises_is_refused(tmp_path: Path, value: str, ending: str) -> None:
    assert problem(tmp_path, f"[poll]\ninterval = {value}\n") == f"{tmp_path / 'config.toml'}: {ending}"


@pytest.mark.parametrize(
    ("content", "ending"),
    [
        (None, ": there is no such file"),
        (b"[kuma]\ninstance = '\xcf'", ": is not UTF-8 text (line 2); save it as UTF-8"),
        ("[kuma]".encode("utf-16"), ": is UTF-16 text, as some editors on Windows write it; save it as UTF-8"),
        ("[kuma]".encode("utf-16-le"), ": is UTF-16 text, as some editors on Windows write it; save it as UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_as_text_is_named(tmp_path: Path, content: bytes | None, ending: str) -> None:
    file = tmp_path / "config.toml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        load(file, GOOD)

    assert str(caught.value) == f"{file}{ending}"


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the file cannot be read"):
        load(tmp_path, GOOD)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the file is empty"),
        (b"\n", "the file is empty"),
        (b"\xff", "the file is not UTF-8 text"),
        (b"a\nb", "expected vi"),
    ],
)
def test_a_secret_file_that_holds_no_token_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "token").write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        load(None, {**GOOD, "KUMA_SYNC_IRP__TOKEN_FILE": str(tmp_path / "token")})

    assert str(caught.value).startswith(f"irp.token_file: {sentence}")


@pytest.mark.parametrize(
    ("section", "key", "needed"),
    [("kuma", "client_key", "client_cert"), ("irp", "client_key", "client_cert"), ("web", "key_file", "cert_file")],
)
def test_a_key_without_its_certificate_is_refused(tmp_path: Path, section: str, key: str, needed: str) -> None:
    (tmp_path / "key.pem").write_text("x")

    told = problem(tmp_path, f"[{section}]\n{key} = '{tmp_path / 'key.pem'}'")

    assert told == f"{section}.{needed}: is required, because {section}.{key} is set"


def test_several_errors_tell_the_first_one_always(tmp_path: Path) -> None:
    toml = "[log]\nlevel = 'x'\n[poll]\ninterval = 'x'\nstrategy = 'x'"

    told = {problem(tmp_path, toml) for _ in range(5)}

    assert len(told) == 1
    assert told.pop().startswith("poll.interval:")
