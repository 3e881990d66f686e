"""Calls of KUMA's that callers may make through the door: how they are written, and paths made to slip through."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings import load, masked
from kuma_sync.settings.passthrough import Passage, passage

GOOD = {"KUMA_SYNC_KUMA__URL": "kuma.example.com", "KUMA_SYNC_KUMA__TOKEN": "t", "KUMA_SYNC_IRP__URL": "sv"}


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("GET /api/v1/users/whoami", "/api/v1/users/whoami"),
        ("GET /api/v1/users/whoami", "/api/v1/users/whoami/"),
        ("GET /api/v1/users/", "/api/v1/users"),
        ("GET /api/v1/assets/*", "/api/v1/assets/5f0c"),
        ("GET /api/v1/assets/*", "/api/v1/assets/5f0c/details"),
        ("GET /api/v1/assets/*", "/api/v1/assets/%D0%A4"),
        ("GET /api/v1/as*", "/api/v1/assets/5f0c"),
        ("GET /api/*/assets/*/tags", "/api/v2.1/assets/5f0c/tags"),
        ("GET /api/v1/alerts/*", "/api/v1/alerts/5f0c"),
        ("GET /api/*", "/api/v3/anything/else"),
    ],
)
def test_a_call_that_is_listed_passes(written: str, path: str) -> None:
    assert passage(written).matches("GET", path)


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("GET /api/v1/users/whoami", "/api/v1/users/WhoAmI"),
        ("GET /api/v1/users/whoami", "/api/v1/users/whoami/x"),
        ("GET /api/v1/users/whoami", "/api/v1/users/whoamix"),
        ("GET /api/v1/users/whoami", "api/v1/users/whoami"),
        ("GET /api/v1/users/whoami", "x/api/v1/users/whoami"),
        ("GET /api/v1/users/whoami", ""),
        ("GET /api/v1/assets/*", "/api/v1/assets"),
        ("GET /api/v1/assets/*", "/api/v1/assets/"),
        ("GET /api/v1/as*", "/api/v1/as"),
        ("GET /api/*/assets", "/api/v1/x/assets"),
        ("GET /api/*/assets", "/api/assets"),
        ("GET /api/v1/assets/*", "/api/v1/assets//x"),
        ("GET /api/v1/assets/*", "//api/v1/assets/x"),
        ("GET /api/v1/assets/*", "/api/v1/assets/x//"),
        ("GET /api/v1/assets/*", "/api/v1/assets/../users"),
        ("GET /api/v1/assets/*", "/api/v1/assets/./x"),
        ("GET /api/v1/assets/*", "/api/v1/assets/.."),
        ("GET /api/v1/assets/*", "/api/v1/assets/%2e%2e/users"),
        ("GET /api/v1/assets/*", "/api/v1/assets/%2E./users"),
        ("GET /api/v1/assets/*", "/api/v1/assets/..%2fusers"),
        ("GET /api/v1/assets/*", "/api/v1/assets/a%2Fb"),
        ("GET /api/v1/assets/*", "/api/v1/assets/a%5cb"),
        ("GET /api/v1/assets/*", "/api/v1/assets/a\\..\\b"),
        ("GET /api/v1/assets/*", "/api/v1/assets/%252e%252e/users"),
        ("GET /api/v1/assets/*", "/api/v1/assets/a%00b"),
        ("GET /api/v1/assets/*", "/api/v1/assets/a%0d%0ab"),
        ("GET /api/v1/assets/*", "/api/v1/assets/a b"),
        ("GET /api/v1/assets/*", "/api/v1/assets/a?b"),
        ("GET /api/v1/assets/*", "/api/v1/assets/a%3fb"),
        ("GET /api/v1/assets/*", "/api/v1/assets/a#b"),
        ("GET /api/v1/assets/*", "/api/v1/assets/a;b"),
        ("GET /api/v1/assets/*", "/api/v1/assets/%ff"),
        ("GET /api/v1/assets/*", "/api/v1/assets/100%"),
    ],
)
def test_a_call_that_is_not_listed_or_can_be_read_in_two_ways_is_stopped(written: str, path: str) -> None:
    assert not passage(written).matches("GET", path)


@pytest.mark.parametrize("method", ["POST", "get", "HEAD", "OPTIONS", "GET ", ""])
def test_another_method_is_stopped(method: str) -> None:
    assert not passage("GET /api/v1/assets/*").matches(method, "/api/v1/assets/x")


@pytest.mark.parametrize("version", ["v1", "v2", "v2.1", "v3", "v9", "V1", "%761"])
@pytest.mark.parametrize(
    "call", ["alerts", "alerts/", "alerts/close", "alerts/close/", "Alerts/CLOSE", "%61lerts/close"]
)
@pytest.mark.parametrize("pattern", ["/api/*", "/api/*/alerts/*", "/api/*/*/close", "/api/*/*", "/api/v1/al*"])
def test_what_the_door_serves_itself_never_passes(version: str, call: str, pattern: str) -> None:
    for method in ("GET", "POST"):
        assert not passage(f"{method} {pattern}").matches(method, f"/api/{version}/{call}")


@given(
    st.lists(st.sampled_from(["..", ".", "", "a", "/", "\\", "%", "x/../y", "%2f", "%2e%2e", "alerts", "close", "v1"]))
)
def test_what_passes_is_below_the_pattern_however_often_it_is_decoded(parts: list[str]) -> None:
    """An oracle of its own: the path, decoded till nothing changes, must stay below the pattern, and be no close."""
    allowed = passage("POST /api/v1/*")
    for path in (
        "/api/v1/" + "/".join(parts),
        "/api/v1/" + quote("/".join(parts)),
        "/api/v1/" + quote("/".join(parts), safe=""),
    ):
        if allowed.matches("POST", path):
            decoded = unquote(unquote(unquote(path)))
            assert decoded.startswith("/api/v1/")
            assert not {"", ".", ".."} & set(decoded.removesuffix("/").split("/")[1:])
            assert decoded.rstrip("/") not in {"/api/v1/alerts", "/api/v1/alerts/close"}
            assert "\\" not in decoded


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("/api/v1/assets", 'expected "METHOD /api/…" with one of the methods GET, POST, PUT, PATCH, DELETE'),
        ("GET", 'expected "METHOD /api/…"'),
        ("HEAD /api/v1/assets", 'expected "METHOD /api/…"'),
        ("* /api/v1/assets", 'expected "METHOD /api/…"'),
        ("GET https://kuma/api/v1/assets", 'expected "METHOD /api/…"'),
        ("GET /v1/assets", "expected a path that begins with /api/"),
        ("GET /API/v1/assets", "expected a path that begins with /api/"),
        ("GET /api/", "expected a path that begins with /api/ and goes on"),
        ("GET /api/v1/assets?x=1", "expected a path without ?"),
        ("GET /api/v1/../assets", "expected a path of letters, digits"),
        ("GET /api/./assets", "expected a path of letters, digits"),
        ("GET /api//assets", "expected a path of letters, digits"),
        ("GET /api/v1/%61ssets", "expected a path of letters, digits"),
        ("GET /api/v1/assets#x", "expected a path of letters, digits"),
        ("GET /api/v1/assets x", "expected a path of letters, digits"),
        ("GET /api/v1/a*s", "expected * at the end, or as a whole part"),
        ("GET /api/v1/a*/s", "expected * at the end, or as a whole part"),
        ("GET /api/v1/a**", "expected * at the end, or as a whole part"),
        ("GET /api/v1/alerts", "names a call that the door serves itself"),
        ("GET /api/v2.1/alerts/", "names a call that the door serves itself"),
        ("POST /api/v3/alerts/close", "names a call that the door serves itself"),
        ("POST /api/*/alerts/close", "names a call that the door serves itself"),
    ],
)
def test_an_entry_that_is_not_as_it_must_be_is_one_sentence(tmp_path: Path, written: str, sentence: str) -> None:
    (tmp_path / "config.toml").write_text(f"[web.passthrough]\nallow = ['GET /api/v1/users/', '{written}']")

    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "config.toml", GOOD)

    assert caught.value.lines == [str(caught.value)]
    assert str(caught.value).startswith(f"web.passthrough.allow: {sentence}")


def test_entries_come_from_file_or_environment_and_are_shown_as_written(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[web.passthrough]\nallow = [' get   /api/v1/users/whoami ']")

    written = load(tmp_path / "config.toml", GOOD)
    given = load(None, {**GOOD, "KUMA_SYNC_WEB__PASSTHROUGH__ALLOW": "GET /api/v1/a, POST /api/v1/b/*"})

    assert written.web.passthrough.allow == (Passage(method="GET", pattern="/api/v1/users/whoami"),)
    assert masked(given)["web"]["passthrough"] == {"allow": ("GET /api/v1/a", "POST /api/v1/b/*")}
    assert load(None, GOOD).web.passthrough.allow == ()
    with pytest.raises(
        ConfigError, match=r"^web.passthrough.alow: is not a known key, did you mean web.passthrough.al"
    ):
        load(None, {**GOOD, "KUMA_SYNC_WEB__PASSTHROUGH__ALOW": "x"})
