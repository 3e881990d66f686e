"""Settings in, clients and the gates before them out: how KUMA and the IRP are reached."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from kuma_sync.app.shared_state import SharedState
from kuma_sync.core.budget import spacing
from kuma_sync.core.errors import ConfigError
from kuma_sync.core.maintenance import CLOSE, KUMA
from kuma_sync.core.retry import RetryPolicy
from kuma_sync.core.routing import IRP
from kuma_sync.core.steps import TargetCapabilities
from kuma_sync.irp.auth import Credentials
from kuma_sync.irp.client import IrpClient
from kuma_sync.irp.load import load_profile
from kuma_sync.irp.profile import Profile
from kuma_sync.irp.validate import capabilities, check_profile
from kuma_sync.kuma.client import KumaClient
from kuma_sync.kuma.passing import KumaPassage
from kuma_sync.settings import Secret, Settings
from kuma_sync.settings.sections import IrpSection, KumaSection
from kuma_sync.settings.targets import key_of
from kuma_sync.sync.delivery.context import TemplateContext
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.remote.gate import AuthProbe, RemoteGate
from kuma_sync.sync.remote.gates import LANES, RemoteGates
from kuma_sync.sync.remote.maintenance import Pausable
from kuma_sync.sync.remote.rate import RateLimiter, RetryContext, Traffic
from kuma_sync.telemetry.certificates import Certificates
from kuma_sync.telemetry.health import Part, part_of
from kuma_sync.transport import Endpoint, RemoteClient
from kuma_sync.transport.auth import read_again

MEND = "; mend it, then reload (SIGHUP)"
"""What to do about a broken target: a daemon looks at its files again only when it is told to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An IRP as it is configured, by the name of its target; one that polls us has no client."""

    name: str
    section: IrpSection
    irp: IrpClient | None
    profile: Profile
    capabilities: TargetCapabilities
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Remotes:
    """KUMA, its `passage` for others' calls, and the targets. Of a `broken` target a sentence says what is wrong."""

    kuma: KumaClient
    passage: KumaPassage
    targets: Mapping[str, Target]
    broken: Mapping[str, str]

    @property
    def capabilities(self) -> dict[str, TargetCapabilities]:
        """Return what each target can do."""
        return {name: target.capabilities for name, target in self.targets.items()}

    def closed_with_alerts(self, *, to_irp: bool) -> frozenset[str]:
        """Return the targets whose incidents are closed with their alerts, where `close.to_irp` is on.

        Of a target that does not work now nobody knows whether it can: the brake must not miss its closings.
        """
        can_close = {name for name, can in self.capabilities.items() if can.may_close}
        return frozenset(can_close | self.broken.keys() if to_irp else can_close)


def checked_profile(section: IrpSection, key: str = IRP) -> tuple[Profile, tuple[str, ...]]:
    """Load and check the profile with the options of the section `key`; raise ConfigError."""
    named = f"{key}.profile"
    profile = load_profile(section.profile, named)
    warnings = check_profile(profile, options=options(section), key=named)
    if section.find_first == "always" and profile.find is None and profile.mode == "push":
        raise ConfigError(f"{key}.find_first", '"always" needs a profile with a [find] operation')
    return profile, tuple(warnings)


def usable_profile(settings: Settings, name: str) -> Profile:
    """Load and check the profile of a configured target; raise ConfigError where the target is broken."""
    if name in settings.broken:
        raise ConfigError("", settings.broken[name])  # that sentence names its key
    return checked_profile(settings.irps[name], key_of(name))[0]


def retry_context(settings: Settings, clock: Callable[[], datetime], limits: Limits) -> RetryContext:
    """Return how failures are waited out."""
    policy = RetryPolicy(base=settings.retry.base, max=settings.retry.max)
    return RetryContext(clock=clock, policy=policy, jitter=random.SystemRandom().random, limits=limits)


