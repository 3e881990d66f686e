"""Faults that can be switched on while the servers run: which request meets one, and what it does to the answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kuma_sync.sim.content import dice
from kuma_sync.sim.values import Json, SimError

PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr>balancer</body></html>"
ARGUMENTS: dict[str, dict[str, Any]] = {
    "delay": {"seconds": 1.0},
    "status": {"code": 503, "headers": {}, "body": None},
    "html": {"code": 200, "content_type": "text/html; charset=utf-8", "encoding": "utf-8"},
    "redirect": {"code": 302, "location": "https://login.example.test/?next=/", "effect": False},
    "reset_before": {},
    "reset_after": {},
    "cut": {"after": 4096},
    "drip": {"seconds": 0.05, "piece": 64},
    "hang": {},
    "unauthorized": {"code": 401},
}
"""Every kind with its arguments and their defaults."""

LARGEST = 10**9
"""No count, size or time is larger."""

_CONDITIONS = ("match", "method", "times", "every", "probability")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Hold one request on its way to the application: ASGI's four values."""

    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send

    @property
    def transport(self) -> asyncio.Transport:
        """Give the connection's transport, which only SimServer provides."""
        found = self.scope.get("state", {}).get("sim.transport")
        if not isinstance(found, asyncio.Transport):
            raise SimError("this fault breaks connections: serve the simulator with SimServer")
        return found

    async def swallow_request(self) -> None:
        """Read the request to its end, so that the client is past sending when the fault strikes."""
        while (message := await self.receive())["type"] == "http.request" and message.get("more_body"):
            pass

    async def gone(self) -> None:
        """Wait until the connection is lost: uvicorn complains about answers that were never finished before that."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def reset(self) -> None:
        """Break the connection with a RST: with no time to linger, closing throws away what was not sent."""
        handle = self.transport.get_extra_info("socket")
        # The client may have left already, and its socket with it.
        with contextlib.suppress(OSError):
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
        await self.gone()


async def _nowhere(_message: Message) -> None:
    return


async def answer_status(exchange: Exchange, *, code: int, headers: dict[str, str], body: Json | str | None) -> None:
    """Answer with a status before any effect; the body is text, or JSON, by default an error in KUMA's shape."""
    await exchange.swallow_request()
    if isinstance(body, str):
        response = Response(body, status_code=code, headers=headers, media_type="text/plain")
    else:
        text = json.dumps({"message": "simulated fault", "details": ""} if body is None else body)
        response = Response(text, status_code=code, headers=headers, media_type="application/json")
    await response(exchange.scope, exchange.receive, exchange.send)


async def answer_html(exchange: Exchange, *, code: int, content_type: str, encoding: str) -> None:
    """Answer with a load balancer's page, by default with 200; an empty `content_type` leaves the header out."""
    await exchange.swallow_request()
    headers = {"Content-Type": content_type} if content_type else {}
    response = Response(PAGE.format("502 Bad Gateway").encode(encoding), status_code=code, headers=headers)
    await response(exchange.scope, exchange.receive, exchange.send)


async def redirect(exchange: Exchange, *, code: int, location: str, effect: bool) -> None:
    """Redirect, as a login page in front does; with `effect` carry the request out first."""
    if effect:
        await exchange.app(exchange.scope, exchange.receive, _nowhere)
    else:
        await exchange.swallow_request()
    response = Response(status_code=code, headers={"Location": location})
    await response(exchange.scope, exchange.receive, exchange.send)


async def unauthorized(exchange: Exchange, *, code: int) -> None:
    """Refuse any token."""
    await answer_status(exchange, code=code, headers={}, body={"message": "access denied", "details": ""})


async def reset_before(exchange: Exchange) -> None:
    """Read the whole request, do nothing, reset the connection."""
    await exchange.swallow_request()
    await exchange.reset()


async def reset_after(exchange: Exchange) -> None:
    """Carry the request out, throw the answer away, reset the connection."""
    await exchange.app(exchange.scope, exchange.receive, _nowhere)
    await exchange.reset()


