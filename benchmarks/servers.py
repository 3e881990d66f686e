"""Two bare HTTP servers for the benchmarks, in a process of their own: a KUMA of prepared alerts, an IRP that waits.

They are as cheap as possible, so that the client is measured. Unlike the simulators they check nothing. Paths that
begin with `/_` are the benchmarks' own: they set, reset and count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import parse_qs, urlsplit

from siem import Siem

PROMPT = 2**20
"""Bytes of a request's body that are read at once."""


@dataclass(slots=True)
class Request:
    """One request, read whole."""

    method: str
    target: str
    body: bytes

    @property
    def path(self) -> str:
        """Return the path without its query."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        """Return the query's values."""
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)


Answer = tuple[int, list[bytes]]
Respond = Callable[[Request], Awaitable[Answer]]


def _head(status: int, size: int, clock: Callable[[], datetime]) -> bytes:
    date = format_datetime(clock(), usegmt=True)
    text = f"HTTP/1.1 {status} OK\r\nDate: {date}\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    return text.encode()


async def serve(respond: Respond, clock: Callable[[], datetime]) -> asyncio.Server:
    """Serve on a free port of the loopback, connections kept alive; `clock` gives the Date header."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *headers = head.decode("latin-1").split("\r\n")
                method, target, _version = line.split(" ")
                length = next((int(h[15:]) for h in headers if h.lower().startswith("content-length:")), 0)
                body = await reader.readexactly(length) if length else b""
                status, pieces = await respond(Request(method, target, body))
                head = _head(status, sum(map(len, pieces)), clock)
                if sum(map(len, pieces)) < PROMPT:
                    head, pieces = head + b"".join(pieces), []
                writer.write(head)
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    return await asyncio.start_server(connected, "127.0.0.1", 0, limit=PROMPT)


@dataclass(slots=True)
class BareIrp:
    """An IRP that makes an incident of everything, `latency` seconds after it was asked, and shows the last one.

    A daemon looks for the first one it makes, alone, before it makes others.
    """

    latency: float
    keep: bool
    posts: int = 0
    size: int = 0
    bodies: list[bytes] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)
    last: bytes = b""

    async def respond(self, request: Request) -> Answer:
        """Answer one request."""
        if request.path == "/_reset":
            self.posts, self.size, self.bodies, self.moments = 0, 0, [], []
            return 200, []
        if request.path == "/_bodies":
            return 200, [b"\n".join(self.bodies)]
        if request.path == "/_made":
            found = {"made": len(self.moments), "posts": self.posts, "bytes": self.size, "moments": self.moments}
            return 200, [json.dumps(found).encode()]
        await asyncio.sleep(self.latency)
        if request.method == "GET":
            return 200, [self._found(*request.query.get("externalId", []))]
        self.posts += 1
        self.size += len(request.body)
        if request.method == "PATCH" or not request.path.endswith("/incidents"):
            return 200, [b"{}"]
        if self.keep:
            self.bodies.append(request.body)
        self.moments.append(time.monotonic())
        number, self.last = len(self.moments), request.body
        return 201, [b'{"id":"%d","number":"INC-%d","url":"http://irp/%d"}' % (number, number, number)]

    def _found(self, key: str = "") -> bytes:
        if not key or key.encode() not in self.last:
            return b'{"items":[],"total":0}'
        found = {"id": str(len(self.moments)), "externalId": key, "status": "open"}
        return json.dumps({"items": [found], "total": 1}).encode()


@dataclass(slots=True)
class Face:
    """What a KUMA answers, and a count of it."""

    siem: Siem
    requests: list[float] = field(default_factory=list)
    size: int = 0

    async def respond(self, request: Request) -> Answer:
        """Answer one request."""
        query = request.query
        if request.path.startswith("/_"):
            return 200, [json.dumps(self._control(request.path[2:], query)).encode()]
        if request.path.endswith("users/whoami"):
            return 200, [b'{"id":"1","name":"x","tenants":[{"id":"main","name":"Main"}],"role":"admin"}']
        self.requests.append(time.monotonic())
        pieces = self.siem.page(query)
        self.size += sum(map(len, pieces))
        return 200, pieces

    def _control(self, what: str, query: dict[str, list[str]]) -> object:
        count = int(query.get("count", ["0"])[0])
        match what:
            case "show":
                self.siem.shown = count
            case "change":
                self.siem.change(count)
            case "outage":
                self.siem.outage(count)
            case "later":
                self.siem.now += count
        found = {"requests": self.requests, "bytes": self.size}
        self.requests, self.size = [], 0
        return found


async def main(arguments: argparse.Namespace) -> None:
    """Serve both until stdin ends; their addresses are printed first."""
    irp = BareIrp(latency=arguments.latency, keep=arguments.keep)
    face = Face(Siem.make(events=arguments.events, event_bytes=arguments.event_bytes, late=arguments.late))

    def kuma_time() -> datetime:
        return datetime.fromtimestamp(face.siem.now, UTC)

    servers = [await serve(face.respond, kuma_time), await serve(irp.respond, lambda: datetime.now(UTC))]
    addresses = [f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}" for server in servers]
    sys.stdout.write(" ".join(addresses) + "\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=3, help="events of an alert")
    parser.add_argument("--event-bytes", type=int, default=400, help="about the size of an event")
    parser.add_argument("--late", type=float, default=0.01, help="share of alerts last seen in the last half hour")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds the IRP takes for a request")
    parser.add_argument("--keep", action="store_true", help="let the IRP keep what it was sent")
    asyncio.run(main(parser.parse_args()))