def options(section: IrpSection) -> dict[str, str]:
    """Return the free values for the profile's templates."""
    return {name: value for name, value in section.options.items()}  # type: ignore[misc]  # JSON values pass through


def template_context(settings: Settings, target: str, clock: Callable[[], datetime]) -> TemplateContext:
    """Return what a target's requests hold besides the alert."""
    return TemplateContext(
        target=target,
        instance=settings.kuma.instance,
        web_url=settings.kuma.web_url,
        options=options(settings.irps[target]),
        clock=clock,
    )


def credentials(section: IrpSection) -> Credentials:
    """Return what the configuration holds for the IRP's login."""
    return Credentials(token=section.token, username=section.username, password=section.password, named=section.secrets)


async def open_remotes(
    settings: Settings,
    clock: Callable[[], datetime],
    limits: Limits,
    stack: AsyncExitStack,
    certificates: Certificates | None = None,
) -> Remotes:
    """Make the client of KUMA and those of all targets; `stack` closes them. The ends of `certificates` are noted.

    Raise ConfigError. Where there are several targets, one that is wrong in itself stops alone.
    """
    certificates = certificates or Certificates()
    endpoint = replace(kuma_endpoint(settings.kuma, limits), certified=certificates.of("kuma"))
    kuma_client = RemoteClient(endpoint, clock=clock)
    stack.push_async_callback(kuma_client.aclose)
    kuma = settings.kuma
    others = RemoteClient(replace(endpoint, connections=limits.passed_at_once), clock=clock)
    stack.push_async_callback(others.aclose)
    targets, broken = dict[str, Target](), dict(settings.broken)
    for name in settings.irps:
        try:
            targets[name] = await open_target(name, settings, clock, limits, stack, certificates)
        except ConfigError as error:
            if not settings.several:
                raise
            broken[name] = str(error)
    broken = {name: problem + MEND for name, problem in broken.items()}
    return Remotes(
        kuma=KumaClient(
            client=kuma_client,
            token=kuma.token,
            api_version=kuma.api_version,
            statuses=kuma.statuses,
            tenants=kuma.tenants,
            with_affected=kuma.with_affected,
            max_alert_size=settings.poll.max_alert_size,
            page_cap=limits.kuma_pages,
        ),
        passage=KumaPassage(others, kuma.token),
        targets=targets,
        broken=broken,
    )


async def open_target(
    name: str,
    settings: Settings,
    clock: Callable[[], datetime],
    limits: Limits,
    stack: AsyncExitStack,
    certificates: Certificates | None = None,
) -> Target:
    """Make the client of one target; `stack` closes it. Raise ConfigError."""
    section = settings.irps[name]
    profile, warnings = checked_profile(section, key_of(name))
    irp = None
    if profile.mode == "push":
        certified = (certificates or Certificates()).of(part_of("irp", name))
        client = RemoteClient(replace(irp_endpoint(section, name), certified=certified), clock=clock)
        stack.push_async_callback(client.aclose)
        irp = IrpClient(
            client=client,
            profile=profile,
            secrets=credentials(section),
            options=options(section),
            clock=clock,
            most_pages=limits.closed_pages,
        )
    can = replace(
        capabilities(profile, to_irp=settings.close.to_irp),
        find_always=section.find_first == "always",
        spacing=spacing(settings.poll.interval),
    )
    return Target(name=name, section=section, irp=irp, profile=profile, capabilities=can, warnings=warnings)


def kuma_endpoint(section: KumaSection, limits: Limits) -> Endpoint:
    """Return how KUMA is reached."""
    return Endpoint(
        remote="kuma",
        url=section.url,
        ca_file=section.ca_file,
        verify_tls=section.verify_tls,
        client_cert=section.client_cert,
        client_key=section.client_key,
        proxy=partial(_address_now, section.proxy),
        connect_timeout=section.connect_timeout.total_seconds(),
        read_timeout=section.read_timeout.total_seconds(),
        deadline=limits.page_deadline.total_seconds(),
        connections=limits.kuma_connections,
    )


