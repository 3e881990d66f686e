"""What people really write into a configuration by mistake, and the sentence that it earns."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from kuma_sync.core.errors import ConfigError
from kuma_sync.irp.load import load_profile
from kuma_sync.settings import load, read

ENV = {
    "KUMA_SYNC_KUMA__URL": "kuma.example.com",
    "KUMA_SYNC_KUMA__TOKEN": "canary-token",
    "KUMA_SYNC_IRP__URL": "https://sv.example.com",
}
QUOTES = "text is written in quotation marks"
NUMBER = 'what is no plain number is written in quotation marks, as in "30s" or "127.0.0.1:8484"'
BACKSLASH = "a backslash in \"…\" begins an escape; write the text in '…', or every backslash twice"
NO_EQUALS = "a line is key = value; there is no = behind this key (a name with a space stands in quotation marks)"
FOLLOWS = 'something follows the closing quotation mark; inside "…" a quotation mark is written \\"'
OPEN = "the closing quotation mark is missing"
TYPOGRAPHIC = "this quotation mark is a typographic one; TOML knows \" and '"

NO_TOML = [
    ("[kuma]\ntoken = canary\n", (2, 9), QUOTES),
    ("[kuma]\nurl = https://canary.example.com", (2, 7), QUOTES),
    ("[kuma]\nca_file = /etc/canary.pem", (2, 11), QUOTES),
    ("[kuma]\nstatuses = [new, assigned]", (2, 13), QUOTES),
    ("[irp]\noptions = { organization = Canary }", (2, 28), QUOTES),
    ("[kuma]\ntoken =\nurl = 'canary'", (2, 8), "the value is missing"),
    ("[kuma]\ntoken = # canary", (2, 9), "the value is missing"),
    ("[kuma]\ntoken = ", (2, 9), "the value is missing"),
    ("[poll]\ninterval = 30s", (2, 14), NUMBER),
    ("[poll]\nmax_alert_size = 32MB", (2, 20), NUMBER),
    ("[web]\nlisten = 127.0.0.1:8484", (2, 15), NUMBER),
    ("[poll]\nignore_before = 2026-01-31T25:00:00Z", (2, 27), NUMBER),
    ("[kuma]\nverify_tls = False", (2, 14), "write false"),
    ("[kuma]\nverify_tls = no", (2, 14), "write false"),
    ("[kuma]\nwith_affected = Yes", (2, 17), "write true"),
    ("[web]\nlisten = null", (2, 10), 'write ""'),
    ("[web]\nlisten = None", (2, 10), 'write ""'),
    ("[kuma]\ntoken = “canary”", (2, 9), TYPOGRAPHIC),
    ("[kuma]\ntoken = «canary»", (2, 9), TYPOGRAPHIC),
    ("[kuma]\ntoken = ‘canary’", (2, 9), TYPOGRAPHIC),
    ("[kuma]\ntoken = `canary`", (2, 9), TYPOGRAPHIC),
    ('[kuma]\ntoken = "canary\nurl = "x"', (2, 16), OPEN),
    ("[kuma]\ntoken = 'canary", (2, 16), OPEN),
    ("[kuma]\ntoken = '''canary", (2, 18), OPEN),
    ('[kuma]\ntoken = "can"ary"', (2, 14), FOLLOWS),
    ('[kuma]\ntoken = "canary" canary', (2, 18), FOLLOWS),
    ('[kuma]\ntoken_file = "C:\\secrets\\canary"', (2, 19), BACKSLASH),
    ('[kuma]\ntoken_file = "C:\\Users\\canary"', (2, 19), BACKSLASH),
    ('[irp]\nprofile = "\\\\canary\\sv.toml"', (2, 22), BACKSLASH),
    ("[kuma]\ntoken: canary", (2, 6), "a key and its value are joined by =, not by a colon"),
    ("kuma:\n  token: canary", (1, 5), "a key and its value are joined by =, not by a colon"),
    ('{"kuma": {"token": "canary"}}', (1, 1), "this looks like JSON or YAML"),
    ("---\nkuma: canary", (1, 4), "this looks like JSON or YAML"),
    ("; canary", (1, 1), "a comment begins with #"),
    ("// canary", (1, 1), "a comment begins with #"),
    ("[kuma]\ntoken", (2, 6), NO_EQUALS),
    ("[kuma]\ncanary-token-without-a-key\n", (2, 27), NO_EQUALS),
    ("[web.tokens]\nsecurity vision = 'canary'", (2, 10), NO_EQUALS),
    ("[web.tokens]\nпесочница = 'canary'", (2, 1), "a name that has other letters than A-Z, a-z, 0-9, _ and - is"),
    ("[kuma\ntoken = 'canary'", (1, 6), "a section is written [name], with nothing behind it"),
    ("[kuma] token = 'canary'", (1, 8), "a section is written [name], with nothing behind it"),
    ("[kuma]\n[irp]\n[kuma]\n", (3, 6), "the section [kuma] is there twice"),
    ("[kuma]\nurl = 'canary'\nurl = 'canary'\n", (3, 15), "url is there twice, or is a value and a section at once"),
    ("[web]\ntokens = {a = 'canary', a = 'x'}", (2, 32), "tokens is there twice, or is a value and a section at once"),
    ("[kuma]\nstatuses = ['canary' 'new']", (2, 22), "the closing ] is missing, or a comma between two entries"),
    ("[kuma]\nstatuses = ['canary'\n", (2, 21), "the closing ] is missing, or a comma between two entries"),
    ("[web]\ntokens = {a = 'canary'", (2, 23), "the closing } is missing, or a comma between two entries"),
    ("[kuma]\ntoken = 'canary',", (2, 17), "something follows the closing quotation mark"),
    ("[poll]\nmax_events = 5,", (2, 15), "something follows the value"),
    ("\u00a0[kuma]", (1, 1), "the sign U+00A0 (no-break space) does not belong here"),
    ("[kuma]\ntoken =\u00a0'canary'", (2, 8), "the sign U+00A0 (no-break space) does not belong here"),
    ("[kuma]\ntoken\u200b= 'canary'", (2, 6), "the sign U+200B (zero width space) does not belong here"),
    ("[kuma]\ntoken = 'can\x01ary'", (2, 13), "the sign U+0001 (a control character) does not belong here"),
    ("[kuma]\rtoken = 'canary'", (1, 7), "the sign U+000D (a control character) does not belong here"),
]


@pytest.mark.parametrize(("toml", "place", "odd"), NO_TOML)
def test_a_file_that_is_no_toml_is_told_with_place_and_oddity_unquoted(
    tmp_path: Path, toml: str, place: tuple[int, int], odd: str
) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(toml.encode())

    for key, told in (("", refused(file)), ("irp.profile: ", refused_profile(file))):
        line, column = place
        assert told.startswith(f"{key}{file}")
        assert f" is not valid TOML at line {line}, column {column}: {odd}" in told
        assert "canary" not in told.replace(str(tmp_path), "").replace("canary-token-without-a-key", "")
        assert "\n" not in told


def test_a_key_that_is_there_twice_is_named_below_a_list_of_many_lines(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("[kuma]\nstatuses = [\n'new',\n]\nstatuses = [\n'new',\n]\n")

    assert refused(file).endswith("line 7, column 2: statuses is there twice, or is a value and a section at once")


def test_what_stands_in_a_text_of_many_lines_is_never_taken_for_a_key(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[kuma]\nurl = """a\ncanary = 1\n"""\nurl = """b\ncanary = 2\n"""\n')

    assert refused(file).endswith("line 7, column 4: a key is there twice, or is a value and a section at once")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_configuration_a_profile_and_a_secret_with_a_byte_order_mark_are_read(tmp_path: Path, newline: str) -> None:
    (tmp_path / "irp-token").write_bytes(b"\xef\xbb\xbfthe-token" + newline.encode())
    (tmp_path / "config.toml").write_text(
        f"[irp]{newline}token_file = 'irp-token'{newline}", encoding="utf-8-sig", newline=""
    )
    profile = "[profile]\nname = 'ours'\n[create]\nmethod = 'POST'\npath = '/x'\n".replace("\n", newline)
    (tmp_path / "ours.toml").write_text(profile, encoding="utf-8-sig", newline="")

    assert load(tmp_path / "config.toml", ENV).irp.token.reveal() == "the-token"
    assert load_profile(str(tmp_path / "ours.toml")).name == "ours"


VISIBLE = "visible ASCII characters without spaces, in one line"
# How many words a header's token may be, the profile says; a secret of any other use is a line of text.
WANTED = {"irp.token": "visible ASCII characters in one line", "irp.secrets.app": "one line of printable characters"}
TAKEN_AS = {
    "irp.token": [b"canary canary"],
    "irp.secrets.app": [b"canary canary", b"canary \n", b"Bearer canary\n", "канарейка".encode()],
}

SECRETS = [
    (b"", "the file is empty: {}"),
    (b"\n\n", "the file is empty: {}"),
    (b"  \r\n", "the file is empty: {}"),
    (b"\xef\xbb\xbf\n", "the file is empty: {}"),
    ("canary".encode("utf-16"), "the file is UTF-16 text, as some editors on Windows write it; save it as UTF-8: {}"),
    ("canary".encode("utf-16-le"), "the file is UTF-16 text, as some editors on Windows write it; save it as UTF-8"),
    (b"canary\xcf", "the file is not UTF-8 text (line 1); save it as UTF-8: {}"),
    (b"canary canary", "expected visible ASCII characters without spaces, in one line; there is a space or a control"),
    (b"canary \n", "expected visible ASCII characters without spaces, in one line; there is a space before or after"),
    (b"canary\ncanary\n", "expected visible ASCII characters without spaces, in one line; there are 2 lines"),
    (b"Bearer canary\n", "expected visible ASCII characters without spaces, in one line; leave out the word Bearer"),
    ("канарейка".encode(), "expected visible ASCII characters without spaces, in one line; there is a character that"),
]


@pytest.mark.parametrize(("content", "sentence"), SECRETS)
@pytest.mark.parametrize("key", ["kuma.token", "irp.token", "irp.secrets.app", "web.metrics_token", "web.tokens.sv"])
def test_a_secret_file_that_holds_no_secret_says_why_and_which_file(
    tmp_path: Path, content: bytes, sentence: str, key: str
) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content)
    table, _, name = key.rpartition(".")
    (tmp_path / "config.toml").write_text(f"[{table}]\n{name}_file = '{file}'\n")
    env = {name: value for name, value in ENV.items() if name != "KUMA_SYNC_KUMA__TOKEN" or key != "kuma.token"}

    if content in TAKEN_AS.get(key, ()):
        load(tmp_path / "config.toml", env)
        return

    told = refused(tmp_path / "config.toml", env)

    expected = sentence.format(file).replace(VISIBLE, WANTED.get(key, VISIBLE))
    assert told.startswith(f"{key}_file: {expected}")
    assert "canary" not in told.replace(str(tmp_path), "")
    assert "канарейка" not in told


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("c4n4ry0123456789abcdef", "there is no such file in {folder}"),
        ("/c4n4ry0123", "there is no such file"),
        ("/c4n4ry/0123456789+=", "there is no such file"),
        ("c4n4ry/0123+456", "there is no such file"),
        ("c4n4ry" * 100, "the file cannot be read (File name too long)"),
        ("{folder}/gone", "there is no such file: {folder}/gone"),
        ("secrets/gone", "there is no such file: {folder}/secrets/gone"),
        ("./gone", "there is no such file: {folder}/gone"),
        ("{folder}/secrets", "is a directory, expected a file: {folder}/secrets"),
        ("{folder}/door", "is no plain file, expected a file: {folder}/door"),
        ("${{CREDENTIALS_DIRECTORY}}/gone", "there is no such file: {folder}/secrets/gone"),
    ],
)
def test_where_a_secrets_path_belongs_only_what_is_surely_a_path_is_told(
    tmp_path: Path, written: str, said: str
) -> None:
    (tmp_path / "secrets").mkdir()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "door"))
    (tmp_path / "config.toml").write_text(f"[irp]\ntoken_file = '{written.format(folder=tmp_path)}'\n")

    told = refused(tmp_path / "config.toml", {**ENV, "CREDENTIALS_DIRECTORY": str(tmp_path / "secrets")})

    assert told == f"irp.token_file: {said.format(folder=tmp_path)}"
    assert "c4n4ry" not in told


@pytest.mark.parametrize("key", ["ca_file", "client_cert", "client_key"])
def test_any_other_file_is_told_with_its_path(tmp_path: Path, key: str) -> None:
    (tmp_path / "config.toml").write_text(f"[kuma]\nclient_cert = 'config.toml'\n[irp]\n{key} = 'gone.pem'\n")

    assert refused(tmp_path / "config.toml") == f"irp.{key}: there is no such file: {tmp_path}/gone.pem"


def test_every_problem_is_found_at_once_in_the_order_of_the_sections(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(
        "[log]\nlevel = 'loud'\n[polls]\n[irp]\nurl = 'ftp://canary'\ntoken_file = 'gone'\nclient_key = 'config.toml'\n"
        "[kuma]\nstatuses = ['nwe', 'opn']\nurl = 'https://u:canary@kuma'\nintervall = 5\n[retry]\nbase = '1h'\n"
        "[web.tokens]\na = ''\nb = 'canary canary'\n[web]\nkey_file = 'config.toml'\n"
    )

    reading = read(file, {})
    told = reading.error.lines if reading.error else []

    assert [line.partition(": ")[0] for line in told] == [
        *("kuma.url", "kuma.token", "kuma.statuses", "kuma.statuses", "kuma.intervall"),
        *("irp.url", "irp.token_file", "irp.client_cert", "retry.max"),
        *("web.cert_file", "web.tokens.a", "web.tokens.b", "log.level", "polls"),
    ]
    assert "canary" not in "".join(told)
    assert str(reading.error).endswith("(13 more: `kuma-sync config check` lists them)")


def test_one_mistake_is_one_problem(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    for toml in ("[kuma]\ntoken_file = 'gone'", "[kuma]\ntoken = 5", "[retry]\nbase = 'x'", "[web]\ntokens = 5"):
        file.write_text(toml)
        reading = read(file, {name: value for name, value in ENV.items() if "TOKEN" not in name or "kuma" not in toml})

        assert reading.error is not None
        assert len(reading.error.lines) == 1, reading.error.lines


def refused(file: Path, env: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load(file, ENV if env is None else env)
    return str(caught.value)


def refused_profile(file: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_profile(str(file))
    return str(caught.value)
