"""A database that goes away and comes back: everything waits, nothing is parked, lost or doubled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

from addresses import an_address
from sqlalchemy import URL, make_url
from stage import ask, eventually, parked, staged
from structlog.testing import capture_logs

from kuma_sync.telemetry.health import State


class RemoteClient:
    """A door in front of PostgreSQL that can be shut: connections break, new ones are refused."""

    def __init__(self, url: str) -> None:
        self._behind: URL = make_url(url)
        self._server: asyncio.Server | None = None
        self._host, self._port = an_address()
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        """Return the database's address by way of this door."""
        through = self._behind.set(host=self._host, port=self._port, query={})
        return through.render_as_string(hide_password=False)

    async def open(self) -> None:
        """Let connections through."""
        self._server = await asyncio.start_server(self._serve, self._host, self._port)

    async def shut(self) -> None:
        """Break what is open and refuse what comes."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await self._connect()
        self._open |= {writer, inner_writer}
        with contextlib.suppress(OSError, ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, inner_writer))
                group.create_task(_copy(inner_reader, writer))
        self._open -= {writer, inner_writer}

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        folder = self._behind.query.get("host")
        if isinstance(folder, str):
            return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{self._behind.port or 5432}")
        return await asyncio.open_connection(self._behind.host, self._behind.port)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.transport.abort()


@asynccontextmanager
async def wire(url: str) -> AsyncIterator[RemoteClient]:
    door = RemoteClient(url)
    await door.open()
    try:
        yield door
    finally:
        await door.shut()


async def test_a_database_that_is_away_for_a_while_is_waited_for(tmp_path: Path, postgres_url: str) -> None:
    async with wire(postgres_url) as door, staged(tmp_path, door.url) as stage:
        stage.irp.knobs.latency = 0.1
        first = [stage.kuma.raise_alert() for _ in range(30)]
        async with stage.working() as runtime:
            await eventually(lambda: len(stage.irp.incidents) > 4)
            stage.irp.analyst_close(stage.incident(_delivered(stage.irp.incidents, first)).id, "False positive")
            await door.shut()
            stage.kuma.raise_alert()
            await eventually(lambda: runtime.health.ready().parts["poll"].state is State.FAILING)
            assert runtime.health.live()
            await door.open()

            # A claim whose commit arrived, but whose answer was lost, is nobody's until its lease of a minute ends.
            await eventually(lambda: bool(stage.kuma.closes) and stage.agrees(), within=90)
            jobs = await parked(runtime)
            counts = await ask(runtime, lambda tx: tx.overview.counts())

    assert jobs == []
    assert counts["parked"] == 0
    assert len(stage.irp.incidents) == len(stage.wrote("create")) == 31
    assert len(stage.kuma.close_calls) == 1


async def test_deliveries_that_all_wait_for_the_store_say_so(tmp_path: Path, postgres_url: str) -> None:
    async with wire(postgres_url) as door, staged(tmp_path, door.url, irp={"concurrency": 1}) as stage:
        alert_id = stage.kuma.raise_alert()
        answers = stage.irp.faults.add("hang", method="POST")
        with capture_logs() as logs:
            async with stage.working() as runtime:
                await eventually(lambda: answers.fired)
                claimed = runtime.health.ready().parts["delivery"].state
                await door.shut()
                stage.irp.faults.clear()
                await eventually(lambda: runtime.health.ready().parts["delivery"].state is State.FAILING)
                reason = runtime.health.ready().parts["delivery"].reason
                await door.open()

                await eventually(lambda: runtime.health.ready().ready, within=30)
                await eventually(stage.agrees)

    assert claimed is State.OK
    assert reason.startswith("the store has not taken a result for ")
    assert len(stage.wrote("create")) == 1
    assert stage.incidents(alert_id)
    for who in ({"loop": "poll"}, {"queue": "close"}):
        told = [(line["event"], line.get("reason")) for line in logs if who.items() <= line.items()]
        told = [line for line in told if line[0].startswith("store_")]
        assert told[-1] == ("store_recovered", None)
        assert all(one != other for one, other in pairwise(told)), "a change is told, not that it lasts"


def _delivered(incidents: dict[str, object], ids: list[str]) -> str:
    keys = {getattr(incident, "external_id", "") for incident in incidents.values()}
    return next(alert_id for alert_id in ids if f"kuma:kuma:{alert_id}" in keys)
