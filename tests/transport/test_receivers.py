"""Receivers of notifications: real servers on loopback that answer, refuse, redirect, or never answer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from addresses import somewhere
from receivers import SECRET_PATH, receiver
from starlette.applications import Starlette

from kuma_sync.core.errors import RemoteError
from kuma_sync.settings import Secret
from kuma_sync.sim.server import SimServer, SimTls
from kuma_sync.transport.receiver import Receiver


@asynccontextmanager
async def ours(address: Secret, *, patience: float = 5.0) -> AsyncIterator[Receiver]:
    one = Receiver("notify.webhook_url", address, patience=patience, clock=lambda: datetime.now(UTC))
    try:
        yield one
    finally:
        await one.aclose()


async def refusal(one: Receiver) -> str:
    with pytest.raises(RemoteError) as caught:
        await one.send({"event": "parked"})
    assert "canary" not in f"{caught.value} {caught.value.summary} {caught.value.detail}"
    return caught.value.summary


async def test_it_is_told_a_json_object_and_asked_at_its_whole_address() -> None:
    async with receiver() as server, ours(Secret(server.url)) as one:
        await one.send({"event": "parked", "text": "Север"})
        await one.ask()

    assert server.told == [{"event": "parked", "text": "Север"}]
    assert server.asked == [f"{method} {SECRET_PATH}?key=canary-77a2" for method in ("POST", "GET")]


@pytest.mark.parametrize("status", [302, 307, 400, 404, 429, 500, 503])
async def test_any_other_answer_is_a_failure_and_a_redirect_is_not_followed(status: int) -> None:
    async with receiver() as server, ours(Secret(server.url)) as one:
        server.status = status

        assert await refusal(one) == f"answered {status}"
        assert len(server.asked) == 1


async def test_one_that_never_answers_takes_no_longer_than_its_time() -> None:
    async with receiver() as server, ours(Secret(server.url), patience=0.3) as one:
        server.hangs = True
        began = time.monotonic()

        assert await refusal(one) in ("no answer within 0.3s", "no whole answer within 0.3s")
        assert time.monotonic() - began < 5


async def test_one_that_answers_without_end_takes_no_memory() -> None:
    async with receiver() as server, ours(Secret(server.url)) as one:
        server.says, server.status = b"x" * (2 << 20), 500

        assert await refusal(one) == "answer larger than 1 MB"


async def test_one_that_is_not_there_is_a_failure() -> None:
    async with ours(Secret(f"http://{somewhere()}/canary")) as one:
        assert await refusal(one) == "connection refused"


async def test_one_whose_certificate_is_not_trusted_names_no_key_that_there_is_not(tmp_path: Path) -> None:
    host = somewhere()
    tls = SimTls.make(tmp_path, (host.rpartition(":")[0],))
    async with SimServer(Starlette(), listen=host, tls=tls) as server, ours(Secret(server.url)) as one:
        assert await refusal(one) == "certificate not trusted"


async def test_an_address_in_a_file_is_read_again_after_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "address"
    async with receiver() as old, receiver() as new:
        file.write_text(old.url)
        async with ours(Secret(path=file)) as one:
            old.status = 410
            file.write_text(new.url)
            await refusal(one)
            await one.send({"event": "parked"})

    assert new.told == [{"event": "parked"}]
