"""Addresses as operators write them: KUMA's and the IRP's, proxies, the HTTP door's, the store's.

Errors are ValueErrors.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit, urlunsplit

from kuma_sync.settings.secret import MASK

KUMA_PORT = 7223
"""KUMA's REST API listens there (KUMA help 217973)."""

_SQLITE = "sqlite:///"
_WEB_PORTS = {"http": 80, "https": 443}
_LATE_AT = re.compile(r"postgresql://[^/?#]*[/?#].*@")
_SPACE_OR_CONTROL = re.compile(r"[\s\x00-\x1f\x7f]")


def kuma_address(value: Any) -> str:
    """Read KUMA's base address; https and port 7223 are the defaults."""
    return _web_address(value, default_port=KUMA_PORT)


def web_address(value: Any) -> str:
    """Read a base address; https is the default, a path prefix is kept without its last slash."""
    return _web_address(value, default_port=None)


def optional_web_address(value: Any) -> str:
    """Read a base address that may be left empty."""
    return "" if value == "" else web_address(value)


def check_proxy(text: str) -> None:
    """Raise ValueError if it is no proxy address; a user and a password are allowed in it."""
    parts = _split(text)
    if parts.scheme not in _WEB_PORTS or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError('expected a proxy address such as "http://proxy.example.com:3128"')


def check_receiver(text: str) -> None:
    """Raise ValueError if it is no whole address of a receiver of notifications, path and parameters included."""
    parts = _split(text)
    if "://" not in text or parts.scheme not in _WEB_PORTS or parts.fragment:
        raise ValueError('expected a whole address such as "https://alarms.example.com/hook?key=..."')
    if "@" in parts.netloc or not text.isascii():
        raise ValueError("must not hold a user, a password, or characters that are no ASCII (percent-encode those)")


def mask_proxy(text: str) -> str:
    """Return a proxy's address without its user and password."""
    parts = _split(text)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{MASK + '@' if '@' in parts.netloc else ''}{host}"


def proxy_password(text: str) -> str:
    """Return the password inside a proxy's address, `""` where there is none."""
    return _split(text).password or ""


def listen_address(value: Any) -> str:
    """Read `"host:port"`; `""` means no door."""
    if value == "":
        return ""
    host, port = host_and_port(value)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_and_port(value: Any) -> tuple[str, int]:
    """Split `"host:port"`, an IPv6 host in brackets; port 0 lets the system choose."""
    host, colon, port = value.strip().rpartition(":") if isinstance(value, str) else ("", "", "")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    sound = bare and not _SPACE_OR_CONTROL.search(bare) and "/" not in bare and (bare != host or ":" not in host)
    if not colon or not sound or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError('expected "host:port" such as "127.0.0.1:8484", or "" for no HTTP door')
    return bare, int(port)


def store_address(value: Any) -> str:
    """Read `sqlite:///path` (relative, or absolute with four slashes) or `postgresql://user@host/db`."""
    text = value.strip() if isinstance(value, str) else ""
    if text.startswith(_SQLITE):
        path = sqlite_path(text)
        if not path or path.startswith((":", "file:")) or path.endswith("/") or "?" in path or "\x00" in path:
            raise ValueError("expected the path of a file after sqlite:/// (a store in memory would forget everything)")
        return text
    if text.startswith("postgresql://"):
        _check_postgresql(text)
        return text
    raise ValueError('expected "sqlite:///path/of/file.db" or "postgresql://user@host/database"')


def sqlite_path(url: str) -> str:
    """Return the path in a SQLite store's address, relative or absolute; `""` for another store's."""
    return url.removeprefix(_SQLITE) if url.startswith(_SQLITE) else ""


def take_password(url: str) -> tuple[str, str]:
    """Split a store's address into the address without its password, and the password (empty if there is none)."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url, ""
    credentials, at, host = parts.netloc.rpartition("@")
    user, colon, password = credentials.partition(":")
    if not colon:
        return url, ""
    return urlunsplit(parts._replace(netloc=f"{user}{at}{host}")), unquote(password)


def is_loopback(host: str) -> bool:
    """Tell whether a host can only be this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _web_address(value: Any, *, default_port: int | None) -> str:
    parts = _split(value)
    if parts.scheme not in _WEB_PORTS:
        raise ValueError("expected an address that begins with https:// or http://")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user or a password; they have keys of their own")
    if "?" in value or "#" in value:
        raise ValueError("expected an address without ? and #")
    port = parts.port or default_port
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    shown = "" if port is None or (port == _WEB_PORTS[parts.scheme] and default_port is None) else f":{port}"
    return f"{parts.scheme}://{host}{shown}{parts.path.rstrip('/')}"


def _split(value: Any) -> SplitResult:
    text = value.strip() if isinstance(value, str) else ""
    problem = 'expected an address such as "https://host.example.com:443"'
    if not text or _SPACE_OR_CONTROL.search(text):
        raise ValueError(problem)
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        port = parts.port
    except ValueError:
        raise ValueError(problem) from None
    if not parts.hostname or port == 0 or "\\" in text:
        raise ValueError(f"{problem}: the host is missing" if not parts.hostname else problem)
    return parts


def _check_postgresql(text: str) -> None:
    expected = 'expected "postgresql://user@host/database"'
    if _LATE_AT.match(text):
        # A part of the password would be read as the database's name, and be shown.
        raise ValueError('must not hold @ after the host; percent-encode / ? # @ in a password ("/" is %2F)')
    try:
        parts = urlsplit(text)
        sound = parts.port != 0 and parts.path.strip("/") and not _SPACE_OR_CONTROL.search(text)
    except ValueError:
        sound = False
    if not sound:
        raise ValueError(expected)
    if any("password" in name.casefold() for name, _ in parse_qsl(parts.query)):
        raise ValueError("must not hold a password among its parameters; use store.password or store.password_file")


def normalised(url: str) -> str:
    """Return a base address in a normal form: equal addresses give equal text."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    bracketed = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _WEB_PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{bracketed}{port}{parts.path.rstrip('/')}"
