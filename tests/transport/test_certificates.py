"""When a remote's certificate expires: learnt from connections, trusted or not, through a proxy's tunnel or not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from addresses import somewhere
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from kuma_sync.core.errors import RemoteError
from kuma_sync.sim.server import SimServer, SimTls
from kuma_sync.transport import Endpoint, RemoteClient
from kuma_sync.transport.certificates import end_of_unverified, validity_of_file
from kuma_sync.transport.response import Outgoing

APP = Starlette(routes=[Route("/", lambda _request: PlainTextResponse("well"))])


def now() -> datetime:
    return datetime.now(UTC)


async def asked(endpoint: Endpoint, *, times: int = 1) -> None:
    client = RemoteClient(endpoint, clock=now)
    try:
        for _ in range(times):
            await client.send(Outgoing(method="GET", path="/"), operation="probe", changes=False)
    finally:
        await client.aclose()


def certified(url: str, heard: Callable[[datetime], None], **trust: object) -> Endpoint:
    return Endpoint(remote="irp", url=url, certified=heard, **trust)  # type: ignore[arg-type]


@pytest.mark.parametrize("verified", [True, False])
async def test_the_end_of_a_shown_certificate_is_heard_once(tmp_path: Path, verified: bool) -> None:
    listen, heard = somewhere(), list[datetime]()
    tls = SimTls.make(tmp_path, (listen.rpartition(":")[0],))
    trust = {"ca_file": tls.ca_file} if verified else {"verify_tls": False}
    async with SimServer(APP, listen=listen, tls=tls) as server:
        await asked(certified(server.url, heard.append, **trust), times=3)

    (end,) = heard
    assert abs(end - now() - timedelta(days=30)) < timedelta(minutes=1)


async def test_that_of_an_expired_one_is_heard_where_it_is_not_checked(tmp_path: Path) -> None:
    listen, heard = somewhere(), list[datetime]()
    tls = SimTls.make(tmp_path, (listen.rpartition(":")[0],), expired=True)
    async with SimServer(APP, listen=listen, tls=tls) as server:
        await asked(certified(server.url, heard.append, verify_tls=False))
        with pytest.raises(RemoteError, match="certificate has expired"):
            await asked(certified(server.url, heard.append, ca_file=tls.ca_file))

    (end,) = heard
    assert end < now()


async def test_without_tls_nothing_is_heard() -> None:
    heard = list[datetime]()
    async with SimServer(APP, listen=somewhere()) as server:
        await asked(certified(server.url, heard.append))

    assert heard == []


def test_what_is_no_certificate_ends_never(tmp_path: Path) -> None:
    file = tmp_path / "none.pem"
    file.write_text("none")

    assert end_of_unverified(b"none") is None
    assert validity_of_file(file) is None
    assert validity_of_file(tmp_path / "missing.pem") is None
