"""What analysts look for in an alert, gathered from its events, assets and accounts: one value an entry, each once.

A value is cleaned, not judged: what one text holds together is split, an address has one notation, what says "no value"
is left out. Field names are those of KUMA's normalised event (KUMA help 217941).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from kuma_sync.core.alert import Contents, JsonObject

DEEPEST = 8
"""How deep BaseEvents are followed; KUMA nests them once or twice."""

Observables = dict[str, list[str]]

KINDS = ("hosts", "ips", "users", "hashes", "urls", "domains", "files")
MARKS = ("public_ips", "private_ips", "loopback_ips", "empty_ips", "imphashes")
"""What is marked stands in its kind, too: every address in `ips` and in one of these, import hashes in `hashes`."""

KEYS = KINDS + MARKS

_FIELDS = {
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
    "SourceDnsDomain": "domains",
    "DestinationDnsDomain": "domains",
    "DeviceDnsDomain": "domains",
    "SourceNtDomain": "domains",
    "DestinationNtDomain": "domains",
    "DeviceNtDomain": "domains",
    "FileName": "files",
    "FilePath": "files",
    "OldFileName": "files",
    "OldFilePath": "files",
    "SourceProcessName": "processes",
    "DestinationProcessName": "processes",
    "DeviceProcessName": "processes",
}

_NO_VALUE = re.compile(
    r"""(?!\[?::\]?$)                               # the empty IPv6 address is marked, not left out
    (?: [\W_]*                                      # "-", "-\-", "?"
    | [(<\[]?(?:n/a|none|null|unknown|undefined|not\ (?:available|applicable|set)|value\ not\ set)[)>\]]?
    | %%1793                                        # Windows: <value not set>
    | S-1-0-0                                       # Windows: nobody
    | \{?0{8}(?:-0{4}){3}-0{12}\}?                  # the empty GUID
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_NO_DOMAIN = frozenset(
    {"workgroup", "nt authority", "nt service", "nt virtual machine", "builtin", "window manager", "font driver host"}
    | {"iis apppool"}
)
"""Names that Windows writes for a domain where there is none."""

LONGEST_ADDRESS = 128
"""Characters of an IPv6 address with zone and port, and some to spare."""

LONGEST_LIST = 2048
"""Characters of a text that may hold several hashes or addresses; a longer one would hold up all else, for nothing."""

SHORT = 256
"""Characters of a text whose values are remembered: hosts, users and addresses come in one alert after the other."""

_HOST = re.compile(r"(?=.*[^\W\d_])\w(?:[\w-]*\w)?(?:\.\w(?:[\w-]*\w)?)*")
_WITH_PORT = re.compile(r"\[([^\]]+)\](?::\d{1,5})?|(\d+(?:\.\d+){3}):\d{1,5}")
_BETWEEN = re.compile(r"[\s,;|]+")
_NAMED_HASH = re.compile(r"([a-z][\w-]*)\s*[=:]\s*(?=[0-9a-f]{8,}$|-$)|(?:ssdeep|tlsh)\s*[=:]\s*", re.IGNORECASE)
_AROUND_SIGN = re.compile(r"(?<!\s)\s*([=:])\s*")
_HASH = re.compile(r"[0-9a-fA-F]+|\S{16,}")  # in hexadecimal, or base64 and fuzzy ones, which are no short words
_HEX = re.compile(r"[0-9a-fA-F]+")
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\")
# Spelt out, because is_private changed between patch releases of Python, and holds addresses kept for documentation.
_INSIDE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")))

Found = Iterator[tuple[str, str]]
"""Values that a text holds, each with its kind."""


def observables(contents: Contents | None) -> Observables:
    """Gather every value once, in the order first seen: events with their BaseEvents, then assets, then accounts.

    Every one of `KEYS` is there. Of spellings that mean the same (a host's in capitals) the first one stays.
    """
    gathered = _Gathered()
    for kind, value in _all(contents) if contents else ():
        gathered.take(kind, value)
    return gathered.as_lists()


class _Gathered:
    """Keeps what was found; a text that came before is not read again."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, str]] = {kind: {} for kind in KEYS}
        self._read: set[tuple[str, str]] = set()

    def take(self, kind: str, value: object) -> None:
        """Take a value of KUMA's, which may be anything."""
        for text in [value] if isinstance(value, str) else _texts(value):
            if (kind, text) in self._read:
                continue
            self._read.add((kind, text))
            for found, identity, shown in (_remembered if len(text) <= SHORT else _held)(kind, text):
                self._values[found].setdefault(identity, shown)

    def as_lists(self) -> Observables:
        """Return what was found."""
        return {kind: list(values.values()) for kind, values in self._values.items()}


def _held(kind: str, text: str) -> tuple[tuple[str, str, str], ...]:
    """Return what a text holds: the kind of each value, what tells it from others, and the value."""
    if not _says_something(text):
        return ()
    return tuple((found, _identity(found, shown), shown) for found, shown in _READERS[kind](text.strip()))


_remembered = lru_cache(maxsize=2048)(_held)


def _all(contents: Contents) -> Iterator[tuple[str, object]]:
    for event in contents.events:
        yield from _event(event, DEEPEST)
    for asset in contents.assets:
        # A name without domain is worth showing only where there is no full one.
        yield "hosts", _first(asset.get("fqdn"), asset.get("name"))
        yield "ips", asset.get("ipAddresses")
    for account in contents.accounts:
        yield "users", _first(account.get("sAMAccountName"), account.get("upn"), account.get("displayName"))


def _event(event: JsonObject, levels: int) -> Iterator[tuple[str, object]]:
    for key, value in event.items():
        kind = _FIELDS.get(key)
        if kind:
            yield kind, value
    inner = event.get("BaseEvents")
    if levels and isinstance(inner, list):
        for one in inner:
            if isinstance(one, Mapping):
                yield from _event(one, levels - 1)


def _first(*values: object) -> object:
    """Return the first one that says something."""
    return next((value for value in values if any(map(_says_something, _texts(value)))), None)


def _texts(value: object) -> list[str]:
    """Return the texts in a value: `fqdn` is one text in v1 and a list of them from v2.2 on."""
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


def _says_something(text: str) -> bool:
    return _NO_VALUE.fullmatch(text.strip()) is None


def _host(text: str) -> Found:
    name = text.strip("\\").rstrip(".")
    yield from _address(name) or [("hosts", name)]


def _addresses(text: str) -> Found:
    if len(text) > LONGEST_LIST:
        return
    found = [pair for piece in _BETWEEN.split(text) for pair in _address(piece)]
    if not found and _HOST.fullmatch(text) and text.casefold() != "local":  # what Windows writes of a console
        yield from _host(text)
    yield from found


def _user(text: str) -> Found:
    yield "users", text


def _hashes(text: str) -> Found:
    if len(text) > LONGEST_LIST:
        return
    for piece in [text] if _HEX.fullmatch(text) else _BETWEEN.split(_AROUND_SIGN.sub(r"\1", text)):
        named = _NAMED_HASH.match(piece)
        value = piece[named.end() :] if named else piece
        # Sysmon: what imports nothing has an import hash of zeros.
        if _HASH.fullmatch(value) and value.strip("0"):
            yield "hashes", value
            if named and (named[1] or "").casefold() == "imphash":
                yield "imphashes", value


def _url(text: str) -> Found:
    yield "urls", text
    try:
        host = (urlsplit(text).hostname or "").rstrip(".")
    except ValueError:
        return
    if "." in host or ":" in host:  # a name without a dot is none that the DNS knows
        yield from _domain(host)


def _domain(text: str) -> Found:
    name = text.strip(".")
    if name.casefold() not in _NO_DOMAIN:
        yield from _address(name) or [("domains", name)]


def _file(text: str) -> Found:
    yield "files", text


def _process(text: str) -> Found:
    if re.search(r"[\\/.]", text):  # else it is a name that no file bears: Windows' "System", a Linux daemon's title
        yield "files", text


_READERS: Mapping[str, Callable[[str], Found]] = {
    "hosts": _host,
    "ips": _addresses,
    "users": _user,
    "hashes": _hashes,
    "urls": _url,
    "domains": _domain,
    "files": _file,
    "processes": _process,
}


def _address(text: str) -> Iterable[tuple[str, str]]:
    """Return an address in its one notation, without port and zone, and its mark; nothing where the text is none."""
    if len(text) > LONGEST_ADDRESS:
        return ()
    ported = _WITH_PORT.fullmatch(text)
    bare = (ported[1] or ported[2]) if ported else text
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return ()
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return ("ips", str(address)), (_mark(address), str(address))


def _mark(address: IPv4Address | IPv6Address) -> str:
    if address.is_unspecified:
        return "empty_ips"
    if address.is_loopback:
        return "loopback_ips"
    nobodys = address.is_link_local or address.is_multicast or address.is_reserved
    return "private_ips" if nobodys or any(address in network for network in _INSIDE) else "public_ips"


def _identity(kind: str, value: str) -> str:
    """Return what two spellings of one value have in common."""
    match kind:
        case "hosts" | "domains":
            return value.casefold()
        case "hashes" | "imphashes" if _HEX.fullmatch(value):
            return value.casefold()
        case "files" if _WINDOWS_PATH.match(value):
            return value.casefold()
        case _:
            return value
