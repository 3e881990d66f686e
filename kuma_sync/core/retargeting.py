"""The changes of a link that give its alert another target than the one it was born with, or had none. All are pure."""

from __future__ import annotations

from dataclasses import replace

from kuma_sync.core.link import Doubt, Dropped, Ignored, Link, NotMade, Sought
from kuma_sync.core.routing import IGNORE, NO_ROUTE
from kuma_sync.core.transitions import still_closing


def noticed(link: Link, *, held: bool, target: str) -> Link:
    """Note that an ignored alert changed: an incident is made of it, unless the brake holds that, or it was dropped.

    One that goes to another target than before is looked for there: the store may be older than its incident.
    """
    live = link.live
    if not link.ignored:
        return link
    if target != link.target and isinstance(live, NotMade):
        live = Sought(doubt=Doubt.UNKNOWN, carried=live.carried)
    woken = link.become(replace(live, held=held) if isinstance(live, NotMade | Sought) else live)
    return replace(woken, target=target)


def routed(link: Link, target: str, *, held: bool = False) -> Link:
    """Send an alert that had no target to one, or have it ignored. The brake may hold its create.

    It is looked for there before an incident is made: the store may be older than the route and the incident.
    """
    if link.target != NO_ROUTE or target == NO_ROUTE:
        return link
    state = Ignored(unknown=True) if target == IGNORE else _looked_for(link, held=held)
    return replace(link, target=target, state=Dropped(was=state) if link.dropped else state)


def left_target(link: Link, target: str) -> Link:
    """Send an alert to another target, for the one that has its incident is no longer configured.

    Nothing is known of an incident there. What was given up stays so, what the brake holds and an operator's closing,
    too.
    """
    if isinstance(link.state, Ignored):
        return replace(link, target=target, state=replace(link.state, unknown=True))
    state = Ignored(unknown=True) if target == IGNORE or link.ignored else _looked_for(link)
    return Link(
        alert_id=link.alert_id,
        target=target,
        state=Dropped(was=state) if link.dropped else state,
        closing=still_closing(link.closing),
        gone=link.gone,
    )


def _looked_for(link: Link, *, held: bool = False) -> Sought:
    return Sought(doubt=Doubt.UNKNOWN, held=held or link.held_create)
