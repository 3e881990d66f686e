"""What a link becomes when a human decides: close it, try it again, look again, drop it, let it go.

Must not: store it, or queue what follows.
"""

from __future__ import annotations

from dataclasses import replace

from kuma_sync.core.incident import Doubt, Link, Origin


def close_ordered(link: Link, reason: str = "", comment: str = "") -> Link:
    """Note that an operator wants both sides closed; the first origin and reason stay."""
    if link.close_origin is not None:
        return link
    return replace(link, close_origin=Origin.OPERATOR, close_reason=reason, close_comment=comment)


def retried(link: Link) -> Link:
    """Have what is in doubt found once more, and made anew where it is not, for a human looked.

    An incident that there is is not made anew: only whether `find` shows it, or how it is closed, is in doubt. A create
    that may have happened is in doubt whatever else is: a resync that was ordered meanwhile does not end that.
    """
    if link.intent is None and link.doubt in (None, Doubt.RESYNC, Doubt.UNCLOSED, Doubt.UNSHOWN):
        return link
    return replace(
        link,
        incident=None,
        intent=None,
        doubt=Doubt.UNKNOWN,
        not_found_at=None,
        unresolved_at=None,
        sent=link.forgotten,
        incident_closed=False,
        close_origin=_still_closing(link),
    )


def _still_closing(link: Link) -> Origin | None:
    if link.close_origin is Origin.OPERATOR:
        return Origin.OPERATOR
    return Origin.KUMA if link.alert_closed else None


def resynced(link: Link) -> Link:
    """Have the incident looked for and fully updated, also of an alert that was ignored or missed."""
    return replace(link, doubt=Doubt.RESYNC, sent=link.forgotten, ignored=False, missed=False)


def dropped(link: Link) -> Link:
    """Give the alert up for good; the brake holds nothing of it any more."""
    return replace(released(link), dropped=True, missed=False)


def taken_up(link: Link) -> Link:
    """Take up again what was dropped: what the IRP has of it is looked for first.

    A closing that an operator had ordered was given up with it, towards both sides.
    """
    again = replace(resynced(link), dropped=False)
    if link.close_origin is not Origin.OPERATOR or link.alert_closed or link.incident_closed:
        return again
    return replace(again, close_origin=None, close_reason="", close_comment="")


def released(link: Link, *, creates: bool = True, closings: bool = True) -> Link:
    """Let go what the brake holds: the creates, the closings, or both."""
    return replace(link, held_create=link.held_create and not creates, held_close=link.held_close and not closings)
