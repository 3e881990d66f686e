"""A page for people is no success, whatever status, Content-Type or encoding it comes with: a table over real sockets.

What stands in front of a remote, a login, a balancer, a firewall, answers in its name.
"""

from __future__ import annotations

import asyncio
import codecs
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
import stamina
from irp_desk import KEY, token

from kuma_sync.core.errors import RemoteError, Transient
from kuma_sync.core.window import Query, ReadKind
from kuma_sync.irp.client import IrpClient
from kuma_sync.irp.load import load_profile
from kuma_sync.irp.sample import sample_subject, sample_values
from kuma_sync.kuma.client import KumaClient
from kuma_sync.settings import Secret
from kuma_sync.transport import Endpoint, RemoteClient

HTML = "<html><head><title>Вход</title></head><body>Sign in</body></html>"

PAGES: dict[str, bytes] = {
    "plain": HTML.encode(),
    "behind blanks": f" \r\n\t\n{HTML}".encode(),
    "behind many blanks": f"{' ' * 100_000}{HTML}".encode(),
    "XHTML": f'<?xml version="1.0"?><!DOCTYPE html>{HTML}'.encode(),
    "BOM": HTML.encode("utf-8-sig"),
    "BOM and blanks": f" \r\n{HTML}".encode("utf-8-sig"),
    "two BOMs": codecs.BOM_UTF8 + HTML.encode("utf-8-sig"),
    "UTF-16": HTML.encode("utf-16"),
    "UTF-16 big end first": codecs.BOM_UTF16_BE + f"\n {HTML}".encode("utf-16-be"),
    "UTF-16 without BOM": HTML.encode("utf-16-le"),
    "UTF-16 big end first without BOM": f" {HTML}".encode("utf-16-be"),
    "UTF-32": HTML.encode("utf-32"),
    "UTF-32 big end first": codecs.BOM_UTF32_BE + HTML.encode("utf-32-be"),
    "UTF-32 without BOM": HTML.encode("utf-32-le"),
}
TYPES = (
    "text/html; charset=utf-8",
    "application/xhtml+xml",
    "text/plain",
    "application/octet-stream",
    "application/json",
    "",
)
STATUSES = (200, 201, 202, 204)
"""A 204 has no body in HTTP; it is told here so that the table shows it."""

Ask = Callable[[], Awaitable[object]]


