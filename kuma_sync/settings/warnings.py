"""Warnings about a valid configuration: plain http, unchecked certificates, secrets that everyone can read."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kuma_sync.core.errors import ConfigError
from kuma_sync.core.routing import IRP
from kuma_sync.core.sentence import Sentence, sentence
from kuma_sync.settings.addresses import host_and_port, is_loopback, proxy_password
from kuma_sync.settings.paths import CREDENTIALS, SYSTEM_WIDE
from kuma_sync.settings.secret import SECRET_NAME, Secret
from kuma_sync.settings.section import Section
from kuma_sync.settings.sections import SECTIONS, IrpSection, KumaSection, Settings
from kuma_sync.settings.sources import misspelt

_PROXY = re.compile(r"(kuma|irp|targets\.[^.]+)\.proxy")
_OPTIONS = re.compile(r"(irp|targets\.[^.]+)\.options(?=\.)")
SHORTEST_TOKEN = 16
"""Characters of a token that opens our door."""


def cautions(
    settings: Settings,
    path: Path | None,
    origins: Mapping[str, str],
    env: Mapping[str, str],
    *,
    system_wide: Path = SYSTEM_WIDE,
) -> tuple[Sentence, ...]:
    """Return one sentence for each thing an operator should change; `origins` are the keys the environment gave."""
    return (
        *_connections(settings),
        *_door_tokens(settings),
        *_without_effect(settings),
        *_of_the_console(settings),
        *_files(settings, system_wide.parent),
        *_inline(settings, path, origins, system_wide.parent),
        *misspelt(env).values(),
    )


def _connections(settings: Settings) -> Iterator[Sentence]:
    sides: list[tuple[str, KumaSection | IrpSection]] = [("kuma", settings.kuma), *_irps(settings)]
    for name, side in sides:
        parts = urlsplit(side.url)
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            key = f"{name}.url"
            yield sentence("%(key)s: http:// sends the token and the alerts unencrypted; use https://", key=key)
        if not side.verify_tls:
            yield sentence(
                "%(key)s: CERTIFICATES ARE NOT CHECKED, whoever is on the way reads token and alerts; set %(file)s "
                "instead",
                key=name + ".verify_tls",
                file=name + ".ca_file",
            )
    for key in settings.notify.secret_keys():
        parts = urlsplit(getattr(settings.notify, key).reveal())
        if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            yield sentence("%(key)s: http:// sends it unencrypted; use https://", key="notify." + key)
    web, asking = settings.web, [name for name, irp in _irps(settings) if irp.pulls]
    if asking and not web.listen:
        yield sentence(
            "web.listen: there is no door, and %(targets)s would have to ask there for its alerts",
            targets=", ".join(asking),
        )
    if web.listen and not web.cert_file and not is_loopback(host_and_port(web.listen)[0]):
        yield _open_door(settings)


def _open_door(settings: Settings) -> Sentence:
    web = settings.web
    if web.console.enabled:
        open_ = sentence("the console's passwords arrive unencrypted")
    elif web.tokens or web.metrics_token or any(irp.pulls for _name, irp in _irps(settings)):
        open_ = sentence("tokens arrive unencrypted")
    else:
        open_ = sentence("is open to the network without TLS")
    return sentence("web.listen: %(what)s; set web.cert_file, or put a proxy with TLS in front", what=open_)


def _without_effect(settings: Settings) -> Iterator[Sentence]:
    """Yield keys that have no effect beside the others."""
    if settings.web.passthrough.allow and settings.privacy.rules().on:
        yield sentence(
            "privacy: does not reach what KUMA answers to the calls of web.passthrough: they are passed on as they are"
        )
    if settings.kuma.write_back and not settings.kuma.writes_back:
        yield sentence('kuma.write_back: is off: only with kuma.api_version = "v3" can an alert be given a comment')


def _of_the_console(settings: Settings) -> Iterator[Sentence]:
    """Yield what keeps people out of the console, or lets the wrong ones in."""
    console = settings.web.console
    if not console.enabled:
        return
    ways = console.users or console.user_header or console.oidc.issuer
    if not settings.web.listen:
        yield sentence("web.console.enabled: there is no door (web.listen is empty), and so no console")
    elif not ways:
        yield sentence("web.console: nobody can sign in; `kuma-sync console-user` makes a line for [web.console.users]")
    if console.oidc.issuer and not (console.oidc.operators or console.oidc.viewers):
        yield sentence(
            "web.console.oidc: nobody who signs in there may see anything; name groups in operators or viewers"
        )
    if urlsplit(console.oidc.issuer).scheme == "http" and not is_loopback(urlsplit(console.oidc.issuer).hostname or ""):
        yield sentence("web.console.oidc.issuer: http:// lets others on the way sign in as anybody; use https://")
    if not console.user_header:
        for name in console.roles.keys() - console.users.keys():
            key = f"web.console.roles.{name}"
            yield sentence("%(key)s: there is no such user in [web.console.users]", key=key)


def _irps(settings: Settings) -> Iterator[tuple[str, IrpSection]]:
    """Yield the place of every IRP's section, and the section."""
    if settings.has_plain:
        yield IRP, settings.irp
    for name, section in settings.targets.items():
        yield f"targets.{name}", section


def _at_the_door(settings: Settings) -> dict[str, str]:
    """Return what opens the door, by key: the callers' tokens, and those of the IRPs that ask us."""
    web = settings.web
    door = {f"web.tokens.{name}": secret.reveal() for name, secret in web.tokens.items()}
    door |= {"web.metrics_token": web.metrics_token.reveal()} if web.metrics_token else {}
    return door | {f"{place}.token": irp.token.reveal() for place, irp in _irps(settings) if irp.pulls and irp.token}


