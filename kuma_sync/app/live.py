"""A look of a command at what the IRP holds of one alert: `show --live`. It obeys an operator's pause."""

from __future__ import annotations

from contextlib import AsyncExitStack

from kuma_sync.app.build import utc_now
from kuma_sync.app.gated_remotes import open_gated
from kuma_sync.app.remotes import template_context
from kuma_sync.core.errors import ConfigError
from kuma_sync.core.routing import UNROUTED
from kuma_sync.settings import Settings
from kuma_sync.settings.targets import key_of
from kuma_sync.store import Store
from kuma_sync.sync.delivery.looking import IncidentLook, Live
from kuma_sync.sync.delivery.unit_of_work import DeliveryState
from kuma_sync.sync.limits import Limits


def assure_asked(settings: Settings, target: str) -> None:
    """Raise ConfigError where nobody can be asked what a target holds."""
    if target not in settings.irps:
        told = f"the alert goes to the target {target!r}, which is not configured" if target else UNROUTED
        raise ConfigError(key_of(target) if target else "route", settings.broken.get(target, told))
    section = settings.irps[target]
    if section.pulls:
        told = f"{section.profile} sends nothing: this IRP polls us, and cannot be asked"
        raise ConfigError(f"{key_of(target)}.profile", told)


async def look(settings: Settings, store: Store, work: DeliveryState, limits: Limits) -> Live:
    """Ask the IRP for an alert's incident, as a caller of its own beside the daemon.

    Raise ConfigError where nobody can be asked, GateClosed where an operator paused the target, or RemoteError.
    """
    target = work.link.target
    assure_asked(settings, target)
    async with AsyncExitStack() as stack:
        gated = await open_gated(settings, store, limits, stack)
        if (problem := gated.remotes.broken.get(target)) is not None:
            raise ConfigError("", problem)  # that sentence names its key
        irp = gated.remotes.targets[target].irp
        assert irp is not None  # noqa: S101  # it does not poll us
        context, gates = template_context(settings, target, utc_now), gated.gates[target]
        return await IncidentLook(irp, gates, context, within=limits.look_within).look(work)
