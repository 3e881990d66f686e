"""Secrets out of the raw tree: every `x` may come as `x` or as `x_file`; what leaves here cannot show itself.

Must not: put a secret, or a path that may be one gone astray, into an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings.addresses import check_proxy, take_password
from kuma_sync.settings.fields import readable_file, table
from kuma_sync.settings.secret import Secret
from kuma_sync.settings.sections import SECTIONS, secret_keys
from kuma_sync.settings.sources import Tree

_FILE = "_file"


def gather_secrets(tree: Tree, env: Mapping[str, str], origins: dict[str, str], *, remotes: bool = True) -> None:
    """Replace, in place, the text or the file of every secret by a Secret; raise ConfigError naming the key.

    A password that comes out of the store's address has the address's origin, which is written into `origins`.
    Without `remotes`, files of all but the store's secrets may be out of reach.
    """
    if not remotes:
        _forget_unreadable(tree, env)
    for section in SECTIONS:
        entries = tree.get(section)
        if not isinstance(entries, dict):
            continue
        if section == "store":
            _move_password(entries, origins)
        for key in secret_keys(section):
            _gather(entries, key, f"{section}.{key}", env)
    web = tree.get("web")
    if isinstance(web, dict) and "tokens" in web:
        _gather_tokens(web, env)


def _forget_unreadable(tree: Tree, env: Mapping[str, str]) -> None:
    web = tree.get("web")
    tables = [tree.get("kuma"), tree.get("irp"), web, web.get("tokens") if isinstance(web, dict) else None]
    for entries in tables:
        if isinstance(entries, dict):
            for key in [key for key in entries if key.endswith(_FILE) and not _readable(entries[key], env)]:
                del entries[key]


def _readable(file: Any, env: Mapping[str, str]) -> bool:
    try:
        readable_file(file, env)
    except (ValueError, OSError):
        return False
    return True


def _gather_tokens(web: Tree, env: Mapping[str, str]) -> None:
    try:
        tokens = web["tokens"] = table(web["tokens"])
    except ValueError as error:
        raise ConfigError("web.tokens", str(error)) from None
    if not isinstance(tokens, dict):
        raise ConfigError("web.tokens", "expected a table")
    for name in dict.fromkeys(entry.removesuffix(_FILE) for entry in list(tokens)):
        _gather_token(tokens, name, env)


def _gather_token(tokens: Tree, name: str, env: Mapping[str, str]) -> None:
    if not name or not name.isprintable() or len(name) > 64:
        raise ConfigError("web.tokens", "expected a name of at most 64 printable characters for every token")
    _gather(tokens, name, f"web.tokens.{name}", env)
    if not tokens.get(name):
        raise ConfigError(f"web.tokens.{name}", "the token must not be empty")


def _gather(entries: Tree, key: str, dotted: str, env: Mapping[str, str]) -> None:
    text, file = entries.get(key, ""), entries.pop(key + _FILE, "")
    if isinstance(text, Secret):
        return
    if not isinstance(text, str):
        raise ConfigError(dotted, "expected text")
    if text and file:
        raise ConfigError(dotted, f"is given twice, here and as {dotted}{_FILE}; keep one")
    secret = _from_file(f"{dotted}{_FILE}", file, env) if file else Secret(text)
    _check("token" if dotted.startswith("web.") else key, f"{dotted}{_FILE if file else ''}", secret)
    entries[key] = secret


def _from_file(dotted: str, file: Any, env: Mapping[str, str]) -> Secret:
    try:
        secret = Secret(path=readable_file(file, env))
    except UnicodeDecodeError:
        raise ConfigError(dotted, "the file is not UTF-8 text") from None
    except OSError as error:
        raise ConfigError(dotted, f"the file cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ConfigError(dotted, str(error)) from None
    if not secret:
        raise ConfigError(dotted, "the file is empty")
    return secret


def _check(key: str, dotted: str, secret: Secret) -> None:
    """Refuse what could not be sent: a token is one word of an HTTP header, a password one line."""
    text = secret.reveal()
    if key == "proxy" and text:
        try:
            check_proxy(text)
        except ValueError as error:
            raise ConfigError(dotted, str(error)) from None
    elif key == "password":
        if not text.isprintable():
            raise ConfigError(dotted, "expected one line of printable characters")
    elif not all("!" <= sign <= "~" for sign in text):
        raise ConfigError(dotted, "expected visible ASCII characters without spaces, in one line")


def _move_password(store: Tree, origins: dict[str, str]) -> None:
    url = store.get("url")
    if not isinstance(url, str) or not url.strip().startswith("postgresql://"):
        return
    store["url"], password = take_password(url.strip())
    if not password:
        return
    if store.get("password") or store.get("password_file"):
        raise ConfigError("store.password", "is given twice, here and inside store.url; keep one")
    store["password"] = password
    if "store.url" in origins:
        origins["store.password"] = origins["store.url"]
