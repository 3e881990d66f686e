"""Judge a configuration offline, as a daemon does at its start or reload: problems and warnings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from kuma_sync.app.remotes import checked_profile, credentials, irp_endpoint, kuma_endpoint
from kuma_sync.core.errors import ConfigError
from kuma_sync.irp.auth import require
from kuma_sync.settings.load import Reading
from kuma_sync.settings.sections import IrpSection, KumaSection, WebSection
from kuma_sync.settings.targets import key_of
from kuma_sync.sync.limits import Limits
from kuma_sync.transport import Endpoint
from kuma_sync.transport.carrier import Connections
from kuma_sync.web.certificate import door_tls


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Problems and warnings, a sentence each. A problem ends `run` with exit code 2."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def judge(reading: Reading) -> Judgement:
    """Judge a configuration as a daemon does at its start or reload."""
    problems = list(reading.error.lines) if reading.error else []
    warnings = [str(one) for one in reading.settings.warnings] if reading.settings else []
    for trial in _trials(reading):
        try:
            warnings += trial()
        except ConfigError as error:
            problems += error.lines
    return Judgement(problems=tuple(dict.fromkeys(problems)), warnings=tuple(warnings))


def _trials(reading: Reading) -> Iterator[Callable[[], Sequence[str]]]:
    """Yield the checks that valid sections allow; each returns warnings, or raises ConfigError."""
    match reading.sections.get("kuma"):
        case KumaSection() as kuma:
            yield partial(_certificates, kuma_endpoint(kuma, Limits()))
    for name, section in reading.irps.items():
        yield partial(_certificates, irp_endpoint(section, name))
        yield partial(_profile, section, key_of(name))
        yield partial(_login, section, key_of(name))
    match reading.sections.get("web"):
        case WebSection() as web:
            yield partial(_door, web)


def _certificates(endpoint: Endpoint) -> Sequence[str]:
    Connections(endpoint)  # loads its files, and opens nothing
    return ()


def _profile(section: IrpSection, key: str) -> Sequence[str]:
    return checked_profile(section, key)[1]


def _login(section: IrpSection, key: str) -> Sequence[str]:
    require(checked_profile(section, key)[0], credentials(section), key)
    return ()


def _door(section: WebSection) -> Sequence[str]:
    door_tls(section.cert_file, section.key_file)
    return ()
