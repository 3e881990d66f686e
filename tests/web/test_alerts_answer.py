"""When an answer with alerts counts as delivered: only once the peer has taken all of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from starlette.types import Message

from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.web.api.alerts import WholeAnswer
from kuma_sync.web.responses import CONNECTION

WHOLE = [b"[1", b",2", b"]"]


@dataclass(kw_only=True)
class Given:
    """An answer of three pieces, or of fewer and an error."""

    pieces_made: list[bytes] = field(default_factory=lambda: list(WHOLE))
    fails: bool = False
    delivered: bool = False
    length: int = 5

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in self.pieces_made:
            yield piece
        if self.fails:
            raise StoreUnavailable("away")

    async def end(self, finish: Callable[[], Awaitable[bool]]) -> None:
        self.delivered = await finish()


@dataclass(kw_only=True)
class Peer:
    """A connection: after `leaves_after` pieces it is over; `takes` says what `taken` answers, time after time."""

    leaves_after: int = 99
    takes: list[bool] = field(default_factory=lambda: [True, True])
    closes: bool = False
    got: list[bytes] = field(default_factory=list)
    ended: bool = False

    @property
    def over(self) -> bool:
        return len(self.got) >= self.leaves_after

    @property
    def unsure(self) -> bool:
        return not self.closes

    def moves(self) -> None:
        pass

    async def taken(self, *, within: float | None = None) -> bool:
        return self.takes.pop(0)

    def end(self) -> None:
        self.ended = True

    async def send(self, message: Message) -> None:
        if message.get("body"):
            self.got.append(message["body"])


async def answered(given: Given, peer: Peer) -> None:
    scope = {"type": "http", "method": "GET", "state": {CONNECTION: peer}}

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    await WholeAnswer(given)(scope, receive, peer.send)


@pytest.mark.parametrize(
    ("peer", "delivered", "got"),
    [
        (Peer(), True, WHOLE),
        (Peer(takes=[False]), False, WHOLE[:2]),
        (Peer(takes=[True, False]), False, WHOLE),
        (Peer(takes=[True, False], closes=True), True, WHOLE),
        (Peer(leaves_after=1), False, WHOLE[:1]),
    ],
    ids=["taken", "last byte kept back", "last byte not taken", "closed after the last byte", "gone in the middle"],
)
async def test_answer_counts_once_the_peer_has_taken_its_last_byte(
    peer: Peer, delivered: bool, got: list[bytes]
) -> None:
    given = Given()

    await answered(given, peer)

    assert (given.delivered, peer.got, peer.ended) == (delivered, got, got != WHOLE)


async def test_answer_that_the_store_cannot_finish_is_broken_off() -> None:
    given, peer = Given(pieces_made=WHOLE[:2], fails=True), Peer()

    await answered(given, peer)

    assert (given.delivered, peer.got, peer.ended) == (False, WHOLE[:1], True)
