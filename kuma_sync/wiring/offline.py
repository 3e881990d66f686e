"""A configuration judged without asking anybody: every problem at once, and what works but should not stay so.

Must not: touch the network or the store, or write anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from kuma_sync.core.errors import ConfigError
from kuma_sync.daemon.limits import Limits
from kuma_sync.irp.auth import require
from kuma_sync.irp.loading import load_profile
from kuma_sync.settings import Reading
from kuma_sync.settings.sections import IrpSection, KumaSection, WebSection
from kuma_sync.transport.endpoint import Endpoint, make_connections
from kuma_sync.web.server import assure_certificate
from kuma_sync.wiring.remotes import checked_profile, credentials, irp_endpoint, kuma_endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What was found, one sentence each: problems end `run` with exit code 2, warnings do not."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def judge(reading: Reading) -> Judgement:
    """Judge a configuration as a daemon would that starts with it, or is told to read it again."""
    problems = list(reading.error.lines) if reading.error else []
    warnings = list(reading.settings.warnings) if reading.settings else []
    for trial in _trials(reading):
        try:
            warnings += trial()
        except ConfigError as error:
            problems += error.lines
    return Judgement(problems=tuple(dict.fromkeys(problems)), warnings=tuple(warnings))


def _trials(reading: Reading) -> Iterator[Callable[[], Sequence[str]]]:
    """Yield what can be tried of the sections that are sound; each returns warnings, or raises ConfigError."""
    match reading.sections.get("kuma"):
        case KumaSection() as kuma:
            yield partial(_certificates, kuma_endpoint(kuma, Limits()))
    match reading.sections.get("irp"):
        case IrpSection() as irp:
            yield partial(_certificates, irp_endpoint(irp))
            yield partial(_profile, irp)
            yield partial(_login, irp)
    match reading.sections.get("web"):
        case WebSection() as web:
            yield partial(_door, web)


def _certificates(endpoint: Endpoint) -> Sequence[str]:
    make_connections(endpoint)  # loads its files, and opens nothing
    return ()


def _profile(section: IrpSection) -> Sequence[str]:
    return checked_profile(section)[1]


def _login(section: IrpSection) -> Sequence[str]:
    require(load_profile(section.profile).auth, credentials(section))
    return ()


def _door(section: WebSection) -> Sequence[str]:
    assure_certificate(section.cert_file, section.key_file)
    return ()
