"""What a link becomes when a human decides: close it, try it again, look again, drop it, let it go.

Must not: store it, or queue what follows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import assert_never

from kuma_sync.core.incident import (
    BeingMade,
    Closing,
    Doubt,
    Doubted,
    Dropped,
    Ignored,
    InKuma,
    Link,
    Linked,
    Live,
    NotMade,
    Origin,
    Sought,
)


def close_ordered(link: Link, reason: str = "", comment: str = "") -> Link:
    """Note that an operator wants both sides closed; the first origin and reason stay."""
    return replace(link, closing=link.closing or Closing(origin=Origin.OPERATOR, reason=reason, comment=comment))


def retried(link: Link) -> Link:
    """Have what is in doubt found once more, and made anew where it is not, for a human looked.

    An incident that there is is not made anew: only whether `find` shows it, or how it is closed, is in doubt. A create
    that may have happened is in doubt whatever else is: a resync that was ordered meanwhile does not end that.
    """
    if link.ignored:
        return link
    match link.live:
        case NotMade() | Linked() | Sought(doubt=Doubt.RESYNC):
            return link
        case Doubted(doubt=Doubt.UNCLOSED | Doubt.UNSHOWN | Doubt.RESYNC):
            return link
        case Sought(held=held):
            sought = Sought(doubt=Doubt.UNKNOWN, held=held, carried=link.carried)
        case BeingMade() | Doubted():
            sought = Sought(doubt=Doubt.UNKNOWN, carried=link.carried)
        case _:
            assert_never(link.live)
    return replace(link.become(sought), closing=_still_closing(link.closing), unresolved_at=None)


def _still_closing(closing: Closing | None) -> Closing | None:
    if closing is None or closing.origin is Origin.OPERATOR:
        return closing and replace(closing, incident=False)
    return None if closing.alert is InKuma.OPEN else replace(closing, origin=Origin.KUMA, incident=False)


def resynced(link: Link) -> Link:
    """Have the incident looked for and fully updated, also of an alert that was ignored or missed."""
    match link.live:
        case NotMade(held=held):
            again: Live = Sought(doubt=Doubt.RESYNC, held=held, carried=link.carried)
        case Sought() as sought:
            again = replace(sought, doubt=Doubt.RESYNC)
        case BeingMade() as making:
            again = replace(making, resync=True, carried=link.carried)
        case Doubted() as doubted:
            again = replace(doubted, doubt=Doubt.RESYNC, sent=link.forgotten)
        case Linked(incident=incident):
            again = Doubted(incident=incident, doubt=Doubt.RESYNC, sent=link.forgotten)
        case _:
            assert_never(link.live)
    return link.become(again)


def dropped(link: Link) -> Link:
    """Give the alert up for good; the brake holds nothing of it any more."""
    link = released(link)
    match link.state:
        case Dropped():
            return link
        case Ignored(unknown=unknown):
            return replace(link, state=Dropped(was=Ignored(unknown=unknown)))
        case live:
            return replace(link, state=Dropped(was=live))


def taken_up(link: Link) -> Link:
    """Take up again what was dropped: what the IRP has of it is looked for first.

    A closing that an operator had ordered was given up with it, towards both sides.
    """
    again = resynced(replace(link, state=link.live))
    ordered = link.close_origin is Origin.OPERATOR and not link.alert_closed and not link.incident_closed
    return replace(again, closing=None) if ordered else again


def released(link: Link, *, creates: bool = True, closings: bool = True) -> Link:
    """Let go what the brake holds: the creates, the closings, or both."""
    live, closing = link.live, link.closing
    if creates and isinstance(live, NotMade | Sought) and live.held:
        link = link.become(replace(live, held=False))
    if closings and closing is not None and closing.alert is InKuma.HELD:
        link = replace(link, closing=replace(closing, alert=InKuma.CLOSED))
    return link
