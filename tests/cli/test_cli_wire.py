"""Canaries in every secret of a login, of [irp.secrets] and of an address: shown by no command, logged by no pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prompt import ask, shell, typed, world, write_config

from kuma_sync.irp.load import profile_text

PASSWORD, KEY, TOKEN = "canary-login-password", "canary/app key", "canary-in-the-address"
LOUD = {"log": {"level": "debug", "format": "json"}}

LOGIN = """
[auth]
kind = "login"
[auth.login]
method = "POST"
path = "/login"
body = { username = "{{ username }}", password = "{{ password }}" }
headers = { X-App = "{{ secrets.app }}" }
query = { app = "{{ secrets.app }}" }
[auth.login.extract]
token = "token"
"""
ENCODED = """
[profile]
name = "encoded"
[auth]
kind = "query"
name = "key"
[create]
method = "POST"
path = "/form"
encoding = "form"
query = { app = "{{ secrets.app }}" }
[create.body]
title = "{{ alert.id }} & more"
[create.extract]
id = "id"
[update]
method = "POST"
path = "/parts"
encoding = "multipart"
headers = { X-App = "{{ secrets.app }}" }
[update.body]
title = "{{ alert.id }}"
events = { file = "events.json", content = "{{ events | json }}", type = "application/json" }
[close]
method = "POST"
path = "/text"
encoding = "text"
body = "<closed>{{ reason }}</closed>"
"""


BEYOND = "what is beyond 20 events in one request"
CARRYING = """
[profile]
name = "carrying"
[create]
method = "POST"
path = "/x"
[create.body]
title = "{{{{ alert.name }}}}"
{create}
[create.extract]
id = "id"
[update]
method = "PUT"
path = "/x/{{{{ incident.id }}}}"
fields = "{fields}"
[update.body]
title = "{{{{ alert.name }}}}"
{update}
[add_events]
method = "POST"
path = "/x/{{{{ incident.id }}}}/events"
batch = 20
body = {{ events = "{{{{ events }}}}" }}
"""


def own_profile(folder: Path, auth: str) -> str:
    """Write the default profile with another `[auth]`; return its path."""
    text = profile_text("security-vision")
    begin = text.index("[auth]")
    path = folder / "own.toml"
    path.write_text(text[:begin] + auth + text[text.index("[maps.severity]") :], encoding="utf-8")
    return str(path)


def masked_everywhere(told: str) -> bool:
    return "canary" not in told


def test_render_shows_every_encoding_and_the_login_without_a_secret(tmp_path: Path) -> None:
    profile = tmp_path / "encoded.toml"
    profile.write_text(ENCODED)
    irp: dict[str, Any] = {"profile": str(profile), "url": "https://irp.example.com", "token": TOKEN}
    tables = {"kuma": {"url": "https://kuma.example.com", "token": "t"}, "irp": {**irp, "secrets": {"app": KEY}}}
    config = str(write_config(tmp_path / "config.toml", tables))

    text, found = typed("render", "-c", config), typed("render", "--json", "-c", config)

    assert text.code == 0
    shown = {one["operation"]: one for one in found.json}
    assert shown["create"]["url"] == "https://irp.example.com/form?app=**********&key=**********"
    assert shown["create"]["headers"]["Content-Type"] == "application/x-www-form-urlencoded"
    assert shown["create"]["body"] == "title=5f0c2a3e-6b1d-4a77-9c55-2b7f0e4d1a01%20%26%20more"
    assert shown["update"]["headers"]["X-App"] == "**********"
    assert 'filename="events.json"\r\nContent-Type: application/json' in shown["update"]["body"]
    assert shown["close"]["body"] == "<closed>responded</closed>"
    assert "<closed>responded</closed>" in text.out
    assert 'filename="events.json"\nContent-Type: application/json\n\n[{' in text.out, "an empty line stays empty"
    assert masked_everywhere(text.out + text.err + found.out)


@pytest.mark.parametrize(
    ("carriers", "fields", "update", "add_events"),
    [
        ("create update", "changed", "only the fields that changed", "what is beyond 20 events in one request"),
        (
            "create",
            "all",
            "all these fields",
            "what is beyond 20 events in one request, and all events that come later",
        ),
        ("update", "all", "all these fields", "the first events, and what is beyond 20 events in one request"),
        ("", "changed", "only the fields that changed", "all events, at most 20 in one request"),
    ],
)
def test_render_says_what_an_update_and_what_further_events_carry(
    tmp_path: Path, carriers: str, fields: str, update: str, add_events: str
) -> None:
    body = {name: 'events = "{{ events }}"' if name in carriers else "" for name in ("create", "update")}
    profile = tmp_path / "own.toml"
    profile.write_text(CARRYING.format(fields=fields, **body))
    irp = {"profile": str(profile), "url": "https://irp.example.com", "token": TOKEN}
    tables = {"kuma": {"url": "https://kuma.example.com", "token": "t"}, "irp": irp}
    config = str(write_config(tmp_path / "config.toml", tables))

    notes = {one["operation"]: one["note"] for one in typed("render", "--json", "-c", config).json}

    assert notes["update"] == f"when the alert changes; then {update}"
    assert notes["add_events"] == add_events


async def test_a_pass_that_logs_in_tells_no_secret_of_it(tmp_path: Path) -> None:
    async with world(tmp_path, **LOUD) as w:
        w.irp.knobs.login = "token"
        w.irp.knobs.session_requests = 5
        w.irp.token = PASSWORD
        secrets = {"app": KEY}
        own = own_profile(tmp_path, LOGIN)
        mine = {**w.tables["irp"], "profile": own, "username": w.irp.knobs.username, "password": PASSWORD}
        config = w.configured(irp={**mine, "secrets": secrets})
        for number in range(6):
            w.kuma.raise_alert(name=f"alert {number}")

        first = await shell("run", "--once", *config)
        rest = [await ask(*words.split(), *config) for words in ("check", "config show", "status", "render", "alerts")]
        wrong = w.configured(irp={**mine, "password": "canary-of-another", "secrets": secrets})
        w.kuma.raise_alert(name="one more")
        refused = await shell("run", "--once", *wrong)
        rest += [refused, await ask("status", *wrong)]

        assert len(w.irp.incidents) == 6
    assert first.code == 0
    assert '"event": "side_paused"' in refused.err
    assert [masked_everywhere(one.out + one.err) for one in (first, *rest)] == [True] * 8
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("store.db*"))
    assert b"canary" not in stored
