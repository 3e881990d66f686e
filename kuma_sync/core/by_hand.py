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

    An incident that there is is not made anew: only whether `find` shows it, or how it is closed, is in doubt.
    """
    if link.doubt in (None, Doubt.RESYNC, Doubt.UNCLOSED, Doubt.UNSHOWN):
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


def released(link: Link) -> Link:
    """Let go what the brake holds."""
    return replace(link, held_create=False, held_close=False)
