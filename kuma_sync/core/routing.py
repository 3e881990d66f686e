"""Which target an alert goes to: decided when it is first seen, and kept with its link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kuma_sync.core.alert import Alert
from kuma_sync.core.patterns import Expression

IRP = "irp"
"""The target that the plain `[irp]` is."""

IGNORE = "ignore"
"""Stands for a target where a route says that no incident is made; the alert is looked at anew when it changes."""

NO_ROUTE = ""
"""Stands for a target where no route takes the alert and there is no `[irp]`: it is held until a route does."""

UNROUTED = "no route"
"""Why such an alert is held, as it is told to a human."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A rule: alerts that fit every part of it go to `target`. An empty part fits all.

    `tenants` are names or ids, compared without case; `priorities` are low, medium, high, critical; each of `names` is
    searched for in the alert's name.
    """

    target: str
    tenants: frozenset[str] = frozenset()
    priorities: frozenset[str] = frozenset()
    names: tuple[Expression, ...] = ()

    def takes(self, alert: Alert) -> bool:
        """Tell whether an alert fits."""
        tenants = {alert.tenant_id.casefold(), alert.tenant_name.casefold()}
        return (
            (not self.tenants or not tenants.isdisjoint(self.tenants))
            and (not self.priorities or alert.priority in self.priorities)
            and (not self.names or any(name.search(alert.name) for name in self.names))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """All routes: the first that takes an alert counts, `default` where none does.

    `targets` names all that are configured, those that do not work now included; None: whichever there are.
    """

    routes: Sequence[Route] = ()
    default: str = IRP
    targets: frozenset[str] | None = None

    def serves(self, target: str) -> bool:
        """Tell whether this is a target that is configured."""
        return self.targets is None or target in self.targets

    def target_of(self, alert: Alert) -> str:
        """Return the target for an alert: its name, IGNORE, or NO_ROUTE."""
        return next((route.target for route in self.routes if route.takes(alert)), self.default)
