"""An ASGI application on a real socket of the running loop, with TLS where wanted. Knows nothing of KUMA or the IRP.

uvicorn's HTTP protocol is used without `uvicorn.Server`: no signal handlers, no log, and a stop that aborts what hangs.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import uvicorn
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from kuma_sync.sim.values import SimError, utc_now

TRANSPORT = "sim.transport"
"""Key of `scope["state"]` under which the connection's transport lies, so that faults can break it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimTls:
    """Name the files of one certificate: `ca_file` for the client, `cert_file` (key and chain) for the server."""

    ca_file: Path
    cert_file: Path

    @classmethod
    def make(
        cls,
        directory: str | Path,
        names: tuple[str, ...] = ("localhost", "127.0.0.1"),
        *,
        wrong_name: bool = False,
        expired: bool = False,
        days: int = 30,
    ) -> SimTls:
        """Write a new CA and a certificate for `names` into `directory`; SimError where it cannot.

        That is where trustme is not installed, or the files cannot be written.
        """
        try:
            import trustme  # noqa: PLC0415  # an optional package: only `--tls` needs it
        except ImportError as error:
            raise SimError(
                "TLS for the simulators needs trustme: `pip install trustme`, where kuma-sync is installed"
            ) from error
        authority = trustme.CA()
        end = utc_now() - timedelta(days=1) if expired else utc_now() + timedelta(days=days)
        identities = ("elsewhere.invalid",) if wrong_name else names
        leaf = authority.issue_cert(*identities, not_before=end - timedelta(days=60), not_after=end)
        folder = Path(directory)
        tls = cls(ca_file=folder / "ca.pem", cert_file=folder / "server.pem")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            authority.cert_pem.write_to_path(str(tls.ca_file))
            tls.cert_file.touch(mode=0o600)
            leaf.private_key_and_cert_chain_pem.write_to_path(str(tls.cert_file))
        except OSError as error:
            raise SimError(f"the certificate cannot be written into {folder}: {error.strerror}") from error
        return tls


class SimProtocol(H11Protocol):
    """Speak HTTP/1.1 as uvicorn does, quietly, and hand the transport to the application."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Remember the transport: uvicorn copies `app_state` into the scope of each request."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}


class SimServer:
    """Serve an application between `start` and `stop`; also an async context manager. The port survives a restart."""

    def __init__(self, app: ASGIApp, *, listen: str = "127.0.0.1:0", tls: SimTls | None = None) -> None:
        host, colon, port = listen.rpartition(":")
        if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise SimError(f"listen must be HOST:PORT with a port up to 65535, not {listen!r}")
        self._app = app
        self._host = host.strip("[]")
        self._port = int(port)
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._state = ServerState()
        self._stopping = False

    @property
    def url(self) -> str:
        """Tell the base address, without a slash at the end; known once started."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self._port}"

    async def start(self) -> None:
        """Listen; raise SimError when the address cannot be had."""
        config = self._config()
        config.load()
        self._state, self._stopping = ServerState(), False
        try:
            self._server = await asyncio.get_running_loop().create_server(
                lambda: SimProtocol(config=config, server_state=self._state, app_state={}),
                host=self._host,
                port=self._port,
                ssl=config.ssl,
                backlog=2048,
            )
        except OSError as error:
            raise SimError(f"cannot listen on {self._host}:{self._port}: {error.strerror}") from error
        except UnicodeError as error:
            raise SimError(f"cannot listen on {self._host}:{self._port}: that is no host's name") from error
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the socket, break every connection, cancel every request in work. Takes milliseconds."""
        if self._server is None:
            return
        self._stopping = True
        self._server.close()
        self._server = None
        tasks = list(self._state.tasks)
        for connection in list(self._state.connections):
            connection.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for _ in range(50):
            if not self._state.connections:
                return
            await asyncio.sleep(0.01)

    async def __aenter__(self) -> SimServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _config(self) -> uvicorn.Config:
        certificate = str(self._tls.cert_file) if self._tls else None
        return uvicorn.Config(
            self._guarded,
            http=SimProtocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            proxy_headers=False,
            date_header=False,
            timeout_keep_alive=60,
            ssl_certfile=certificate,
            ssl_keyfile=certificate,
        )

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, without two exceptions that uvicorn would log as errors.

        They are our own cancelling at stop, and a client that left before its request was complete.
        """
        try:
            await self._app(scope, receive, send)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            # Until it has seen the connection lost, uvicorn complains about an answer that never began.
            while (await receive())["type"] != "http.disconnect":
                continue
