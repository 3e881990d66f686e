"""The console's keys: what is accepted, and the sentence that refuses what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings import Settings, changed_keys, load, masked, read, secrets_of
from kuma_sync.settings.origins import Source, keys_of

ADDRESSES = {"KUMA_SYNC_KUMA__URL": "kuma", "KUMA_SYNC_IRP__URL": "sv", "KUMA_SYNC_KUMA__TOKEN": "t"}
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21l$YWJjZGVmZ2hpamtsbW5vcHFyc3R1dg"
CONSOLE = "KUMA_SYNC_WEB__CONSOLE"


def configured(folder: Path, text: str, **env: str) -> Settings:
    return load(written(folder, text), {**ADDRESSES, **env})


def written(folder: Path, text: str) -> Path:
    file = folder / "config.toml"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('enabled = "perhaps"', "enabled: expected true or false"),
        ('sesion = "8h"', "sesion: is not a known key, did you mean web.console.session?"),
        ('session = "0s"', "session: must be longer than zero"),
        ('user_header = "X-User"', "proxy_addresses: is required, because web.console.user_header is set"),
        (
            'user_header = "Cookie"',
            'user_header: expected the name of a header that only the proxy sets, such as "X-Remote-User"',
        ),
        ('user_header = "a b"', "user_header: expected the name of a header"),
        (
            'proxy_addresses = ["10.0.0.1/8"]',
            'proxy_addresses: expected an address or a network, such as "127.0.0.1" or "10.0.0.0/8"',
        ),
        ('users = "anna"', "users: expected a table"),
        ('users.anna = "canary"', "users.anna: expected an argon2 hash; `kuma-sync console-user` asks"),
        (f'users.anna = "{HASH.replace("19456", "9999999")}"', "users.anna: expected a hash of at most 128 MB"),
        (f'users." a" = "{HASH}"', "users: expected a name of at most 64 printable characters"),
        ('users.anna_file = "/nowhere/hash"', "users.anna_file: there is no such file"),
        ('roles.anna = "admin"', "roles.anna: 'admin' is not known, expected one of viewer, operator"),
        ('oidc.issuer = "https://id"', "oidc.client_id: is required, because web.console.oidc.issuer is set"),
        ('oidc.scopes = ["profile"]', 'oidc.scopes: expected "openid" among them'),
        ('oidc.client_idd = "x"', "oidc.client_idd: is not a known key, did you mean web.console.oidc.client_id?"),
        ('oidc.ca_file = "/nowhere.pem"', "oidc.ca_file: "),
    ],
)
def test_a_wrong_key_is_refused_with_a_sentence_that_names_it(tmp_path: Path, text: str, sentence: str) -> None:
    error = read(written(tmp_path, f"[web.console]\n{text}"), ADDRESSES).error

    assert isinstance(error, ConfigError)
    assert str(error).startswith(f"web.console.{sentence}")
    assert "canary" not in str(error)


def test_the_environment_reaches_every_depth(tmp_path: Path) -> None:
    file = f"""
        [web.console]
        session = "8h"
        proxy_addresses = ["10.0.0.0/8"]
        [web.console.users]
        anna-maria = "{HASH}"
        [web.console.oidc]
        issuer = "https://id.example.com/realm/"
        client_id = "x"
        client_secret_file = "/nowhere"
    """
    other = HASH.replace("19456", "1024")
    settings = configured(
        tmp_path,
        file,
        **{
            f"{CONSOLE}__ENABLED": "true",
            f"{CONSOLE}__PROXY_ADDRESSES": "127.0.0.1, ::1",
            f"{CONSOLE}__USERS__ANNA_MARIA": other,
            f"{CONSOLE}__USERS__BORIS": HASH,
            f"{CONSOLE}__ROLES__BORIS": "Viewer",
            f"{CONSOLE}__OIDC__CLIENT_SECRET": "canary",
            f"{CONSOLE}__OIDC__OPERATORS": '["soc"]',
            "KUMA_SYNC_WEB__METRICS_PUBLIC": "true",
        },
    )

    console = settings.web.console
    assert (console.enabled, settings.web.metrics_public) == (True, True)
    assert [str(one) for one in console.proxy_addresses] == ["127.0.0.1/32", "::1/128"]
    assert {name: secret.reveal() for name, secret in console.users.items()} == {"anna-maria": other, "boris": HASH}
    assert dict(console.roles) == {"boris": "viewer"}
    assert (console.oidc.issuer, console.oidc.client_secret.reveal()) == ("https://id.example.com/realm", "canary")
    assert console.oidc.operators == ("soc",)


@pytest.mark.parametrize(
    "env",
    [
        {CONSOLE: '{"enabled": true, "oidc": {"issuer": "id", "client_id": "x"}}'},
        {f"{CONSOLE}__ENABLED": "1", f"{CONSOLE}__OIDC": '{"issuer": "id", "client_id": "x"}'},
    ],
)
def test_a_whole_table_may_be_json_in_the_environment(tmp_path: Path, env: dict[str, str]) -> None:
    console = configured(tmp_path, "", **env).web.console

    assert (console.enabled, console.oidc.issuer, console.oidc.client_id) == (True, "https://id", "x")


def test_hashes_and_secrets_are_masked_and_known_as_secrets(tmp_path: Path) -> None:
    (tmp_path / "hash").write_text(HASH)
    (tmp_path / "hash").chmod(0o600)
    text = f"""
        [web.console]
        users = {{ anna = "{HASH}", boris_file = "hash" }}
        oidc = {{ issuer = "https://id", client_id = "x", client_secret = "canary", operators = ["soc"] }}
    """
    settings = configured(tmp_path, text)

    shown = masked(settings)["web"]["console"]
    assert shown["users"] == {"anna": "**********", "boris_file": str(tmp_path / "hash")}
    assert shown["oidc"]["client_secret"] == "**********"
    assert {key for key, _secret in secrets_of(settings) if "console" in key} == {
        "web.console.users.anna",
        "web.console.users.boris",
        "web.console.oidc.client_secret",
    }
    assert "canary" not in repr(settings) + repr(keys_of(settings))


def test_every_key_has_its_source(tmp_path: Path) -> None:
    settings = configured(
        tmp_path,
        '[web.console]\nsession = "2h"\n[[route]]\nnames = ["x"]\ntarget = "irp"',
        **{f"{CONSOLE}__ENABLED": "1", "KUMA_SYNC_CLOSE__REASONS": '{"a": "responded"}'},
    )

    found = {key.name: (key.value, key.source, key.variable) for key in keys_of(settings)}
    assert found["web.console.session"] == ('"2h"', Source.FILE, "")
    assert found["web.console.enabled"] == ("true", Source.ENVIRONMENT, f"{CONSOLE}__ENABLED")
    assert found["web.console.user_header"] == ('""', Source.DEFAULT, "")
    assert found["close.reasons.a"] == ('"responded"', Source.ENVIRONMENT, "KUMA_SYNC_CLOSE__REASONS")
    assert found["route[1].names"] == ('["x"]', Source.FILE, "")
    assert found["kuma.token"] == ('"**********"', Source.ENVIRONMENT, "KUMA_SYNC_KUMA__TOKEN")


def test_a_reload_names_the_users_that_changed_and_no_hash(tmp_path: Path) -> None:
    one = configured(tmp_path, f'[web.console.users]\nanna = "{HASH}"')
    other = configured(tmp_path, f'[web.console]\nenabled = true\nusers.boris = "{HASH}"')

    assert changed_keys(one, other) == [
        "web.console.enabled",
        "web.console.users.anna",
        "web.console.users.boris",
    ]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("", "web.console: nobody can sign in; `kuma-sync console-user` makes a line"),
        ('user_header = "X-User"\nproxy_addresses = ["::1"]', ""),
        (f'users.anna = "{HASH}"\nroles.bob = "viewer"', "web.console.roles.bob: there is no such user"),
        ('oidc = { issuer = "id", client_id = "x" }', "web.console.oidc: nobody who signs in there may see anything"),
        ('oidc = { issuer = "http://id", client_id = "x", viewers = ["a"] }', "web.console.oidc.issuer: http://"),
        ('oidc = { issuer = "http://127.0.0.1", client_id = "x", viewers = ["a"] }', ""),
    ],
)
def test_what_keeps_people_out_or_lets_the_wrong_ones_in_earns_a_warning(
    tmp_path: Path, text: str, warning: str
) -> None:
    warnings = tuple(map(str, configured(tmp_path, f"[web.console]\nenabled = true\n{text}").warnings))

    assert [one[: len(warning)] for one in warnings] == [warning] * bool(warning)


def test_a_console_in_the_open_warns_of_passwords_on_the_way(tmp_path: Path) -> None:
    text = f'[web]\nlisten = "0.0.0.0:8484"\n[web.console]\nenabled = true\nusers.anna = "{HASH}"'

    warnings = tuple(map(str, configured(tmp_path, text).warnings))

    assert [one for one in warnings if one.startswith("web.listen: the console's passwords arrive unencrypted")]
