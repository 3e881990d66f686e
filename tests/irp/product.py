"""A built-in profile's client before the simulator of its product, on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from builders import an_account, an_asset, an_event, seen
from irp_desk import KEY, values_of

from kuma_sync.core.incident import Incident, Resolution
from kuma_sync.irp.auth import Credentials
from kuma_sync.irp.client import IrpClient
from kuma_sync.irp.context import CURRENT
from kuma_sync.irp.load import parse_profile, profile_text
from kuma_sync.settings.secret import Secret
from kuma_sync.sim.irp import IrpSim
from kuma_sync.sim.server import SimServer
from kuma_sync.transport import Endpoint, RemoteClient

ALERT = seen(events=[an_event()], assets=[an_asset()], accounts=[an_account()])
BARE = {"organization": ""}
"""The options of a configuration that names none."""
ALWAYS = datetime(2020, 1, 1, tzinfo=UTC)


def now() -> datetime:
    return datetime.now(UTC)


def changed(name: str, *changes: tuple[str, str]) -> str:
    """Return a built-in profile's text with pieces replaced; all of them must be there."""
    text = profile_text(name)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


@asynccontextmanager
async def asking(
    sim: IrpSim, profile: str = "", *, password: str = "", options: dict[str, str] | None = None
) -> AsyncIterator[IrpClient]:
    """Give the daemon's own client of this simulator; `profile` is a text, by default the one built in for it."""
    text = profile or profile_text(sim.dialect.profile)
    secret = Secret(password or sim.token)
    async with SimServer(sim.app) as server:
        remote = RemoteClient(Endpoint(remote="irp", url=server.url), clock=now)
        try:
            yield IrpClient(
                client=remote,
                profile=parse_profile(text, source="tried.toml"),
                secrets=Credentials(token=secret, username="kuma-sync", password=secret),
                options=options or {},
                clock=now,
                most_pages=50,
            )
        finally:
            await remote.aclose()


async def made(client: IrpClient, key: str = KEY) -> Incident:
    """Have the incident of ALERT made, under a key."""
    return await client.create(client.draft("create", values_of(ALERT, options=BARE, key=key)))


async def written(client: IrpClient, operation: str, incident: Incident, **about: object) -> None:
    """Have an operation done to an incident, which is read before where the profile asks for that.

    `about` are fields of the alert, and what a closing says.
    """
    told = {name: about.pop(name) for name in ("reason", "comment", "events") if name in about}
    observed = seen(events=told.get("events") or [an_event()], **about)
    values = values_of(observed, options=BARE, incident=incident, **told)
    draft = client.draft(operation, values)
    if draft.unread:
        draft = client.draft(operation, {**values, CURRENT: (await client.read(client.draft("get", values))).template})
    await client.write(draft)


async def closed_since(client: IrpClient, since: datetime = ALWAYS) -> list[Resolution]:
    """Read the list of closed incidents to its end."""
    return [item async for page in client.list_closed(since) for item in page.items]


def a_minute_ago() -> datetime:
    return now() - timedelta(minutes=1)
