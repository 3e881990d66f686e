"""What each fault does to one exchange. When it strikes is decided in faults."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kuma_sync.sim.errors import SimError
from kuma_sync.sim.values import Json

PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr>balancer</body></html>"


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
    """Answer with a balancer's page, with 200 by default, in any encoding; with "" as its type it is sent without."""
    await exchange.swallow_request()
    headers = {"Content-Type": content_type} if content_type else {}
    response = Response(PAGE.format("502 Bad Gateway").encode(encoding), status_code=code, headers=headers)
    await response(exchange.scope, exchange.receive, exchange.send)


async def redirect(exchange: Exchange, *, code: int, location: str, effect: bool) -> None:
    """Lead elsewhere, as a login in front does; with `effect` after the request was carried out, as a form is ended."""
    if effect:
        await exchange.app(exchange.scope, exchange.receive, _nowhere)
    else:
        await exchange.swallow_request()
    response = Response(status_code=code, headers={"Location": location})
    await response(exchange.scope, exchange.receive, exchange.send)


async def unauthorized(exchange: Exchange, *, code: int) -> None:
    """Refuse the token, whatever it is."""
    await answer_status(exchange, code=code, headers={}, body={"message": "access denied", "details": ""})


async def reset_before(exchange: Exchange) -> None:
    """Take the whole request, have no effect, reset the connection."""
    await exchange.swallow_request()
    await exchange.reset()


async def reset_after(exchange: Exchange) -> None:
    """Have the effect, throw the answer away, reset the connection."""
    await exchange.app(exchange.scope, exchange.receive, _nowhere)
    await exchange.reset()


async def cut(exchange: Exchange, *, after: int) -> None:
    """Close the connection inside the body: after so many bytes, or at half of a body no longer than that."""
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
