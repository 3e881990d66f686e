"""The words by which an alert is found again: its name, and the hosts, addresses and users that it is about.

Contents are forgotten once they are delivered; these few words stay, without case.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kuma_sync.core.alert import Alert, Contents, JsonObject
from kuma_sync.core.text import fit

LONGEST = 1000
"""Bytes of an alert's words. PostgreSQL takes no row into an index that is longer than 2,704 bytes."""

LONGEST_WORD = 200
"""Characters of a name, host or user that can be searched for."""

MOST_EVENTS = 100
"""Events that are looked through, BaseEvents among them, the newest first."""

_ASSET = ("name", "fqdn", "ipAddresses")
_ACCOUNT = ("sAMAccountName", "upn", "displayName")
_EVENT = (
    "SourceHostName",
    "DestinationHostName",
    "DeviceHostName",
    "SourceUserName",
    "DestinationUserName",
    "SourceAddress",
    "DestinationAddress",
    "DeviceAddress",
)
"""Fields of KUMA's assets, accounts and normalised events (KUMA help 217941) that people search for."""


def words_of(alert: Alert, contents: Contents | None) -> str:
    """Return an alert's words, one a line, each once: the name, then its assets, its accounts, its newest events."""
    found = dict.fromkeys([_plain(alert.name)])
    if contents is not None:
        found |= dict.fromkeys(_plain(text) for text in _texts(contents))
    taken, room = list[str](), LONGEST
    for word in found:
        room -= len(word.encode()) + 1
        if room < 0:
            break
        taken.append(word)
    return "\n".join(taken)


def searched(text: str) -> str:
    """Return what is looked for in such words where a human typed this."""
    return _plain(text)


def _plain(text: str) -> str:
    return " ".join(fit(text).casefold().split())[:LONGEST_WORD]


def _texts(contents: Contents) -> Iterator[str]:
    for item, fields in (
        *((asset, _ASSET) for asset in contents.assets),
        *((account, _ACCOUNT) for account in contents.accounts),
        *((event, _EVENT) for event in _events(contents.events)),
    ):
        for field in fields:
            value = item.get(field)
            if isinstance(value, str):
                if value:
                    yield value
            elif isinstance(value, list):
                yield from (text for text in value if isinstance(text, str) and text)


def _events(events: tuple[JsonObject, ...]) -> Iterable[JsonObject]:
    """Return the newest events, each with what it was made of."""
    found: list[JsonObject] = []
    for event in reversed(events[-MOST_EVENTS:]):
        found.append(event)
        inner = event.get("BaseEvents")
        if isinstance(inner, list):
            found += [one for one in inner[: MOST_EVENTS - len(found)] if isinstance(one, dict)]
        if len(found) >= MOST_EVENTS:
            break
    return found[:MOST_EVENTS]
