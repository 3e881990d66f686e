"""What a configuration means to a store: which KUMA, which IRP each target is, and where each alert goes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from kuma_sync.core.errors import ConfigError
from kuma_sync.core.routing import IRP, NO_ROUTE, Route, Routing
from kuma_sync.irp.load import load_profile
from kuma_sync.irp.profile import Profile
from kuma_sync.settings import Settings, normalised
from kuma_sync.settings.sections import IrpSection
from kuma_sync.settings.targets import key_of
from kuma_sync.store import Identity, Joined


def profile_of(settings: Settings, name: str) -> Profile:
    """Load the profile of a target. Raise ConfigError, naming its key."""
    return load_profile(settings.irps[name].profile, f"{key_of(name)}.profile")


def served(settings: Settings) -> str:
    """Return a mark of the KUMA and the IRPs that a daemon joins: equal for equal ones, and it names none.

    A target counts whether or not it can be used just now.
    """
    irps = [part for name, irp in sorted(settings.named.items()) for part in (name, _address(irp))]
    joined = "\n".join((settings.kuma.instance, *irps))
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


def identity(settings: Settings, profiles: Mapping[str, str]) -> Identity:
    """Return which KUMA and IRPs this configuration means; `profiles` are the names of the targets' profiles."""
    targets = {name: joined(settings.irps[name], profile) for name, profile in profiles.items()}
    return Identity(kuma_instance=settings.kuma.instance, targets=targets)


def meant(settings: Settings) -> Identity:
    """Return which KUMA and IRPs this configuration means; a target with a broken profile is left out.

    Raise ConfigError where there is one target alone, and its profile is broken.
    """
    profiles = dict[str, str]()
    for name in settings.irps:
        try:
            profiles[name] = profile_of(settings, name).name
        except ConfigError:
            if not settings.several:
                raise
    return identity(settings, profiles)


def joined(section: IrpSection, profile: str) -> Joined:
    """Return the IRP that a target is."""
    return Joined(irp_url=_address(section), profile=profile)


def _address(section: IrpSection) -> str:
    return normalised(section.url) if section.url else ""


def routing_of(settings: Settings) -> Routing:
    """Return the configured routes."""
    routes = [
        Route(
            target=route.target,
            tenants=frozenset(tenant.casefold() for tenant in route.tenants),
            priorities=frozenset(route.priorities),
            names=tuple(route.names),
        )
        for route in settings.route
    ]
    targets = frozenset(settings.named)
    return Routing(routes=routes, default=IRP if IRP in targets else NO_ROUTE, targets=targets)
