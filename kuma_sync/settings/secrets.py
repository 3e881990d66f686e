"""Secrets out of the raw tree: every `x` may come as `x` or as `x_file`; what leaves here cannot show itself.

Must not: put a secret, or a path that may be one gone astray, into an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings.addresses import check_proxy, take_password
from kuma_sync.settings.fields import table
from kuma_sync.settings.paths import Places, readable_file
from kuma_sync.settings.secret import Secret
from kuma_sync.settings.sections import SECTIONS, secret_keys
from kuma_sync.settings.sources import Tree

_FILE = "_file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    """What secrets are looked for in, and everything found wrong with them.

    A password that comes out of the store's address has the address's origin, which is written into `origins`.
    Without `remotes`, files of all but the store's secrets may be out of reach.
    """

    places: Places
    origins: dict[str, str]
    remotes: bool = True
    problems: list[ConfigError] = field(default_factory=list)

    def gather(self, tree: Tree) -> None:
        """Replace, in place, every secret's text or file by a Secret: an empty one where there is a problem."""
        if not self.remotes:
            self._forget_unreadable(tree)
        for section in SECTIONS:
            entries = tree.get(section)
            if not isinstance(entries, dict):
                continue
            if section == "store":
                with self._told():
                    _move_password(entries, self.origins)
            for key in secret_keys(section):
                self._take(entries, key, f"{section}.{key}")
        web = tree.get("web")
        if isinstance(web, dict) and "tokens" in web:
            with self._told():
                self._tokens(web)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Go on after a problem: the others are to be told, too."""
        try:
            yield
        except ConfigError as error:
            variable = self.origins.get(error.key)
            self.problems.append(ConfigError(error.key, error.problem + (f" (set by {variable})" if variable else "")))

    def _tokens(self, web: Tree) -> None:
        try:
            tokens = web["tokens"] = table(web["tokens"])
        except ValueError as error:
            web["tokens"] = {}
            raise ConfigError("web.tokens", str(error)) from None
        if not isinstance(tokens, dict):
            web["tokens"] = {}
            raise ConfigError("web.tokens", "expected a table")
        for name in dict.fromkeys(entry.removesuffix(_FILE) for entry in list(tokens)):
            dotted = f"web.tokens.{name}"
            if not name or not name.isprintable() or len(name) > 64:
                dotted = "web.tokens"
                self.problems.append(
                    ConfigError(dotted, "expected a name of at most 64 printable characters for every token")
                )
            known = len(self.problems)
            self._take(tokens, name, dotted)
            if not tokens[name] and len(self.problems) == known:
                self.problems.append(ConfigError(dotted, "the token must not be empty"))

    def _take(self, entries: Tree, key: str, dotted: str) -> None:
        with self._told():
            try:
                entries[key] = self._secret(entries.get(key, ""), entries.pop(key + _FILE, ""), dotted)
            except ConfigError:
                entries[key] = Secret()
                raise

    def _secret(self, text: Any, file: Any, dotted: str) -> Secret:
        if isinstance(text, Secret):
            return text
        if not isinstance(text, str):
            raise ConfigError(dotted, "expected text, in quotes")
        if text and file:
            raise ConfigError(dotted, f"is given twice, here and as {dotted}{_FILE}; keep one")
        named = f"{dotted}{_FILE}" if file else dotted
        secret = self._from_file(named, file) if file else Secret(text)
        kind = "token" if dotted.startswith("web.") else dotted.rpartition(".")[2]
        _check(kind, named, secret)
        return secret

    def _from_file(self, dotted: str, file: Any) -> Secret:
        try:
            path = readable_file(file, self.places, secret=True)
        except ValueError as error:
            raise ConfigError(dotted, str(error)) from None
        try:
            secret = Secret(path=path)
        except OSError as error:
            raise ConfigError(dotted, f"the file cannot be read ({error.strerror}): {path}") from None
        except ValueError as error:
            raise ConfigError(dotted, f"the file {error}: {path}") from None
        if not secret.reveal().strip():
            raise ConfigError(dotted, f"the file is empty: {path}")
        return secret

    def _forget_unreadable(self, tree: Tree) -> None:
        web = tree.get("web")
        tables = [tree.get("kuma"), tree.get("irp"), web, web.get("tokens") if isinstance(web, dict) else None]
        for entries in tables:
            if isinstance(entries, dict):
                for key in [key for key in entries if key.endswith(_FILE) and not self._readable(entries[key])]:
                    del entries[key]

    def _readable(self, file: Any) -> bool:
        try:
            readable_file(file, self.places)
        except ValueError:
            return False
        return True


def _check(kind: str, dotted: str, secret: Secret) -> None:
    """Refuse what could not be sent: a token is one word of an HTTP header, a password one line."""
    text = secret.reveal()
    if kind == "proxy" and text:
        try:
            check_proxy(text)
        except ValueError as error:
            raise ConfigError(dotted, str(error)) from None
    elif kind == "password":
        if not text.isprintable():
            raise ConfigError(dotted, f"expected one line of printable characters{_odd(text)}")
    elif kind != "proxy" and not all("!" <= sign <= "~" for sign in text):
        raise ConfigError(dotted, f"expected visible ASCII characters without spaces, in one line{_odd(text)}")


def _odd(text: str) -> str:
    """Say what is odd about a secret, and nothing of what it is."""
    lines = text.splitlines()
    if text.lower().startswith("bearer "):
        return "; leave out the word Bearer"
    if len(lines) > 1:
        return f"; there are {len(lines)} lines"
    if text != text.strip():
        return "; there is a space before or after it"
    if not text.isascii():
        return "; there is a character that is no ASCII"
    return "; there is a space or a control character in it"


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
