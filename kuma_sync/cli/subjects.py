"""What an operator means by an ALERT: an id, a parked piece's digest, or the unique beginning of either, in any case.

Must not: change anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from kuma_sync.cli.flags import Unfinished
from kuma_sync.core.spelling import alert_spellings
from kuma_sync.store import Tx

SHORTEST_PREFIX = 6
_SEVERAL = 2


async def named(tx: Tx, text: str) -> str:
    """Return the one subject that is meant, the exact one first; raise Unfinished for none, or several."""
    wanted = text.strip()
    spellings = alert_spellings(wanted) if wanted else ()
    known = await tx.overview.named(spellings)
    for spelling in spellings:
        if spelling in known:
            return spelling
    found: list[str] = []
    for any_case in (False, True):
        if len(wanted) >= SHORTEST_PREFIX and not found:
            found = await tx.overview.matching(wanted, limit=_SEVERAL, any_case=any_case)
    if len(found) == 1:
        return found[0]
    if found:
        raise Unfinished(f"{wanted!r} is the beginning of several alerts, give more of it")
    if 0 < len(wanted) < SHORTEST_PREFIX:
        raise Unfinished(f"there is no alert {wanted!r} here; give at least {SHORTEST_PREFIX} characters of its id")
    raise Unfinished(f"there is no alert {wanted!r} here; `kuma-sync alerts` lists them")


async def all_named(tx: Tx, texts: Sequence[str]) -> list[str]:
    """Return every subject that is meant, each once; raise Unfinished for the first that is none."""
    return list(dict.fromkeys([await named(tx, text) for text in texts]))
