"""The page Passes: each read of KUMA and each look for closed incidents, with its counts and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from kuma_sync.core.sentence import N_, Sentence, sentence
from kuma_sync.store import PassRecord, Tx
from kuma_sync.web.console.console import Console

ROWS = 50
"""Passes on one page."""

_LARGEST = 2**63 - 1

KINDS = {
    "full": sentence("all alerts with their events"),
    "window": sentence("what changed since the last read"),
    "late": sentence("what KUMA published late"),
    "sweep": sentence("the whole list, without events"),
    "contents": sentence("contents of single alerts"),
    "status": sentence("states of single alerts"),
    "backfill": sentence("alerts of a period, by order"),
}
"""What each kind of read asks KUMA for."""

LISTS = ("full", "sweep", "backfill")
"""The reads that must show every alert: it matters whether they came to the end."""

_WATCH = "watch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One pass as the page shows it."""

    record: PassRecord
    what: Sentence
    state: str


async def passes(request: Request, console: Console) -> Response:
    """Show the passes, newest first; `before` and `kind` choose which."""
    before, kind = _number(request.query_params.get("before", "")), request.query_params.get("kind", "")

    def look(tx: Tx) -> tuple[list[tuple[int, PassRecord]], list[str]]:
        kinds = [one.kind for one in tx.audit.last_pass_by_kind()]
        return tx.audit.passes_before(before, ROWS + 1, kind=kind if kind in kinds else ""), kinds

    found, kinds = await console.read(look)
    chosen = {"kind": kind} if kind in kinds else {}
    older = f"/passes?{urlencode({**chosen, 'before': found[ROWS - 1][0]})}" if len(found) > ROWS else ""
    values = {
        "rows": [_row(record) for _id, record in found[:ROWS]],
        "kinds": [(one, what_of(one)) for one in kinds],
        "kind": chosen.get("kind", ""),
        "older": older,
        "newest": f"/passes?{urlencode(chosen)}" if before is not None else "",
    }
    return console.page(request, "passes.html", N_("Passes"), values=values, refresh=before is None)


def what_of(kind: str) -> Sentence:
    """Say what a kind of pass asks for, and whom."""
    name, _, target = kind.partition(":")
    if name == _WATCH:
        return sentence("incidents closed in %(target)s", target=target or "irp")
    return KINDS.get(name) or sentence("another read: %(kind)s", kind=kind)


def _row(record: PassRecord) -> Row:
    return Row(record=record, what=what_of(record.kind), state=how(record))


def how(record: PassRecord) -> str:
    """Return how a pass ended. Of a window nobody expects that it shows all, so it is simply done."""
    if record.error:
        return "failed"
    if record.kind not in LISTS:
        return "done"
    return "complete" if record.complete else "partial"


def _number(text: str) -> int | None:
    return min(int(text), _LARGEST) if text.isascii() and text.isdecimal() and len(text) < 20 else None
