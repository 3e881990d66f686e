"""Reading one large page from KUMA: speed, memory, and the longest stall of the event loop.

Four ways of taking the same page over loopback, each time in a process of its own, in turns, medians at the end:
`whole` reads and parses all of it; `bare` and `raw` only read the pieces through httpx; `kuma` is the daemon's way: a
digest of each alert, and only changed ones parsed. The results are the ratios within one run.
The server is another process that sends bytes made beforehand. Run: `.venv/bin/python benchmarks/stream.py`
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import httpx

from kuma_sync.core.privacy import Privacy
from kuma_sync.core.window import Query, ReadKind
from kuma_sync.kuma.client import KumaClient, PageEnd
from kuma_sync.kuma.parse import Parsed, parse_alert
from kuma_sync.settings import Secret
from kuma_sync.sim.server import SimTls
from kuma_sync.transport import Endpoint, RemoteClient

WAYS = ("whole", "bare", "raw", "kuma")
FORMS = ("length", "chunked", "giant", "gzip", "tls")
TICK = 0.001

Result = dict[str, float]


def dice() -> random.Random:
    return random.Random(7)  # noqa: S311  # repeatable content, no secret


def make_alerts(count: int, events: int) -> list[bytes]:
    """Make alerts as Go prints them: compact, `<` escaped, Cyrillic as it is, braces and quotes inside strings."""
    chance = dice()
    text = ('C:\\Windows\\"x".exe {a},{"id":', "Вход под учётной записью", "cmd.exe /c <dir> }]", "10.0.0.1", "plain")
    names = [f"Field{n}" for n in range(48)]

    def event(number: int) -> dict[str, object]:
        fields: dict[str, object] = {"ID": f"{chance.getrandbits(128):032x}", "Type": 1, "Timestamp": 1_700_000_000_000}
        fields |= {f"Number{n}": chance.randrange(1 << 20) for n in range(9)}
        return fields | {name: chance.choice(text)[:12] for name in names} | {"Extra": {"id": number, "path": text[0]}}

    def alert() -> bytes:
        plain = {"id": f"{chance.getrandbits(128):032x}", "tenantID": "t", "name": text[1], "priority": "high"}
        plain |= {"status": "new", "firstSeen": "2024-01-01T00:00:00Z", "lastSeen": "2024-01-02T00:00:00Z"}
        whole = plain | {"events": [event(n) for n in range(events)]}
        return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c").encode()

    return [alert() for _ in range(count)]


# The server: it answers the first request of a connection with the page as it was at the last poll, then as it is now.


def chunked(body: bytes, size: int) -> bytes:
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def answer(form: str, body: bytes) -> bytes:
    match form:
        case "chunked":
            fields, body = b"Transfer-Encoding: chunked", chunked(body, 32768)
        case "giant":
            fields, body = b"Transfer-Encoding: chunked", chunked(body, len(body))
        case "gzip":
            packer = zlib.compressobj(1, wbits=31)
            body = packer.compress(body) + packer.flush()
            fields = b"Content-Encoding: gzip\r\nContent-Length: %d" % len(body)
        case _:
            fields = b"Content-Length: %d" % len(body)
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%b\r\n\r\n%b" % (fields, body)


def serve(form: str, folder: Path) -> None:
    before, now = (answer(form, (folder / name).read_bytes()) for name in ("before", "now"))

    def talk(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            body = before
            while connection.recv(65536):
                connection.sendall(body)
                body = now

    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    while True:
        connection = listener.accept()[0]
        if form == "tls":
            connection = context.wrap_socket(connection, server_side=True)
        threading.Thread(target=talk, args=(connection,), daemon=True).start()


# The client: one way, once, in a fresh process.


async def take_whole(client: httpx.AsyncClient) -> int:
    try:
        from orjson import loads  # noqa: PLC0415  # the fairest opponent, where it is installed
    except ImportError:
        from json import loads  # noqa: PLC0415
    async with client.stream("GET", "/") as response:
        return len(loads(await response.aread()))


async def take_pieces(client: httpx.AsyncClient, *, raw: bool) -> int:
    count = 0
    async with client.stream("GET", "/") as response:
        async for _piece in response.aiter_raw() if raw else response.aiter_bytes():
            count += 1
    return count


async def take_alerts(client: KumaClient, known: set[bytes]) -> int:
    changed = 0
    async with aclosing(client.read(Query(kind=ReadKind.FULL))) as items:
        async for item in items:
            if isinstance(item, PageEnd):
                break  # the server has this page alone
            if item.digest not in known:
                parsed = parse_alert(item.raw or b"", with_events=True, max_events=0, privacy=Privacy())
                known.add(item.digest)
                changed += isinstance(parsed, Parsed)
    return changed


@contextlib.asynccontextmanager
async def taker(way: str, base: str, ca_file: Path) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Return a function that reads a page once that way; all its calls use one connection."""
    if way == "kuma":
        remote = RemoteClient(Endpoint(remote="kuma", url=base, ca_file=ca_file), clock=lambda: datetime.now(UTC))
        scope = {"statuses": ["new"], "tenants": [], "with_affected": False, "max_alert_size": 32 << 20, "page_cap": 9}
        kuma, known = KumaClient(client=remote, token=Secret("t0ken"), api_version="v1", **scope), set()
        yield lambda: take_alerts(kuma, known)
        await remote.aclose()
        return
    async with httpx.AsyncClient(base_url=base, verify=ssl.create_default_context(cafile=ca_file)) as client:
        yield lambda: take_whole(client) if way == "whole" else take_pieces(client, raw=way == "raw")


