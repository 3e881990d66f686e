"""Every way a connection can fail, on real sockets, and the words it gets."""

from __future__ import annotations

import asyncio
import base64
import gzip
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme

from kuma_sync.core.errors import ConfigError, Permanent, Transient
from kuma_sync.transport import Endpoint, Outgoing, RemoteClient
from kuma_sync.transport.response import LARGEST_PIECE

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
REQUEST = Outgoing(method="POST", path="/x", body=b"{}")
READ = Outgoing(method="GET", path="/x")


@asynccontextmanager
async def a_server(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve one raw conversation a connection: `talk` begins when the request's head is there."""

    open_connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_connections[asyncio.current_task()] = writer
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in open_connections.values():
            writer.transport.abort()
        await asyncio.gather(*open_connections)


def says(*pieces: bytes, every: float = 0) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every)

    return talk


def resets(after: bytes = b"") -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(after)
        await writer.drain()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return talk


async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@asynccontextmanager
async def a_client(url: str, **changes: object) -> AsyncIterator[RemoteClient]:
    endpoint = Endpoint(**{"remote": "kuma", "url": url, "read_timeout": 5, "deadline": 10, **changes})
    client = RemoteClient(endpoint, clock=lambda: datetime.now(UTC))
    try:
        yield client
    finally:
        await client.aclose()


async def failure(url: str, *, request: Outgoing = REQUEST, writes: bool = True, **changes: object) -> Transient:
    async with a_client(url, **changes) as client:
        with pytest.raises(Transient) as caught:
            await client.send(request, operation="op", changes=writes)
    assert caught.value.__cause__ is None
    return caught.value


async def streamed(client: RemoteClient, received: list[bytes]) -> None:
    async with client.stream(READ, operation="op") as stream:
        received.extend([chunk async for chunk in stream.chunks])


