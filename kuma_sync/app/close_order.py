"""An operator's closing before it is ordered: which sides would be closed, and why the others would not."""

from __future__ import annotations

from dataclasses import dataclass

from kuma_sync.app.remotes import MEND, usable_profile
from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import ConfigError
from kuma_sync.core.link import Link
from kuma_sync.core.routing import NO_ROUTE
from kuma_sync.core.sentence import Cause, Sentence, sentence
from kuma_sync.core.steps import to_be_closed
from kuma_sync.irp.validate import capabilities
from kuma_sync.settings import Settings
from kuma_sync.store import Tx
from kuma_sync.store.jobs import JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseOrder:
    """One order to close: the alert, and whether it is to be closed in KUMA and in the IRP."""

    alert_id: AlertId
    to_kuma: bool
    to_irp: bool

    def left_open(self, link: Link | None) -> list[str]:
        """Name the sides that are still to be closed."""
        in_kuma = self.to_kuma and (link is None or not link.alert_closed)
        given_up = link is None or link.given_up
        in_irp = self.to_irp and not given_up and link is not None and not link.incident_closed
        return [side for side, waits in (("KUMA", in_kuma), ("the IRP", in_irp)) if waits]


def ordered_before(tx: Tx, order: CloseOrder, link: Link) -> bool:
    """Tell whether all that an order would close is to be closed already. For an order its link is locked.

    What is parked needs the order, and what the brake holds needs to be asked for once.
    """
    moving = (JobState.PENDING, JobState.RUNNING)
    wanted = [job for job in tx.closes.jobs(link.alert_id, states=[JobState.HELD]) if job.reason]
    waits = {
        "KUMA": bool(wanted or tx.closes.jobs(link.alert_id, states=moving)),
        "the IRP": to_be_closed(link) and bool(tx.delivery.jobs(link.alert_id, states=moving)),
    }
    left = order.left_open(link)
    return bool(left) and all(waits[side] for side in left)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Whether the incidents of a target may be closed; `why` not, or why not now."""

    may: bool
    why: Sentence | None = None


def way_of(settings: Settings, target: str) -> Way:
    """Tell whether we may close incidents of a target. A broken one may have its closings: they wait for it."""
    if not settings.close.to_irp:
        return Way(may=False, why=sentence("it stays open: close.to_irp is off"))
    if target == NO_ROUTE:
        return Way(may=False, why=sentence("nothing is done: no route takes it, so it has no incident"))
    if target not in settings.named:
        return Way(may=False, why=sentence("nothing is done: its target %(target)s is not configured", target=target))
    try:
        profile = usable_profile(settings, target)
    except ConfigError as error:
        problem = Cause(f"{error}{MEND}")
        return Way(
            may=True,
            why=sentence("target %(target)s cannot be used: %(problem)s", target=target, problem=problem),
        )
    if capabilities(profile, to_irp=True).may_close:
        return Way(may=True)
    return Way(may=False, why=sentence("it stays open: the profile %(profile)s cannot close", profile=profile.name))


def not_asked(link: Link, way: Way) -> list[tuple[str, Sentence]]:
    """Say of each side why it would not be asked."""
    closed = sentence("it is closed already")
    in_kuma = closed if link.alert_closed else sentence("it stays open: close.to_kuma is off")
    if link.incident_closed:
        in_irp = closed
    elif link.given_up:
        in_irp = sentence("nothing is done: it was dropped or ignored")
    else:
        in_irp = way.why or sentence("nothing is done")
    return [("KUMA", in_kuma), ("the IRP", in_irp)]
