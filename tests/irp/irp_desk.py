"""An IRP at the other end of a real RemoteClient: scripted answers, and the requests as they went out."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from builders import NOW

from kuma_sync.core.alert import AlertSnapshot, Contents, Observation, first_snapshot
from kuma_sync.core.incident import Incident
from kuma_sync.irp.auth import Credentials
from kuma_sync.irp.client import IrpClient
from kuma_sync.irp.context import Subject, values
from kuma_sync.irp.load import load_profile, parse_profile, profile_text
from kuma_sync.irp.profile import Profile
from kuma_sync.settings.secret import Secret
from kuma_sync.transport import Endpoint, RemoteClient

KEY = "kuma:kuma:5c0de1a4-0000-4000-8000-000000000001"
WEB_URL = "https://kuma.example.com:7220"


class Irp:
    """Answers in the order given (the last one again and again), and keeps every request."""

    def __init__(self, *answers: httpx.Response | tuple[int, object]) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer if isinstance(answer, httpx.Response) else httpx.Response(answer[0], json=answer[1])

    @property
    def lines(self) -> list[str]:
        return [f"{request.method} {request.url.raw_path.decode()}" for request in self.requests]

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(request.content) if request.content else None for request in self.requests]


def token(value: str = "irp-token", **source: Any) -> Credentials:
    return Credentials(token=Secret(value, **source), password=Secret())


@asynccontextmanager
async def client(
    irp: Irp,
    *,
    profile: Profile | None = None,
    secrets: Credentials | None = None,
    options: Mapping[str, str] | None = None,
    most_pages: int = 1000,
) -> AsyncIterator[IrpClient]:
    endpoint = Endpoint(remote="irp", url="https://sv.example.com")
    remote = RemoteClient(endpoint, clock=lambda: NOW, transport=httpx.MockTransport(irp))
    try:
        yield IrpClient(
            client=remote,
            profile=profile or load_profile("security-vision"),
            secrets=secrets or token(),
            options={"organization": "Head office"} if options is None else options,
            clock=lambda: NOW,
            most_pages=most_pages,
        )
    finally:
        await remote.aclose()


def changed_profile(*changes: tuple[str, str]) -> Profile:
    """Return the default profile with pieces of its text replaced."""
    text = profile_text("security-vision")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_profile(text, source="my.toml")


def small_profile(body: str = 'title = "x"', *, maps: str = "", create: str = "", more: str = "") -> Profile:
    """Return a profile that can create and nothing else; `body` is that of the create."""
    text = f"""
[profile]
name = "small"
verified = true
{maps}
[create]
method = "POST"
path = "/incidents"
{create}
[create.body]
{body}
[create.extract]
id = "id"
{more}
"""
    return parse_profile(text, source="small.toml")


def values_of(
    seen: Observation, *, before: Observation | None = None, options: Mapping[str, str] | None = None, **about: Any
) -> dict[str, object]:
    """Return the template values of an alert just seen (and once before), with all its events."""
    snapshot = first_snapshot(before).with_seen(seen) if before else first_snapshot(seen)
    subject = subject_of(snapshot, seen.contents, **about)
    return values(subject, web_url=WEB_URL, options=options or {"organization": "Head office"}, now=NOW)


def subject_of(snapshot: AlertSnapshot, contents: Contents | None, **about: Any) -> Subject:
    plausible: dict[str, Any] = {
        "key": KEY,
        "contents": contents,
        "events": contents.events if contents else (),
        "incident": Incident(id="1001", number="INC-1001"),
    }
    return Subject(snapshot=snapshot, **plausible | about)
