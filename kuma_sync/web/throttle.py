"""Wrong tokens, counted by who tries: after too many of them nobody may try for a while."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv6Address, ip_address

from starlette.requests import HTTPConnection

_OF_ONE = 64
"""Bits of an IPv6 address that name a network, in which a single machine may take any address."""


@dataclass(slots=True)
class _Tries:
    at: deque[float] = field(default_factory=deque)
    told: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """How many seconds to wait before the next try; `first` of this key since it last could try."""

    seconds: float
    first: bool


class Throttle:
    """Counts tries by key: `most` of each `within` a time; `remembered` keys, the oldest are forgotten.

    It must be told of a try before a judgement that takes time: many may come at once. `monotonic` counts seconds.
    """

    def __init__(self, *, most: int, within: timedelta, remembered: int, monotonic: Callable[[], float]) -> None:
        self._most = most
        self._within = within.total_seconds()
        self._remembered = remembered
        self._now = monotonic
        self._tries: OrderedDict[Hashable, _Tries] = OrderedDict()

    def tried(self, key: Hashable) -> Wait | None:
        """Count a try; return the wait that is due instead, None where it may be judged."""
        now = self._now()
        tries = self._tries.setdefault(key, _Tries())
        self._tries.move_to_end(key)
        while len(self._tries) > self._remembered:
            self._tries.popitem(last=False)
        while tries.at and now - tries.at[0] >= self._within:
            tries.at.popleft()
        if len(tries.at) >= self._most:
            first, tries.told = not tries.told, True
            return Wait(seconds=self._within - (now - tries.at[0]), first=first)
        tries.at.append(now)
        tries.told = False
        return None


def peer_of(request: HTTPConnection) -> str:
    """Return the address of the direct peer, an IPv4 one in its own form."""
    try:
        address = ip_address(request.client.host if request.client else "")
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def network_of(peer: str) -> str:
    """Return what stands for a caller: its address, or its network where it may have any address of that."""
    address = ip_address(peer) if peer else None
    return str(int(address) >> (128 - _OF_ONE)) if isinstance(address, IPv6Address) else peer