@dataclass(kw_only=True)
class Gate:
    """Answers every request in the same way, as what stands in front of a remote does."""

    status: int = 200
    kind: str = ""
    body: bytes = b""
    packed: bool = False
    asked: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests until the client leaves."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.asked.append(head.split("\r\n", 1)[0])
                length = [line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-le")]
                await reader.readexactly(int(length[0]) if length else 0)
                body = gzip.compress(self.body) if self.packed else self.body
                lines = [f"HTTP/1.1 {self.status} Whatever"]
                lines += [f"Content-Type: {self.kind}"] if self.kind else []
                lines += ["Content-Encoding: gzip"] if self.packed else []
                lines += [f"Content-Length: {len(body)}"] if self.status != 204 else []
                writer.write("\r\n".join([*lines, "", ""]).encode() + (body if self.status != 204 else b""))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Every operation towards either side, by name."""

    gate: Gate
    irp: IrpClient
    kuma: KumaClient

    @property
    def operations(self) -> dict[str, Ask]:
        """Name everything that can be asked."""
        values = sample_values(sample_subject(), {})

        def write(operation: str) -> Ask:
            return lambda: self.irp.write(self.irp.draft(operation, values))

        return {
            "create": lambda: self.irp.create(self.irp.draft("create", values)),
            "update": write("update"),
            "add_events": write("add_events"),
            "close": write("close"),
            "find": lambda: self.irp.find(KEY),
            "list_closed": self._list_closed,
            "probe": self.irp.probe,
            "KUMA close": lambda: self.kuma.close("a", "responded"),
            "KUMA read": self._read,
            "KUMA whoami": self.kuma.whoami,
        }

    async def _list_closed(self) -> None:
        async for _page in self.irp.list_closed(datetime(2026, 1, 1, tzinfo=UTC)):
            pass

    async def _read(self) -> None:
        async with aclosing(self.kuma.read(Query(kind=ReadKind.SWEEP))) as items:
            async for _item in items:
                pass


WRITES = ("create", "update", "add_events", "close", "KUMA close")


@pytest.fixture(autouse=True)
def _no_retries():
    stamina.set_testing(True, attempts=1)
    yield
    stamina.set_testing(False)


@asynccontextmanager
async def asked() -> AsyncIterator[Asked]:
    gate = Gate()
    server = await asyncio.start_server(gate.serve, "127.0.0.1", 0)
    address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    remotes = {
        name: RemoteClient(Endpoint(remote=name, url=address), clock=lambda: datetime.now(UTC))
        for name in ("irp", "kuma")
    }
    irp = IrpClient(
        client=remotes["irp"],
        profile=load_profile("security-vision"),
        secrets=token(),
        options={},
        clock=lambda: datetime.now(UTC),
        most_pages=9,
    )
    kuma = KumaClient(
        client=remotes["kuma"],
        token=Secret("t"),
        api_version="v1",
        statuses=["new"],
        tenants=[],
        with_affected=True,
        max_alert_size=1 << 20,
        page_cap=9,
    )
    async with server:
        try:
            yield Asked(gate=gate, irp=irp, kuma=kuma)
        finally:
            for remote in remotes.values():
                await remote.aclose()


async def outcome(ask: Ask) -> Exception | None:
    """Ask; return what was raised."""
    try:
        await ask()
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("packed", [False, True], ids=["as it is", "gzip"])
async def test_a_page_for_people_is_no_success_of_anything_whatever_it_is_called(packed: bool) -> None:
    wrong = []

    async with asked() as irp_client:
        for name, ask in irp_client.operations.items():
            for page, body in PAGES.items():
                for kind in TYPES:
                    (
                        irp_client.gate.status,
                        irp_client.gate.kind,
                        irp_client.gate.body,
                        irp_client.gate.packed,
                    ) = 200, kind, body, packed
                    error = await outcome(ask)
                    if not isinstance(error, Transient) or error.ambiguous != (name in WRITES):
                        wrong.append((name, page, kind, repr(error)))

    assert wrong == []


async def test_a_page_for_people_is_no_success_with_any_status_of_success() -> None:
    wrong = []

    async with asked() as irp_client:
        for name, ask in irp_client.operations.items():
            for status in STATUSES:
                for page in ("plain", "BOM", "UTF-16"):
                    irp_client.gate.status, irp_client.gate.kind, irp_client.gate.body = (
                        status,
                        "text/plain",
                        PAGES[page],
                    )
                    error = await outcome(ask)
                    # In HTTP a 204 has no body: for those that expect none it is what it says.
                    done = status == 204 and name in ("update", "add_events", "close", "KUMA close")
                    fits = error is None if done else isinstance(error, RemoteError)
                    if not fits or (status != 204 and not isinstance(error, Transient) and not name.startswith("KUMA")):
                        wrong.append((name, page, status, repr(error)))

    assert wrong == []


async def test_a_create_answered_with_a_page_may_have_happened_and_nobody_knows_as_what() -> None:
    wrong = []

    async with asked() as irp_client:
        for page, body in PAGES.items():
            irp_client.gate.body = body
            error = await outcome(irp_client.operations["create"])
            if not (isinstance(error, Transient) and error.ambiguous and error.unidentified):
                wrong.append((page, repr(error)))

    assert wrong == []


@pytest.mark.parametrize("operation", ["update", "add_events", "close"])
async def test_any_other_body_of_a_write_is_a_success(operation: str) -> None:
    wrong = []

    async with asked() as irp_client:
        for body in (b"", b"OK", b"{}", b'"<saved>"', b"saved <1>", b"\xef\xbb\xbfdone"):
            for kind in TYPES:
                irp_client.gate.kind, irp_client.gate.body = kind, body
                error = await outcome(irp_client.operations[operation])
                if error is not None:
                    wrong.append((body, kind, repr(error)))

    assert wrong == []


@pytest.mark.parametrize(
    ("status", "body", "closed"),
    [
        (204, b"", True),
        (200, b"{}", True),
        (200, b'{"id": "a"}', True),
        (201, b"[]", True),
        (200, "{}".encode("utf-16"), True),
        (200, b"", False),
        (202, b"", False),
        (200, b"OK", False),
        (200, b"Please sign in", False),
        (200, b"{", False),
        (200, HTML.encode(), False),
        (206, b"<alert/>", False),
    ],
)
async def test_kumas_closing_is_done_by_204_or_json_alone(status: int, body: bytes, closed: bool) -> None:
    errors = []

    async with asked() as irp_client:
        for kind in TYPES:
            irp_client.gate.status, irp_client.gate.kind, irp_client.gate.body = status, kind, body
            errors.append(await outcome(irp_client.operations["KUMA close"]))

    if closed:
        assert errors == [None] * len(TYPES)
    else:
        # It may have been closed: asked again, KUMA says so.
        assert all(isinstance(error, Transient) and error.ambiguous for error in errors), errors