def ambiguous_tokens(settings: Settings) -> Iterator[ConfigError]:
    """Yield a problem for each IRP that polls us with a token which is not its alone: whose alerts are asked for?"""
    door = _at_the_door(settings)
    for key, token in door.items():
        other = next((one for one, same in door.items() if one != key and same == token), "")
        if other and not key.startswith("web."):
            yield ConfigError(key, f"is the same token as {other}: an IRP that polls us needs one of its own")


def _door_tokens(settings: Settings) -> Iterator[Sentence]:
    door = _at_the_door(settings)
    for key, token in door.items():
        if len(token) < SHORTEST_TOKEN:
            yield sentence(
                "%(key)s: is shorter than %(count)s characters and may be guessed; `openssl rand -hex 32` makes one",
                key=key,
                count=SHORTEST_TOKEN,
            )
    seen: dict[str, str] = {}
    for key, token in door.items():
        if token in seen:
            yield sentence(
                "%(key)s: is the same token as %(other)s: who calls cannot be told apart; give each its own",
                key=key,
                other=seen[token],
            )
        seen.setdefault(token, key)


def secrets_of(settings: Settings) -> Iterator[tuple[str, Secret]]:
    """Yield every secret that is set, with its dotted key."""
    for name in SECTIONS:
        yield from _secrets_in(name, getattr(settings, name))
    for name, target in settings.targets.items():
        yield from _secrets_in(f"targets.{name}", target)
    for place, irp in _irps(settings):
        yield from _secret_options(f"{place}.options", irp.options)


def _secrets_in(place: str, section: Section) -> Iterator[tuple[str, Secret]]:
    for key in section.secret_keys():
        if secret := getattr(section, key):
            yield f"{place}.{key}", secret
    for key in section.secret_tables():
        for name, secret in getattr(section, key).items():
            yield f"{place}.{key}.{name}", secret
    for key, inner in section.inner():
        yield from _secrets_in(f"{place}.{key}", inner)


def _secret_options(place: str, node: Any, *, secret: bool = False) -> Iterator[tuple[str, Secret]]:
    """Yield the texts below every name that sounds like a secret's."""
    match node:
        case Mapping():
            for name, inner in node.items():
                yield from _secret_options(f"{place}.{name}", inner, secret=secret or bool(SECRET_NAME.search(name)))
        case list() | tuple():
            for inner in node:
                yield from _secret_options(place, inner, secret=secret)
        case str() if secret and node:
            yield place, Secret(node)


def _files(settings: Settings, services: Path) -> Iterator[Sentence]:
    keys = (
        ("kuma.client_key", settings.kuma.client_key),
        *((f"{place}.client_key", irp.client_key) for place, irp in _irps(settings)),
        ("web.key_file", settings.web.key_file),
    )
    for key, file in (*((f"{key}_file", secret.path) for key, secret in _kept(settings)), *keys):
        if file and _world_readable(file):
            known = {"key": key, "file": str(file), "name": f"${{{CREDENTIALS}}}/{file.name}"}
            if file.is_relative_to(services):
                yield sentence(
                    "%(key)s: %(file)s can be read by every user of this machine; chmod o-r it; the service gets it by "
                    'LoadCredential= in the unit, and "%(name)s" here',
                    **known,
                )
            else:
                yield sentence("%(key)s: %(file)s can be read by every user of this machine; chmod o-r it", **known)


def _inline(settings: Settings, path: Path | None, origins: Mapping[str, str], services: Path) -> Iterator[Sentence]:
    if not path or not _world_readable(path):
        return
    inside = [key for key, secret in _kept(settings) if not secret.path and not _from_outside(key, origins)]
    if inside:
        to_do = sentence("chmod o-r it") if _is_ours_alone(path, services) else _moved_out(inside)
        yield sentence(
            "%(file)s holds secrets (%(keys)s) and can be read by every user of this machine; %(to_do)s",
            file=str(path),
            keys=", ".join(inside),
            to_do=to_do,
        )


def _is_ours_alone(path: Path, services: Path) -> bool:
    """Tell whether the daemon's user owns a file; a DynamicUser or a container's user is somebody else."""
    return not path.absolute().is_relative_to(services) and path.stat().st_uid == os.geteuid()


def _moved_out(inside: list[str]) -> Sentence:
    """Say where to move secrets out of a file that must stay readable; options have no `_file` form."""
    tables = ", ".join(dict.fromkeys(found[0] for key in inside if (found := _OPTIONS.match(key))))
    files = ", ".join(f"{key}_file" for key in inside if not _OPTIONS.match(key))
    places = [sentence("them into files of their own (%(files)s)", files=files)] if files else []
    places += [sentence("those of %(tables)s into environment variables", tables=tables)] if tables else []
    return sentence("put %(places)s; no chmod: the service must read this file as another user", places=tuple(places))


def _kept(settings: Settings) -> Iterator[tuple[str, Secret]]:
    """Yield the secrets; a proxy's address is one only if it has a password in it."""
    for key, secret in secrets_of(settings):
        if not _PROXY.fullmatch(key) or proxy_password(secret.reveal()):
            yield key, secret


def _from_outside(key: str, origins: Mapping[str, str]) -> bool:
    return any(f"{key}.".startswith(f"{given}.") for given in origins)


def _world_readable(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False