def irp_endpoint(section: IrpSection, name: str = IRP) -> Endpoint:
    """Return how a target is reached; a whole request has twice the time between two bytes."""
    read_timeout = section.read_timeout.total_seconds()
    return Endpoint(
        remote=key_of(name),
        url=section.url,
        ca_file=section.ca_file,
        verify_tls=section.verify_tls,
        client_cert=section.client_cert,
        client_key=section.client_key,
        proxy=partial(_address_now, section.proxy),
        connect_timeout=section.connect_timeout.total_seconds(),
        read_timeout=read_timeout,
        deadline=read_timeout * 2,
        connections=section.concurrency + 2,
    )


def certified_parts(settings: Settings) -> set[Part]:
    """Return the remotes that show a certificate, by their parts."""
    addresses = {"kuma": settings.kuma.url} | {part_of("irp", name): irp.url for name, irp in settings.irps.items()}
    return {part for part, url in addresses.items() if url.startswith("https:")}


def _address_now(proxy: Secret) -> str:
    """Return a proxy's address, read from its file again where it has one."""
    read_again(proxy)
    return proxy.reveal()


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetGates:
    """The gates before one target; `proof` is that of the creates that wait for the profile's proof."""

    irp: RemoteGates
    proof: RemoteGate


class Gatekeeper:
    """Makes the gates; a wait that a remote asked for holds for all gates of that remote."""

    def __init__(self, shared: SharedState, pace: RetryContext) -> None:
        self._shared = shared
        self._pace = pace

    def kuma(self, kuma: KumaClient) -> RemoteGates:
        """Return the gates before KUMA."""
        auth = AuthProbe(probe=kuma.probe, reload=kuma.reload_token)
        traffic = self._traffic("kuma", KUMA)
        # An outage is the whole side's matter, not that of one kind of requests.
        kinds = {"close": self._narrow("kuma", replace(self._traffic("kuma", KUMA, CLOSE), trips=False))}
        return self._gates("kuma", auth, kinds, places=self._shared.limits.closes_in_flight, traffic=traffic)

    def target(self, target: Target) -> TargetGates:
        """Return the gates before a target."""
        irp, section, remote = target.irp, target.section, part_of("irp", target.name)
        auth = None
        if irp is not None:
            auth = AuthProbe(probe=irp.probe if irp.can("probe") else None, reload=irp.reload_secrets)
        narrow = replace(self._traffic(remote, target.name), trips=False)
        kinds, proof = {kind: self._narrow(remote, narrow) for kind in LANES}, self._narrow(remote, narrow)
        traffic = replace(narrow, trips=True, limiter=RateLimiter(section.rate_limit))
        gates = self._gates(remote, auth, kinds, proof, places=section.concurrency, traffic=traffic)
        return TargetGates(irp=gates, proof=proof)

    def _traffic(self, remote: Part, *parts: str) -> Traffic:
        """Return what limits requests to a remote that an operator pauses by the name of these parts."""
        pausable = Pausable(parts=parts, paused=self._shared.paused)
        return Traffic(requested_wait=self._shared.waits[remote], pausable=pausable)

    def _narrow(self, remote: Part, traffic: Traffic) -> RemoteGate:
        return RemoteGate(remote, pace=self._pace, health=self._shared.health, traffic=traffic)

    def _gates(
        self,
        remote: Part,
        auth: AuthProbe | None,
        kinds: Mapping[str, RemoteGate],
        *others: RemoteGate,
        places: int,
        traffic: Traffic,
    ) -> RemoteGates:
        narrower = [*kinds.values(), *others]
        whole = RemoteGate(
            remote, pace=self._pace, health=self._shared.health, auth=auth, traffic=traffic, narrower=narrower
        )
        return RemoteGates(whole=whole, kinds=kinds, places=asyncio.Semaphore(places))
