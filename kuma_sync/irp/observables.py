"""What analysts look for, gathered from an alert's events, assets and accounts: hosts, addresses, users, hashes, URLs.

Must not: judge or enrich. Names are those of KUMA's normalised event (KUMA help 217941).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kuma_sync.core.alert import Contents, JsonObject

DEEPEST = 8
"""How deep BaseEvents are followed; KUMA nests them once or twice."""

Observables = dict[str, list[str]]

KINDS = ("hosts", "ips", "users", "hashes", "urls")

_EVENT_KEYS = {
    "SourceHostName": "hosts",
    "DestinationHostName": "hosts",
    "DeviceHostName": "hosts",
    "SourceAddress": "ips",
    "SourceTranslatedAddress": "ips",
    "DestinationAddress": "ips",
    "DestinationTranslatedAddress": "ips",
    "DeviceAddress": "ips",
    "DeviceTranslatedAddress": "ips",
    "DeviceCustomIPv6Address1": "ips",
    "DeviceCustomIPv6Address2": "ips",
    "DeviceCustomIPv6Address3": "ips",
    "DeviceCustomIPv6Address4": "ips",
    "SourceUserName": "users",
    "DestinationUserName": "users",
    "FileHash": "hashes",
    "OldFileHash": "hashes",
    "RequestUrl": "urls",
}


def observables(contents: Contents | None) -> Observables:
    """Gather every value once, in the order first seen: events with their BaseEvents, then assets, then accounts."""
    found: dict[str, dict[str, None]] = {kind: {} for kind in KINDS}
    for kind, value in _all(contents) if contents else ():
        for text in _texts(value):
            found[kind].setdefault(text)
    return {kind: list(values) for kind, values in found.items()}


def _all(contents: Contents) -> Iterator[tuple[str, object]]:
    for event in contents.events:
        yield from _event(event, DEEPEST)
    for asset in contents.assets:
        # A name without domain is worth showing only where there is no full one.
        yield "hosts", asset.get("fqdn") or asset.get("name")
        yield "ips", asset.get("ipAddresses")
    for account in contents.accounts:
        yield "users", account.get("sAMAccountName") or account.get("upn") or account.get("displayName")


def _event(event: JsonObject, levels: int) -> Iterator[tuple[str, object]]:
    for key, value in event.items():
        kind = _EVENT_KEYS.get(key)
        if kind:
            yield kind, value
    inner = event.get("BaseEvents")
    if levels and isinstance(inner, list):
        for one in inner:
            if isinstance(one, Mapping):
                yield from _event(one, levels - 1)


def _texts(value: object) -> list[str]:
    """Return the texts in a value: `fqdn` is one text in v1 and a list of them from v2.2 on."""
    values = value if isinstance(value, list) else [value]
    return [text.strip() for text in values if isinstance(text, str) and text.strip()]
