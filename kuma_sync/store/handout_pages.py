"""The later pages of a listing that an IRP asked for: they stay as they were while it fetches them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, or_, select

from kuma_sync.core.alert import AlertId
from kuma_sync.core.handout import PAGE, Asked
from kuma_sync.store import schema
from kuma_sync.store.dialect import insert_into

KEPT = timedelta(minutes=10)
"""How long the pages of a listing stay."""

_PAGES = schema.handout_pages
_OF_LISTING = (_PAGES.c.target == bindparam("b_target"), _PAGES.c.listing == bindparam("b_listing"))
_ANY = select(_PAGES.c.page).where(*_OF_LISTING).limit(1)


class HandoutPages:
    """The table handout_pages, inside one transaction."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def keep(self, target: str, asked: Asked, ids: Sequence[AlertId]) -> None:
        """Keep the pages of a listing after its first, in place of those of an earlier one."""
        key = {"target": target, "listing": _key(asked)}
        outdated = _PAGES.c.made_at < self._now - KEPT
        earlier = delete(_PAGES).where(or_(and_(*_OF_LISTING), outdated))
        self._connection.execute(earlier, _bound(target, asked))
        pages = [
            {**key, "page": page, "alert_ids": json.dumps(ids[start : start + PAGE]), "made_at": self._now}
            for page, start in enumerate(range(PAGE, len(ids), PAGE), start=2)
        ]
        if pages:
            insert = insert_into(self._connection, _PAGES)
            # Two may ask at the same moment: the later listing counts.
            same = ["target", "listing", "page"]
            news = {name: insert.excluded[name] for name in ("alert_ids", "made_at")}
            self._connection.execute(insert.on_conflict_do_update(index_elements=same, set_=news), pages)

    def page(self, target: str, asked: Asked) -> list[AlertId] | None:
        """Return the alerts of a page after the first; None where no such listing is kept."""
        recent = _PAGES.c.made_at > self._now - KEPT
        query = select(_PAGES.c.page, _PAGES.c.alert_ids)
        query = query.where(*_OF_LISTING, _PAGES.c.page.in_([2, asked.page]), recent)
        rows = self._connection.execute(query, _bound(target, asked))
        pages = {page: alert_ids for page, alert_ids in rows}
        if not pages:
            return None
        return [AlertId(one) for one in json.loads(pages.get(asked.page, "[]"))]

    def kept(self, target: str, asked: Asked) -> bool:
        """Tell whether pages of a listing are kept."""
        return self._connection.execute(_ANY, _bound(target, asked)).first() is not None

    def sweep(self) -> None:
        """Remove pages that are too old to be asked for."""
        self._connection.execute(delete(_PAGES).where(_PAGES.c.made_at < self._now - KEPT))


def _key(asked: Asked) -> bytes:
    return hashlib.blake2b(asked.listing.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _bound(target: str, asked: Asked) -> dict[str, Any]:
    return {"b_target": target, "b_listing": _key(asked)}