async def cut(exchange: Exchange, *, after: int) -> None:
    """Close the connection inside the body: after so many bytes, or in the middle of a shorter body."""
    held: list[bytes] = []
    done = False

    async def send(message: Message) -> None:
        nonlocal done
        if done:
            return
        if message["type"] == "http.response.start":
            await exchange.send(message)
            return
        held.append(message.get("body", b""))
        size = sum(map(len, held))
        if size <= after and message.get("more_body"):
            return
        done = True
        part = b"".join(held)[: after if size > after else size // 2]
        await exchange.send({"type": "http.response.body", "body": part, "more_body": True})
        exchange.transport.close()

    await exchange.app(exchange.scope, exchange.receive, send)
    await exchange.gone()


async def drip(exchange: Exchange, *, seconds: float, piece: int) -> None:
    """Send the body in pieces of so many bytes, so many seconds apart."""

    async def send(message: Message) -> None:
        body = message.get("body", b"")
        last = (len(body) - 1) // piece * piece if body else 0
        for start in range(0, last, piece):
            if exchange.transport.is_closing():
                return
            await exchange.send({"type": "http.response.body", "body": body[start : start + piece], "more_body": True})
            await asyncio.sleep(seconds)
        await exchange.send({**message, "body": body[last:]} if body else message)

    await exchange.app(exchange.scope, exchange.receive, send)


EFFECTS: dict[str, Callable[..., Awaitable[Any]]] = {
    "status": answer_status,
    "html": answer_html,
    "redirect": redirect,
    "unauthorized": unauthorized,
    "reset_before": reset_before,
    "reset_after": reset_after,
    "cut": cut,
    "drip": drip,
}


@dataclass(slots=True, kw_only=True, eq=False)
class Rule:
    """Say when one kind of fault strikes. `match` is a part of `path?query`; with a `$` at its end, the end of it."""

    kind: str
    match: str = ""
    method: str = ""
    times: int | None = None
    every: int | None = None
    probability: float | None = None
    args: dict[str, Any] = field(default_factory=dict)
    seen: int = 0
    fired: int = 0
    waiting: set[asyncio.Event] = field(default_factory=set)

    def strikes(self, method: str, target: str, random: Random) -> bool:
        """Count a request this rule is about, and tell whether the fault strikes it."""
        if self.method and self.method.upper() != method:
            return False
        if not (target.endswith(self.match[:-1]) if self.match.endswith("$") else self.match in target):
            return False
        if self.times is not None and self.fired >= self.times:
            return False
        self.seen += 1
        if self.every is not None and self.seen % self.every:
            return False
        if self.probability is not None and random.random() >= self.probability:
            return False
        self.fired += 1
        return True

    async def pause(self, receive: Receive) -> Receive | None:
        """Wait so many seconds, or (hang) until cleared. None when the client left, else a receive that replays."""
        over, came, left = asyncio.Event(), list[Message](), False

        async def watch() -> None:
            nonlocal left
            while (message := await receive())["type"] != "http.disconnect":
                came.append(message)
            left = True
            over.set()

        async def replay() -> Message:
            return came.pop(0) if came else await receive()

        self.waiting.add(over)
        try:
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(watch())
                await _within(self.args.get("seconds"), over)
                watcher.cancel()
        finally:
            self.waiting.discard(over)
        return None if left else replay


class Faults:
    """Keep the rules of one server, and put them between it and its clients."""

    def __init__(self, *, seed: int = 0) -> None:
        self.rules: list[Rule] = []
        self.fired: Counter[str] = Counter()
        self._random = dice(seed)

    def add(self, kind: str, **conditions: Any) -> Rule:
        """Switch a fault on: `match method times every probability` as in Rule, and the kind's own arguments.

        SimError where one of them is unknown, or has a value that no request could be served with.
        """
        if kind not in ARGUMENTS:
            raise SimError(f"unknown fault {kind!r}: one of {', '.join(ARGUMENTS)}")
        when = {name: value for name in _CONDITIONS if (value := conditions.pop(name, None)) is not None}
        if unknown := set(conditions) - set(ARGUMENTS[kind]):
            raise SimError(f"fault {kind!r} has no argument {sorted(unknown)[0]!r}")
        for name, value in (when | conditions).items():
            fits, expected = _VALUES[name]
            if not fits(value):
                raise SimError(f"fault {kind!r} cannot have {name}={value!r}: expected {expected}")
        rule = Rule(kind=kind, **when, args={**ARGUMENTS[kind], **conditions})
        self.rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        """Switch one fault off; requests it holds go on."""
        self.rules = [other for other in self.rules if other is not rule]
        for event in rule.waiting:
            event.set()

    def clear(self) -> None:
        """Switch all faults off; requests they hold go on. `fired` keeps counting."""
        for rule in list(self.rules):
            self.remove(rule)

    async def around(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request with its faults: all pauses in order, then at most one other fault."""
        for rule in self._striking(scope):
            if rule.kind in ("delay", "hang"):
                resumed = await rule.pause(receive)
                if resumed is None:
                    return
                receive = resumed
            else:
                await EFFECTS[rule.kind](Exchange(app=app, scope=scope, receive=receive, send=send), **rule.args)
                return
        await app(scope, receive, send)

    def _striking(self, scope: Scope) -> Iterator[Rule]:
        query = scope["query_string"].decode("latin-1")
        target = f"{scope['path']}?{query}" if query else scope["path"]
        for rule in list(self.rules):
            if rule.strikes(scope["method"], target, self._random):
                self.fired[rule.kind] += 1
                yield rule


def _number(kinds: tuple[type, ...], low: float, high: float = LARGEST) -> Callable[[Any], bool]:
    return lambda value: type(value) in kinds and low <= value <= high


def _text(value: object) -> bool:
    return isinstance(value, str)


def _encoding(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(PAGE.encode(value))
    except (LookupError, ValueError):
        return False


_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "match": (_text, "text"),
    "method": (_text, "text"),
    "times": (_number((int,), 0), "a whole number, 0 or more"),
    "every": (_number((int,), 1), "a whole number, 1 or more"),
    "probability": (_number((int, float), 0, 1), "a number from 0 to 1"),
    "seconds": (_number((int, float), 0), "a number of seconds, 0 or more"),
    "code": (_number((int,), 200, 599), "a status from 200 to 599"),
    "location": (_text, "text"),
    "effect": (lambda value: isinstance(value, bool), "true or false"),
    "headers": (lambda value: isinstance(value, dict) and all(map(_text, value.values())), "an object of texts"),
    "body": (lambda _: True, "anything"),
    "content_type": (_text, "text"),
    "encoding": (_encoding, "the name of an encoding"),
    "after": (_number((int,), 0), "a whole number, 0 or more"),
    "piece": (_number((int,), 1), "a whole number, 1 or more"),
}
"""For each condition and argument: a check of its value, and the words for what is expected."""


async def _within(seconds: float | None, event: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