async def measured(take: Callable[[], Awaitable[int]]) -> Result:
    worst, loop = 0.0, asyncio.get_running_loop()

    async def tick() -> None:
        nonlocal worst
        while True:
            due = loop.time() + TICK
            await asyncio.sleep(TICK)
            worst = max(worst, loop.time() - due)

    before = memory("VmRSS")
    cold = time.perf_counter()
    await take()
    cpu, started = time.process_time(), time.perf_counter()
    ticking = asyncio.ensure_future(tick())
    taken = await take()
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    await asyncio.sleep(2 * TICK)  # a tick that is overdue by now counts, too
    ticking.cancel()
    found = {"ms": seconds * 1000, "cpu_ms": cpu * 1000, "first_ms": (started - cold) * 1000}
    return found | {"peak_mb": (memory("VmHWM") - before) / 1024, "stall_ms": worst * 1000, "taken": taken}


def memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


async def take(way: str, base: str, folder: Path) -> Result:
    async with taker(way, base, folder / "ca.pem") as once:
        return await measured(once)


# The run: a server, rounds of all ways, a table.


@contextlib.contextmanager
def server(form: str, folder: Path) -> Iterator[str]:
    command = [sys.executable, __file__, "--folder", str(folder), "--serve", form]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  # this file
        try:
            assert process.stdout is not None  # noqa: S101  # asked for above
            port = process.stdout.readline().strip()
            yield f"http{'s' if form == 'tls' else ''}://127.0.0.1:{port}"
        finally:
            process.kill()


def measure(form: str, folder: Path, rounds: int, ways: list[str]) -> dict[str, Result]:
    found: dict[str, list[Result]] = {way: [] for way in ways}
    with server(form, folder) as base:
        for _ in range(rounds):
            for way in ways:
                command = [sys.executable, __file__, "--folder", str(folder), "--take", way, "--base", base]
                done = subprocess.run(command, check=True, capture_output=True)  # noqa: S603  # this file
                found[way].append(json.loads(done.stdout))
    return {
        way: {key: statistics.median(result[key] for result in results) for key in results[0]}
        for way, results in found.items()
    }


def table(form: str, ways: dict[str, Result], size: float) -> str:
    lines = [f"{form:8}    ms  cpu ms   MB/s  +MB peak  stall ms  first read ms"]
    for way, result in ways.items():
        speed = f"{result['ms']:6.0f}  {result['cpu_ms']:6.0f} {size / result['ms'] * 1000:6.0f}"
        rest = f"{result['peak_mb']:8.1f}  {result['stall_ms']:8.1f}  {result['first_ms']:13.0f}"
        lines.append(f"  {way:6}{speed}  {rest}")
    if {"whole", "bare", "kuma"} <= ways.keys():
        whole, bare, kuma = ways["whole"], ways["bare"], ways["kuma"]
        for clock in ("ms", "cpu_ms"):
            times, share = whole[clock] / kuma[clock], bare[clock] / kuma[clock]
            lines.append(f"  kuma, {clock}: {times:.2f} x as fast as whole, {share:.2f} of bare")
        lines.append(f"  kuma, memory: 1/{whole['peak_mb'] / kuma['peak_mb']:.0f} of whole")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, or be one of the processes that a measurement needs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=250)
    parser.add_argument("--events", type=int, default=200, help="events of an alert")
    parser.add_argument("--changed", type=float, default=0.1, help="share of alerts that are new or changed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--json", action="store_true", help="print figures instead of tables")
    for hidden in ("--folder", "--serve", "--take", "--base"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    run(parser.parse_args())


def run(args: argparse.Namespace) -> None:
    if args.folder:
        folder = Path(args.folder)
        if args.serve:
            serve(args.serve, folder)
        else:
            sys.stdout.write(json.dumps(asyncio.run(take(args.take, args.base, folder))))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        SimTls.make(folder)
        alerts = make_alerts(args.alerts, args.events)
        changed = round(args.alerts * args.changed)
        before = [alert.replace(b'"high"', b'"low"') for alert in alerts[:changed]] + alerts[changed:]
        dice().shuffle(order := list(range(args.alerts)))
        for page, content in (("before", before), ("now", alerts)):
            (folder / page).write_bytes(b"[" + b",".join(content[n] for n in order) + b"]")
        size = (folder / "now").stat().st_size / 1e6
        found = {}
        for form in args.forms:
            found[form] = measure(form, folder, args.rounds, args.ways)
            if not args.json:
                sys.stdout.write(table(form, found[form], size))
                sys.stdout.flush()
        if args.json:
            sys.stdout.write(json.dumps({"page_mb": size, "rounds": args.rounds, "forms": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
