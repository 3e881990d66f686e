"""Settings in, clients and the gates before them out: how KUMA and the IRP are reached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

from kuma_sync.app.shared_state import SharedState
from kuma_sync.core.budget import spacing
from kuma_sync.core.errors import ConfigError
from kuma_sync.core.steps import TargetCapabilities
from kuma_sync.irp.auth import Credentials
from kuma_sync.irp.client import IrpClient
from kuma_sync.irp.load import load_profile
from kuma_sync.irp.profile import Profile
from kuma_sync.irp.validate import capabilities, check_profile
from kuma_sync.kuma.client import KumaClient
from kuma_sync.settings import Secret, Settings
from kuma_sync.settings.sections import IrpSection, KumaSection
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.remote.gate import AuthProbe, RemoteGate
from kuma_sync.sync.remote.gates import LANES, RemoteGates
from kuma_sync.sync.remote.rate import RateLimiter, RetryContext, Traffic
from kuma_sync.telemetry.health import Part
from kuma_sync.transport import Endpoint, RemoteClient
from kuma_sync.transport.auth import read_again


@dataclass(frozen=True, slots=True, kw_only=True)
class Remotes:
    """Both sides as they are configured."""

    kuma: KumaClient
    irp: IrpClient
    profile: Profile
    capabilities: TargetCapabilities
    warnings: tuple[str, ...]


def checked_profile(section: IrpSection) -> tuple[Profile, tuple[str, ...]]:
    """Load and check the profile with this configuration's options; raise ConfigError."""
    profile = load_profile(section.profile)
    warnings = check_profile(profile, options=options(section))
    if section.find_first == "always" and profile.find is None:
        raise ConfigError("irp.find_first", '"always" needs a profile with a [find] operation')
    return profile, tuple(warnings)


def options(section: IrpSection) -> dict[str, str]:
    """Return the free values for the profile's templates."""
    return {name: value for name, value in section.options.items()}  # type: ignore[misc]  # JSON values pass through


def credentials(section: IrpSection) -> Credentials:
    """Return what the configuration holds for the IRP's login."""
    return Credentials(token=section.token, username=section.username, password=section.password)


async def open_remotes(
    settings: Settings, clock: Callable[[], datetime], limits: Limits, stack: AsyncExitStack
) -> Remotes:
    """Make both clients; `stack` closes them."""
    profile, warnings = checked_profile(settings.irp)
    kuma_client = RemoteClient(kuma_endpoint(settings.kuma, limits), clock=clock)
    stack.push_async_callback(kuma_client.aclose)
    irp_client = RemoteClient(irp_endpoint(settings.irp), clock=clock)
    stack.push_async_callback(irp_client.aclose)
    kuma, irp = settings.kuma, settings.irp
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
        irp=IrpClient(
            client=irp_client,
            profile=profile,
            secrets=credentials(irp),
            options=options(settings.irp),
            clock=clock,
            most_pages=limits.closed_pages,
        ),
        profile=profile,
        capabilities=replace(
            capabilities(profile, to_irp=settings.close.to_irp),
            find_always=settings.irp.find_first == "always",
            spacing=spacing(settings.poll.interval),
        ),
        warnings=warnings,
    )


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


def irp_endpoint(section: IrpSection) -> Endpoint:
    """Return how the IRP is reached; a whole request has twice the time between two bytes."""
    read_timeout = section.read_timeout.total_seconds()
    return Endpoint(
        remote="irp",
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


def _address_now(proxy: Secret) -> str:
    """Return a proxy's address, read from its file again where it has one."""
    read_again(proxy)
    return proxy.reveal()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """Those of KUMA and of the IRP; `proof` is where creates wait while nobody knows whether `find` shows them."""

    kuma: RemoteGates
    irp: RemoteGates
    proof: RemoteGate


def make_gates(settings: Settings, shared: SharedState, remotes: Remotes, pace: RetryContext) -> Gates:
    """Make the gates; what a remote asked for holds whichever gate heard it."""
    kuma, irp = remotes.kuma, remotes.irp
    probes: dict[Part, AuthProbe] = {
        "kuma": AuthProbe(probe=kuma.probe, reload=kuma.reload_token),
        "irp": AuthProbe(probe=irp.probe if irp.can("probe") else None, reload=irp.reload_secrets),
    }

    def narrow(remote: Part) -> RemoteGate:
        # An outage is the whole side's matter, not that of one kind of requests.
        traffic = Traffic(requested_wait=shared.waits[remote], trips=False)
        return RemoteGate(remote, pace=pace, health=shared.health, traffic=traffic)

    def gates(
        remote: Part, kinds: Collection[str], *others: RemoteGate, places: int, rate_limit: float = 0
    ) -> RemoteGates:
        gates = {kind: narrow(remote) for kind in kinds}
        whole = RemoteGate(
            remote,
            pace=pace,
            health=shared.health,
            auth=probes[remote],
            traffic=Traffic(limiter=RateLimiter(rate_limit), requested_wait=shared.waits[remote]),
            narrower=[*gates.values(), *others],
        )
        return RemoteGates(whole=whole, kinds=gates, places=asyncio.Semaphore(places))

    section, proof = settings.irp, narrow("irp")
    return Gates(
        kuma=gates("kuma", ["close"], places=shared.limits.closes_in_flight),
        irp=gates("irp", LANES, proof, places=section.concurrency, rate_limit=section.rate_limit),
        proof=proof,
    )
