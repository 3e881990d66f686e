"""Limits on connections to the HTTP door: their number, and the time that each may take.

A silent caller costs a file descriptor, and without a free descriptor the process reaches neither KUMA nor the IRP;
asyncio itself would then log thousands of lines a second. So connections are accepted here one by one, and at the limit
the connection that we have waited for longest is closed.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)

MOST = 1000
FEWEST = 16

AT_ONCE = 64
"""Connections accepted in one step of the event loop: their requests are read before more are accepted."""

PATIENCE = 0.5
"""Seconds that a caller has to send something although others wait for its place."""

PAUSE = 0.1
"""Seconds until a look whether there is room again."""

TICK = 1.0

_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def most_connections() -> int:
    """Return how many connections a door may have: half the files that this process may open."""
    files, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if files == resource.RLIM_INFINITY else max(FEWEST, min(MOST, files // 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorLimits:
    """The most connections, and the seconds that each may take.

    `silence`: until a request's head is complete, counted from the connection (TLS included) or from the last answer.
    `body`: until the body is complete, and until the peer has taken our answer. `answer`: until we have an answer.
    """

    most: int
    silence: float = 10.0
    body: float = 40.0
    answer: float = 120.0


class Talk(Protocol):
    """The protocol that serves one connection; it reports what it waits for."""

    def end(self) -> None:
        """Break the connection off."""


class Guest:
    """One connection, and the time since when it waits."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self.since = 0.0
        self.limit = 0.0
        self.talk: Talk | None = None
        self.welcome: asyncio.Task[None] | None = None

    def silent(self) -> None:
        """Note that it waits for the head of a request."""
        self._listener.waits(self, self._listener.limits.silence)

    def slow(self) -> None:
        """Note that it waits for a request's body, or for the peer to take our answer."""
        self._listener.waits(self, self._listener.limits.body)

    def answering(self) -> None:
        """Note that it waits for us."""
        self._listener.waits(self, self._listener.limits.answer, for_us=True)

    def left(self) -> None:
        """Note that the connection is over."""
        self._listener.forget(self)

    def end(self) -> None:
        """Break the connection in any state."""
        self.left()
        if self.talk is not None:
            self.talk.end()
        elif self.welcome is not None:
            self.welcome.cancel()


class Listener:
    """Takes connections of one bound socket and hands each to a protocol that `make` makes."""

    def __init__(
        self,
        door: socket.socket,
        make: Callable[[Guest], asyncio.Protocol],
        *,
        limits: DoorLimits,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.limits = limits
        self._door = door
        self._make = make
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._guests: dict[Guest, None] = {}
        self._waiting: dict[Guest, None] = {}
        self._crowded_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Take connections from now on."""
        self._door.setblocking(False)
        self._loop.add_reader(self._door.fileno(), self._accept)
        self._timer = self._loop.call_later(TICK, self._tick)

    def close(self) -> None:
        """Take no more connections; those that were taken go on. May be called again."""
        for timer in (self._timer, self._paused):
            if timer is not None:
                timer.cancel()
        if self._door.fileno() >= 0:
            self._loop.remove_reader(self._door.fileno())
            self._door.close()
        for guest in [one for one in self._guests if one.talk is None]:
            guest.end()

    def waits(self, guest: Guest, limit: float, *, for_us: bool = False) -> None:
        """Note that a connection waits from now on, for at most `limit` seconds."""
        guest.since, guest.limit = self._loop.time(), limit
        self._waiting.pop(guest, None)
        if not for_us and guest in self._guests:
            self._waiting[guest] = None

    def forget(self, guest: Guest) -> None:
        """Note that a connection is over."""
        self._guests.pop(guest, None)
        self._waiting.pop(guest, None)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            if len(self._guests) >= self.limits.most and not self._make_room(PATIENCE):
                self._pause(f"{self.limits.most} connections")
                return
            try:
                connection, _address = self._door.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._pause(error.strerror or "no files left")
                    while self._make_room(PATIENCE):
                        pass
                    return
                continue  # the caller has gone already
            connection.setblocking(False)
            self._take(connection)

    def _take(self, connection: socket.socket) -> None:
        guest = Guest(self)
        self._guests[guest] = None
        guest.silent()
        guest.welcome = self._loop.create_task(self._welcome(guest, connection))
        guest.welcome.add_done_callback(lambda _ended: None if guest.talk else connection.close())

    async def _welcome(self, guest: Guest, connection: socket.socket) -> None:
        """Make the protocol; with TLS do the handshake, which may fail in many ways."""
        handshake = self.limits.silence if self._tls else None
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._make(guest), connection, ssl=self._tls, ssl_handshake_timeout=handshake
            )
        except OSError:
            guest.left()

    def _make_room(self, patience: float) -> bool:
        """End the connection that we have waited for longest, if that is at least `patience` seconds."""
        oldest = next(iter(self._waiting), None)
        if oldest is None or self._loop.time() - oldest.since < patience:
            return False
        self._tell(f"{len(self._guests)} connections")
        oldest.end()
        return True

    def _pause(self, trouble: str) -> None:
        """Stop accepting for a moment: a socket with waiting callers would keep the event loop busy."""
        self._tell(trouble)
        self._loop.remove_reader(self._door.fileno())
        self._paused = self._loop.call_later(PAUSE, self._go_on)

    def _go_on(self) -> None:
        self._loop.add_reader(self._door.fileno(), self._accept)
        self._accept()

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK, self._tick)
        now = self._loop.time()
        for guest in [one for one in self._guests if now - one.since > one.limit]:
            guest.end()
        if self._crowded_at is not None and now - self._crowded_at > self.limits.silence:
            log.info("door_has_room", connections=len(self._guests))
            self._crowded_at = None

    def _tell(self, trouble: str) -> None:
        if self._crowded_at is None:
            log.warning("door_crowded", reason=trouble, silent=len(self._waiting))
        self._crowded_at = self._loop.time()
