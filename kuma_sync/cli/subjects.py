"""What an operator means by an ALERT: an id, a parked piece's digest, the unique beginning of either, or an incident.

Any case of an id will do. Whoever only looks may say a part of the name, too.
"""

from __future__ import annotations

from collections.abc import Sequence

from kuma_sync.cli.options import Unfinished
from kuma_sync.cli.tables import plain
from kuma_sync.core.text import alert_spellings
from kuma_sync.store import Tx

SHORTEST_PREFIX = 6
MOST_NAMED = 5
_SEVERAL = 2


def named(tx: Tx, text: str) -> str:
    """Return the one subject that is meant, the exact one first; raise Unfinished for none, or several."""
    wanted = text.strip().rstrip("…")  # as a narrow terminal shows it
    exact = _exact(tx, wanted) if wanted else None
    if exact is not None:
        return exact
    found = _beginning(tx, wanted) if len(wanted) >= SHORTEST_PREFIX else []
    if len(found) == 1:
        return found[0]
    by_incident = tx.overview.by_incident(wanted) if wanted else []
    if len(by_incident) == 1:
        return by_incident[0]
    if by_incident:
        raise Unfinished(f"incident {wanted!r} is joined to several alerts: {', '.join(by_incident[:MOST_NAMED])}")
    if found:
        raise Unfinished(f"{wanted!r} is the beginning of several alerts, give more of it")
    if 0 < len(wanted) < SHORTEST_PREFIX:
        raise Unfinished(f"there is no alert {wanted!r} here; give at least {SHORTEST_PREFIX} characters of its id")
    raise Unfinished(f"there is no alert {wanted!r} here; `kuma-sync alerts` lists them")


def _exact(tx: Tx, wanted: str) -> str | None:
    spellings = alert_spellings(wanted)
    known = tx.overview.named(spellings)
    return next((spelling for spelling in spellings if spelling in known), None)


def _beginning(tx: Tx, wanted: str) -> list[str]:
    """Return what begins so, in any case where nothing does in this one."""
    found = tx.overview.matching(wanted, limit=_SEVERAL)
    return found or tx.overview.matching(wanted, limit=_SEVERAL, any_case=True)


def looked_for(tx: Tx, text: str) -> str:
    """Return the one subject that is meant, perhaps by a part of its name; raise Unfinished for none, or several."""
    try:
        return named(tx, text)
    except Unfinished as unknown:
        found = tx.overview.by_name(text.strip()) if text.strip() else []
        if not found:
            raise unknown from None
    if len(found) == 1:
        return found[0].id
    exact = [one for one in found if one.name.casefold() == text.strip().casefold()]
    if len(exact) == 1:
        return exact[0].id
    some = "; ".join(f"{one.id} {plain(one.name)}" for one in found[:MOST_NAMED])
    more = f"; and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    raise Unfinished(f"{len(found)} alerts have {text.strip()!r} in their name, say which: {some}{more}")


def all_named(tx: Tx, texts: Sequence[str]) -> list[str]:
    """Return every subject that is meant, each once; raise Unfinished for the first that is none."""
    return list(dict.fromkeys([named(tx, text) for text in texts]))
