"""A request's body, read with a cap on its size and on its time, announced or not.

Must not: understand it.
"""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

LARGEST_BODY = 64 * 1024
_DRAINED = 1024 * 1024
_SECONDS = 30.0


async def read_body(request: Request) -> bytes | None:
    """Read a body of at most 64 KB; None where it is larger. What did not arrive within 30 seconds is missing.

    What is too large is drained up to 1 MB, so that its sender hears the answer; when we stop listening before its end,
    `hangs_up` is true afterwards.
    """
    body, size = bytearray(), 0
    request.state.hangs_up = True
    try:
        async with asyncio.timeout(_SECONDS):
            async for piece in request.stream():
                size += len(piece)
                if size <= LARGEST_BODY:
                    body += piece
                elif size > _DRAINED:
                    return None
    except (TimeoutError, ClientDisconnect):
        return bytes(body)
    request.state.hangs_up = False
    return bytes(body) if size <= LARGEST_BODY else None


def hangs_up(request: Request) -> bool:
    """Tell whether the connection must be closed; else the rest of the body would be read and thrown away for ever."""
    return bool(getattr(request.state, "hangs_up", False))
