"""Run uvicorn as a coroutine: no signal handlers, no access log, no `Server` header, a bounded stop.

Our own listener accepts the connections and limits their number and time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import socket
import ssl
import sys
import termios
from collections.abc import Iterator

import uvicorn
from h11 import LocalProtocolError
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from kuma_sync.core.errors import KumaSyncError
from kuma_sync.settings import host_and_port
from kuma_sync.web.listener import DoorLimits, Guest, Listener, most_connections
from kuma_sync.web.responses import CONNECTION

_STOP_SECONDS = 5
_LOOK_AGAIN = 0.005


class PortTaken(KumaSyncError):
    """The address to listen on cannot be had: exit 1."""


def bind(listen: str) -> socket.socket:
    """Take the address `host:port` (port 0: the system chooses); raise PortTaken."""
    host, port = host_and_port(listen)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address, family=family, backlog=2048)
    except UnicodeError:
        raise PortTaken(f"web.listen: cannot listen on {listen}: it is no host's name") from None
    except OSError as error:
        why = "another program has it" if error.errno == errno.EADDRINUSE else error.strerror or "it cannot be had"
        raise PortTaken(f"web.listen: cannot listen on {listen}: {why}") from None


def why_not_free(listen: str) -> OSError | None:
    """Return why an address cannot be bound; None if it can. Nothing listens on it meanwhile."""
    host, port = host_and_port(listen)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = found[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the door does
            probe.bind(address)
    except UnicodeError:
        return OSError(errno.EINVAL, "it is no host's name")
    except OSError as error:
        return error
    return None


async def serve(
    app: ASGIApp,
    door: socket.socket,
    *,
    stop: asyncio.Event,
    tls: ssl.SSLContext | None = None,
    limits: DoorLimits | None = None,
) -> None:
    """Serve on the bound socket until `stop` is set; requests in work then have 5 seconds. The socket is closed."""
    with contextlib.closing(door):
        config = uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        config.load()
        server = _Server(config)
        listener = Listener(door, server.talk, limits=limits or DoorLimits(most=most_connections()), tls=tls)
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(_stop_when(stop, server, listener), name="door-stop")
                listener.start()
                await server.serve(sockets=[])
                watching.cancel()
        finally:
            listener.close()
            server.abort()


class _Talk(H11Protocol):
    """uvicorn's protocol of one connection; it reports to the listener what it waits for."""

    guest: Guest
    _broken = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self.guest.talk = self
        self.guest.silent()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._broken = self._broken or exc is not None
        self.guest.left()

    def data_received(self, data: bytes) -> None:
        before = self._phase()
        super().data_received(data)
        if self._phase() != before:
            self._tell()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._tell()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP; of an answer in work nothing follows. Break off where a refusal comes too late."""
        if self.cycle is not None:
            self.cycle.disconnected = True
        try:
            super().send_400_response(msg)
        except LocalProtocolError:
            self.end()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._tell()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._tell()

    def end(self) -> None:
        """Break the connection off."""
        self._broken = True
        if self.cycle is not None:  # else uvicorn, not told yet, logs an error about every answer that we end
            self.cycle.disconnected = True
        self.transport.abort()

    @property
    def over(self) -> bool:
        """Tell whether the connection ended, or is about to."""
        return self._broken or self.transport.is_closing()

    @property
    def unsure(self) -> bool:
        """Tell whether the peer may not have taken all that was sent: the connection goes on, or was broken off."""
        return self._broken or not self.transport.is_closing()

    def moves(self) -> None:
        """Note that an answer goes on, so that it does not count as one that we do not give."""
        if not self.flow.write_paused:
            self.guest.answering()

    async def taken(self, *, within: float | None = None) -> bool:
        """Wait until the peer's system has taken all that was sent.

        False where the connection ended before, or not in time.
        """
        connection, clock = self.transport.get_extra_info("socket"), asyncio.get_running_loop().time
        deadline = None if within is None else clock() + within
        # TLS keeps packed bytes that nobody counts: the loop writes them before the next look.
        looks = 2 if self.transport.get_extra_info("sslcontext") else 1
        while not self.transport.is_closing() and (deadline is None or clock() < deadline):
            empty = self.transport.get_write_buffer_size() == 0 and _unsent(connection) == 0
            looks = looks - 1 if empty else looks
            if empty and looks <= 0:
                return True
            await asyncio.sleep(_LOOK_AGAIN)
        return False

    def _phase(self) -> tuple[object, bool, bool]:
        cycle = self.cycle
        return (cycle, True, True) if cycle is None else (cycle, cycle.response_complete, cycle.more_body)

    def _tell(self) -> None:
        _cycle, over, unfinished = self._phase()
        if over:
            self.guest.silent()
        elif unfinished or self.flow.write_paused:
            self.guest.slow()
        else:
            self.guest.answering()


def _unsent(connection: socket.socket) -> int:
    """Count the bytes that the peer's system has not taken yet."""
    try:
        return int.from_bytes(fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4), sys.byteorder)
    except OSError:  # no such question on this system
        return 0


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers."""

    def talk(self, guest: Guest) -> _Talk:
        """Make the protocol of one connection."""
        state: dict[str, object] = {}
        talk = _Talk(config=self.config, server_state=self.server_state, app_state=state)
        state[CONNECTION] = talk
        talk.guest = guest
        return talk

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: the daemon handles signals."""
        yield

    def abort(self) -> None:
        """Break open connections: after a cancellation uvicorn has closed nothing."""
        for task in self.server_state.tasks:
            task.cancel()
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()


async def _stop_when(stop: asyncio.Event, server: uvicorn.Server, listener: Listener) -> None:
    await stop.wait()
    listener.close()
    server.should_exit = True