PACKED = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"[1,2,3]")
BROKE_OFF = "the connection ended before the answer did, or it is no HTTP"
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n["
DRIP = (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *([b" "] * 1000))


@pytest.mark.parametrize(
    ("talk", "words", "limits"),
    [
        (resets(), "connection broken", {}),
        (resets(CUT), BROKE_OFF, {}),
        (says(CUT), BROKE_OFF, {}),
        (says(b"SSH-2.0-x\r\n"), BROKE_OFF, {}),
        (says(), BROKE_OFF, {}),
        (says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nnope"), "the answer's compression is broken", {}),
        (says(b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n\r\nnope"), "the answer's compression is broken", {}),
        (says(PACKED[:-1]), "the answer's compression is broken", {}),
        (says(PACKED[:-12] + b"x" + PACKED[-11:]), "the answer's compression is broken", {}),
        (hangs, "no answer within 0.2s", {"read_timeout": 0.2}),
        (says(*DRIP, every=0.05), "no whole answer within 1.5s", {"read_timeout": 1, "deadline": 1.5}),
    ],
)
async def test_what_fails_after_sending_is_ambiguous_for_a_write_and_only_for_a_write(talk, words, limits):
    async with a_server(talk) as port:
        written = await failure(f"http://127.0.0.1:{port}", **limits)
        read = await failure(f"http://127.0.0.1:{port}", request=READ, writes=False, **limits)

    assert str(written) == str(read) == f"kuma op: {words}"
    assert (written.ambiguous, read.ambiguous) == (True, False)


@pytest.mark.parametrize(
    ("talk", "words", "limits"),
    [
        (resets(CUT), BROKE_OFF, {}),
        (says(CUT), BROKE_OFF, {}),
        (says(*DRIP, every=0.05), "no whole answer within 1.5s", {"read_timeout": 1, "deadline": 1.5}),
        (says(CUT, b"", every=1), "no answer within 0.2s", {"read_timeout": 0.2}),
    ],
)
async def test_a_failure_while_a_stream_is_read_is_translated_and_frees_the_connection(talk, words, limits):
    async with a_server(talk) as port, a_client(f"http://127.0.0.1:{port}", connections=1, **limits) as client:
        for _ in range(2):
            with pytest.raises(Transient) as caught:
                await streamed(client, [])

            assert (caught.value.summary, caught.value.ambiguous) == (words, False)


async def test_time_spent_on_the_pieces_does_not_count_against_the_deadline():
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n[1"

    async with (
        a_server(says(body, b"2]")) as port,
        a_client(f"http://127.0.0.1:{port}", deadline=1) as client,
        client.stream(READ, operation="op") as stream,
    ):
        await asyncio.sleep(1.2)
        received = b"".join([chunk async for chunk in stream.chunks])

    assert received == b"[12]"


async def test_a_stream_tells_the_servers_clock_and_counts_what_came_over_the_network():
    packed = gzip.compress(b" " * 10_000)
    head = b"HTTP/1.1 200 OK\r\nDate: Fri, 02 Jan 2026 03:00:00 GMT\r\nContent-Encoding: gzip\r\n"

    async with (
        a_server(says(head + b"Content-Length: %d\r\n\r\n" % len(packed) + packed)) as port,
        a_client(f"http://127.0.0.1:{port}") as client,
        client.stream(READ, operation="op") as stream,
    ):
        received = b"".join([chunk async for chunk in stream.chunks])

    assert received == b" " * 10_000
    assert (stream.status, stream.bytes_received) == (200, len(packed))
    assert stream.date == datetime(2026, 1, 2, 3, tzinfo=UTC)


async def test_a_body_of_several_gzip_members_is_taken_whole():
    packed = gzip.compress(b"[1,") + gzip.compress(b"") + bytes(9) + gzip.compress(b" " * 3_000_000 + b"2]")
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"

    async with (
        a_server(says(head, *(packed[at : at + 7] for at in range(0, len(packed), 7)))) as port,
        a_client(f"http://127.0.0.1:{port}") as client,
        client.stream(READ, operation="op") as stream,
    ):
        received = [chunk async for chunk in stream.chunks]

    assert b"".join(received) == b"[1," + b" " * 3_000_000 + b"2]"


async def test_what_unpacks_to_a_thousand_times_its_size_is_unpacked_piece_by_piece():
    packed = gzip.compress(b" " * 50_000_000)

    async with (
        a_server(says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + packed)) as port,
        a_client(f"http://127.0.0.1:{port}") as client,
        client.stream(READ, operation="op") as stream,
    ):
        sizes = [len(chunk) async for chunk in stream.chunks]

    assert (sum(sizes), max(sizes)) == (50_000_000, LARGEST_PIECE)


async def test_a_streams_refusal_is_read_no_further_than_needed():
    body = b"HTTP/1.1 500 Oops\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000

    async with (
        a_server(says(body)) as port,
        a_client(f"http://127.0.0.1:{port}") as client,
        client.stream(READ, operation="op") as stream,
    ):
        answer = await stream.answer(limit=1000)

    assert (answer.status, len(answer.body)) == (500, 1000)


async def test_nobody_listening_is_not_ambiguous():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = await failure(f"http://127.0.0.1:{unused.getsockname()[1]}")

    assert (error.summary, error.ambiguous) == ("connection refused", False)


async def test_an_unknown_host_is_not_ambiguous():
    error = await failure("http://kuma.invalid:7223")

    assert (error.summary, error.ambiguous) == ("host name not found", False)


async def test_a_host_that_takes_no_connections_is_not_ambiguous():
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        error = await failure(f"http://127.0.0.1:{address[1]}", connect_timeout=0.3)
        for one in waiting:
            one.close()

    assert (error.summary, error.ambiguous) == ("no connection within 0.3s", False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def tls_server(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


OK = b"HTTP/1.1 204 No Content\r\n\r\n"


async def test_the_installations_own_ca_is_trusted(authority, ca_file):
    async with (
        a_server(says(OK), tls_server(authority, "localhost")) as port,
        a_client(f"https://localhost:{port}", ca_file=ca_file) as client,
    ):
        answer = await client.send(REQUEST, operation="op", changes=True)

    assert answer.status == 204


async def test_verification_can_be_switched_off(authority):
    async with (
        a_server(says(OK), tls_server(authority, "elsewhere.test")) as port,
        a_client(f"https://127.0.0.1:{port}", verify_tls=False) as client,
    ):
        answer = await client.send(REQUEST, operation="op", changes=True)

    assert answer.status == 204


async def test_an_unknown_ca_is_named_with_its_remedy(authority):
    async with a_server(says(OK), tls_server(authority, "localhost")) as port:
        error = await failure(f"https://localhost:{port}")

    assert (error.summary, error.ambiguous) == ("certificate not trusted (set kuma.ca_file)", False)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_certificate_for_another_host_is_named(authority, ca_file, host):
    async with a_server(says(OK), tls_server(authority, "kuma.example.com")) as port:
        error = await failure(f"https://{host}:{port}", ca_file=ca_file)

    assert (error.summary, error.ambiguous) == ("certificate is for another host name", False)


async def test_an_expired_certificate_is_named(authority, ca_file):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", not_after=datetime(2020, 1, 1, tzinfo=UTC)).configure_cert(context)

    async with a_server(says(OK), context) as port:
        error = await failure(f"https://localhost:{port}", ca_file=ca_file)

    assert error.summary == "certificate has expired"


async def test_a_server_without_tls_is_named(ca_file):
    async def answers_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answers_plainly, "127.0.0.1", 0)
    async with server:
        error = await failure(f"https://localhost:{server.sockets[0].getsockname()[1]}", ca_file=ca_file)

    assert (error.summary, error.ambiguous) == ("no TLS is spoken there (http://, or another port?)", False)


async def test_a_client_certificate_is_shown(authority, ca_file, tmp_path):
    pair = authority.issue_cert("client.test")
    pair.private_key_pem.write_to_path(tmp_path / "key.pem")
    pair.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    context = tls_server(authority, "localhost")
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED

    async with a_server(says(OK), context) as port:
        files = {"client_cert": tmp_path / "cert.pem", "client_key": tmp_path / "key.pem"}
        async with a_client(f"https://localhost:{port}", ca_file=ca_file, **files) as client:
            answer = await client.send(REQUEST, operation="op", changes=True)

    assert answer.status == 204


@contextmanager
def a_refusing_server(tls: ssl.SSLContext) -> Iterator[int]:
    """Refuse every handshake with an alert, as servers do: asyncio's closes without a word."""

    def serve(door: socket.socket) -> None:
        with suppress(OSError):  # the door was closed
            while True:
                connection, _ = door.accept()
                with connection, suppress(OSError):
                    refused = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                    with suppress(ssl.SSLError):
                        refused.do_handshake()
                    plain = socket.socket(fileno=refused.detach())
                    with plain:
                        plain.shutdown(socket.SHUT_WR)
                        while plain.recv(4096):
                            pass

    with socket.create_server(("127.0.0.1", 0)) as door, ThreadPoolExecutor(1) as thread:
        serving = thread.submit(serve, door)
        try:
            yield door.getsockname()[1]
        finally:
            door.shutdown(socket.SHUT_RDWR)
            serving.result()


@pytest.mark.parametrize("remote", ["kuma", "irp"])
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("shown", ["none", "another CA's"])
async def test_who_wants_our_certificate_and_gets_none_or_another_is_told(
    authority, ca_file, tmp_path, shown, newest, remote
):
    trustme.CA().issue_cert("client.test").private_key_and_cert_chain_pem.write_to_path(tmp_path / "other.pem")
    context = tls_server(authority, "localhost")
    authority.configure_trust(context)
    context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, newest
    files = {} if shown == "none" else {"client_cert": tmp_path / "other.pem", "client_key": tmp_path / "other.pem"}

    with a_refusing_server(context) as port:
        error = await failure(f"https://localhost:{port}", ca_file=ca_file, remote=remote, **files)

    told = f"the server refuses our certificate, or asks for one ({remote}.client_cert)"
    vague = shown == "none" and newest is ssl.TLSVersion.TLSv1_2  # which has no alert for this
    assert error.summary == f"{'TLS handshake refused: ' * vague}{told}"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_a_server_that_speaks_nothing_newer_than_tls_1_1_is_not_spoken_to(authority, ca_file):
    context = tls_server(authority, "localhost")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")

    with a_refusing_server(context) as port:
        error = await failure(f"https://localhost:{port}", ca_file=ca_file)

    assert error.summary.startswith("TLS handshake failed (")
    assert not error.ambiguous


@pytest.mark.parametrize("key", ["ca_file", "client_cert", "client_key"])
@pytest.mark.parametrize(("name", "words"), [("missing.pem", "no such file"), ("junk.pem", "PEM")])
async def test_an_unusable_file_is_a_configuration_error_that_names_its_key(authority, tmp_path, key, name, words):
    pair = authority.issue_cert("client.test")
    pair.private_key_and_cert_chain_pem.write_to_path(tmp_path / "good.pem")
    (tmp_path / "junk.pem").write_text("junk")
    good = {"client_cert": tmp_path / "good.pem", "client_key": tmp_path / "good.pem"}

    with pytest.raises(ConfigError, match=words) as caught:
        RemoteClient(
            Endpoint(remote="kuma", url="https://kuma.test", **{**good, key: tmp_path / name}),
            clock=lambda: datetime.now(UTC),
        )

    named = {"client_key": "kuma.client_cert"} if words == "PEM" else {}
    assert caught.value.key == named.get(key, f"kuma.{key}")


@pytest.mark.parametrize(
    "proxy", ["ftp://proxy", "http://:3128", "proxy:3128", "socks5://proxy:1080", "http://a%3Ab:c@proxy:3128"]
)
def test_an_unusable_proxy_is_a_configuration_error_that_does_not_show_it(proxy):
    with pytest.raises(ConfigError) as caught:
        RemoteClient(
            Endpoint(remote="irp", url="https://irp.test", proxy=lambda: proxy), clock=lambda: datetime.now(UTC)
        )

    assert caught.value.key == "irp.proxy"
    assert proxy not in str(caught.value)


async def test_only_the_configured_proxy_is_used(monkeypatch):
    seen = []

    async def forwards(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readline())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        writer.close()

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    proxy = await asyncio.start_server(forwards, "127.0.0.1", 0)
    async with proxy, a_server(says(OK)) as port:
        address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        async with a_client("http://remote.test", proxy=lambda: address) as client:
            await client.send(READ, operation="op", changes=False)
        async with a_client(f"http://127.0.0.1:{port}") as client:
            await client.send(READ, operation="op", changes=False)

    assert seen == [b"GET http://remote.test/x HTTP/1.1\r\n"]


@pytest.mark.parametrize("remote", ["http://remote.test", "https://remote.test"])
async def test_a_proxy_is_told_our_name_and_the_remote_is_not(remote, ca_file):
    heads = []

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    proxy = await asyncio.start_server(refuses, "127.0.0.1", 0)
    async with proxy:
        address = f"http://u:s%C3%A4cret@127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        async with a_client(remote, proxy=lambda: address, ca_file=ca_file) as client:
            with suppress(Transient):
                await client.send(READ, operation="op", changes=False)

    (head,) = heads
    assert b"\r\nProxy-Authorization: Basic %b\r\n" % base64.b64encode("u:säcret".encode()) in head
    assert b"\r\nAuthorization:" not in head


@pytest.mark.parametrize("remote", ["http://remote.test", "https://remote.test"])
async def test_a_proxy_that_refuses_is_not_ambiguous(remote, ca_file):
    async with a_server(says(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")) as port:
        error = await failure(remote, proxy=lambda: f"http://u:secret@127.0.0.1:{port}", ca_file=ca_file)

    assert (error.summary, error.ambiguous) == ("the proxy refused the connection", False)


@pytest.mark.parametrize("remote", ["http://remote.test", "https://remote.test"])
async def test_a_proxys_new_password_is_used_after_it_refused_the_old_one(remote, ca_file):
    told, addresses = [], [f"http://u:{word}@127.0.0.1:{{port}}" for word in ("old", "new")]
    addresses.insert(1, "")  # the file is just being written

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        told.append(re.search(rb"Proxy-Authorization: Basic (\S+)", head)[1])
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    proxy = await asyncio.start_server(refuses, "127.0.0.1", 0)
    async with proxy:
        port = proxy.sockets[0].getsockname()[1]
        async with a_client(
            remote, proxy=lambda: (addresses.pop(0) if addresses else "").format(port=port), ca_file=ca_file
        ) as client:
            for _ in range(4):
                with pytest.raises(Transient, match="the proxy refused"):
                    await client.send(REQUEST, operation="op", changes=True)

    assert [base64.b64decode(one) for one in told] == [b"u:old", b"u:old", b"u:new", b"u:new"]


async def test_every_connection_can_be_used_at_once():
    waiting, everybody_is_here = 0, asyncio.Event()

    async def answers_when_eight_wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == 8:
            everybody_is_here.set()
        await everybody_is_here.wait()
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")

    async with a_server(answers_when_eight_wait) as port, a_client(f"http://127.0.0.1:{port}", connections=8) as client:
        answers = await asyncio.gather(*(client.send(REQUEST, operation="op", changes=True) for _ in range(8)))

    assert {answer.status for answer in answers} == {204}


async def test_a_cancelled_request_gives_its_connection_back():
    arrived = asyncio.Event()

    async def hangs_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not arrived.is_set():
            arrived.set()
            await reader.read()
        writer.write(OK)

    async with a_server(hangs_once) as port, a_client(f"http://127.0.0.1:{port}", connections=1) as client:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(client.send(REQUEST, operation="op", changes=True))
            await arrived.wait()
            first.cancel()
        answer = await client.send(REQUEST, operation="op", changes=True)

    assert first.cancelled()
    assert answer.status == 204


def created(number: int) -> bytes:
    body = b'{"id": %d}' % number
    return b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def test_what_comes_over_an_idle_connection_is_nobodys_answer():
    taken, said = asyncio.Event(), asyncio.Event()
    numbers = iter(range(1, 9))

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(b"{}"))
        writer.write(created(next(numbers)))
        await taken.wait()
        writer.write(created(666))
        await writer.drain()
        said.set()
        await reader.read()

    async with a_server(talk) as port, a_client(f"http://127.0.0.1:{port}") as client:
        first = await client.send(REQUEST, operation="op", changes=True)
        taken.set()
        await said.wait()
        await asyncio.sleep(0.05)  # what came lies in the socket or the reader by then; nothing else tells
        second = await client.send(REQUEST, operation="op", changes=True)

    assert (first.json(), second.json()) == ({"id": 1}, {"id": 2})


async def test_a_connection_that_the_remote_closed_while_the_loop_was_busy_is_not_used():
    numbers = iter(range(1, 9))
    closed, over = threading.Event(), threading.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(b"{}"))
        writer.write(created(next(numbers)))
        writer.close()
        await writer.wait_closed()
        closed.set()

    with ThreadPoolExecutor(1) as thread:
        started: Future[int] = Future()

        async def serve() -> None:
            async with a_server(talk) as port:
                started.set_result(port)
                await asyncio.to_thread(over.wait)

        running = thread.submit(asyncio.run, serve())
        try:
            async with a_client(f"http://127.0.0.1:{started.result(30)}") as client:
                first = await client.send(REQUEST, operation="op", changes=True)
                assert closed.wait(10), "the loop is busy, while the remote closes the connection"
                second = await client.send(REQUEST, operation="op", changes=True)
        finally:
            over.set()
        running.result(30)

    assert (first.json(), second.json()) == ({"id": 1}, {"id": 2})


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "PATCH"])
async def test_a_write_of_any_method_is_sent_once_and_in_doubt_when_the_remote_dies(method):
    heads = []

    async def takes_and_dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readexactly(len(b"{}")))
        server.close()
        await resets()(reader, writer)

    async with a_client("http://127.0.0.1") as client:
        server = await asyncio.start_server(lambda r, w: _after_head(takes_and_dies, r, w), "127.0.0.1", 0)
        client.endpoint = replace(client.endpoint, url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(Transient) as caught:
            await client.send(replace(REQUEST, method=method), operation="op", changes=True)
        server.close()

    assert heads == [b"{}"]
    assert (caught.value.summary, caught.value.ambiguous) == ("connection broken", True)


async def _after_head(talk: Talk, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    await talk(reader, writer)


async def test_an_answer_with_a_long_head_is_taken():
    fields = b"".join(b"X-%d: 1\r\n" % number for number in range(300)) + b"X-Long: %b\r\n" % (b"a" * 60_000)

    async with (
        a_server(says(b"HTTP/1.1 204 No Content\r\n" + fields + b"\r\n")) as port,
        a_client(f"http://127.0.0.1:{port}") as client,
    ):
        answer = await client.send(REQUEST, operation="op", changes=True)

    assert (answer.status, len(answer.headers["x-long"])) == (204, 60_000)


@pytest.mark.parametrize("value", ["a\nb", "токен"])
async def test_a_header_that_http_does_not_allow_is_permanent_and_not_shown(value):
    request = replace(REQUEST, headers={"X-Own": value})

    async with a_server(says(OK)) as port, a_client(f"http://127.0.0.1:{port}") as client:
        with pytest.raises(Permanent, match="cannot be sent") as caught:
            await client.send(request, operation="op", changes=True)

    assert value not in str(caught.value)


@pytest.mark.parametrize("status", [b"099 Odd", b"101 Switching Protocols"])
async def test_a_status_that_ends_no_request_is_no_answer(status):
    async with a_server(says(b"HTTP/1.1 %b\r\n\r\n" % status)) as port:
        error = await failure(f"http://127.0.0.1:{port}")

    assert error.ambiguous


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_peer_that_takes_nothing_leaves_no_socket_behind():
    def files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(8)
        before = files()
        big = replace(REQUEST, body=bytes(8_000_000))
        async with a_client(f"http://127.0.0.1:{deaf.getsockname()[1]}", deadline=0.3, read_timeout=0.2) as client:
            with pytest.raises(Transient):
                await client.send(big, operation="op", changes=True)
        last = time.monotonic() + 10
        while files() > before and time.monotonic() < last:
            await asyncio.sleep(0.05)

        assert files() == before
