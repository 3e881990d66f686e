"""Fields hidden in what was stored before `[privacy]` named them: contents, what was put out, parked pieces."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Column, Connection, Row, delete, select, update

from kuma_sync.core.privacy import Privacy
from kuma_sync.store import schema
from kuma_sync.store.handouts import Lists, Text, as_json, lists_digest
from kuma_sync.store.types import pack, unpack

AT_ONCE = 20
"""Rows of one transaction; each may hold a large alert."""

MANY = 500
"""Rows of one transaction where each is small."""

_ALERTS = schema.alerts
_CONTENTS, _PARKED, _ROWS, _BODIES = schema.contents, schema.parked, schema.handouts, schema.handout_bodies


class Hiding:
    """The tables that hold fields of events, assets and accounts, inside one transaction.

    Each call takes some rows whose keys come after `after`, and returns the last key; None where no more are left.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def contents(self, privacy: Privacy, after: str) -> str | None:
        """Hide fields in contents that wait for their delivery."""
        ids = self._some(_CONTENTS.c.alert_id, after)
        for row in self._rows(_CONTENTS.c.alert_id, ids):
            packed, size = pack(privacy.hidden(unpack(bytes(row.packed))))
            changed = update(_CONTENTS).where(_CONTENTS.c.alert_id == row.alert_id)
            self._connection.execute(changed.values(packed=packed, size=size))
        return ids[-1] if ids else None

    def parked(self, privacy: Privacy, after: str) -> str | None:
        """Hide fields in pieces that are no alerts; of one that is no JSON nothing stays."""
        digests = self._some(_PARKED.c.digest, after)
        for row in self._rows(_PARKED.c.digest, digests):
            kept = privacy.hidden_piece(zlib.decompress(bytes(row.raw)))
            changed = update(_PARKED).where(_PARKED.c.digest == row.digest)
            self._connection.execute(changed.values(raw=zlib.compress(kept)))
        return digests[-1] if digests else None

    def words(self, _privacy: Privacy, after: str) -> str | None:
        """Keep of the words an alert is found by its name alone: which field gave the others nobody knows any more."""
        some = select(_ALERTS.c.id, _ALERTS.c.words).where(_ALERTS.c.id > after).order_by(_ALERTS.c.id)
        rows = self._connection.execute(some.limit(MANY).with_for_update()).all()
        for row in rows:
            name, more, _others = row.words.partition("\n")
            if more:
                self._connection.execute(update(_ALERTS).where(_ALERTS.c.id == row.id).values(words=name))
        return rows[-1].id if rows else None

    def handouts(self, privacy: Privacy, after: str) -> str | None:
        """Hide fields in what was put out. It is not shown again for that; an answer on its way breaks off."""
        ids = self._some(_ROWS.c.alert_id, after)
        for row in self._rows(_ROWS.c.alert_id, ids):
            self._put_out(privacy, row)
        return ids[-1] if ids else None

    def _some(self, key: Column[str], after: str) -> list[str]:
        # Locked in the order of the ids, as whoever puts out does.
        some = select(key).where(key > after).order_by(key).limit(AT_ONCE).with_for_update()
        return list(self._connection.execute(some).scalars())

    def _rows(self, key: Column[str], values: Sequence[str]) -> Iterator[Row[Any]]:
        """Yield rows one by one: each may be as large as an alert may be."""
        for value in values:
            yield self._connection.execute(select(key.table).where(key == value)).one()

    def _put_out(self, privacy: Privacy, row: Row[Any]) -> None:
        of_alert = _BODIES.c.alert_id == row.alert_id
        body = self._connection.execute(select(_BODIES).where(of_alert, _BODIES.c.replaced_at.is_(None))).one_or_none()
        self._connection.execute(delete(_BODIES).where(of_alert, _BODIES.c.replaced_at.is_not(None)))
        if body is None:
            return
        head = _hidden(privacy, body.head, b"%s}")
        lists = Lists(
            events=_hidden(privacy, body.events, b"%s"),
            affected=_hidden(privacy, body.affected, b"{%s"),
            affected_lists=_hidden(privacy, body.affected_lists, b"{%s"),
        )
        parts = {"head": head, "events": lists.events, "affected": lists.affected}
        parts["affected_lists"] = lists.affected_lists
        packed = {name: part.packed for name, part in parts.items()}
        sizes = {f"{name}_size": part.size for name, part in parts.items()}
        version = row.version + 1  # the sizes are announced by version
        self._connection.execute(update(_BODIES).where(of_alert).values(version=version, **packed))
        changed = update(_ROWS).where(_ROWS.c.alert_id == row.alert_id)
        digests = {"digest": head.digest, "lists_digest": lists_digest(lists)}
        self._connection.execute(changed.values(version=version, **digests, **sizes))


def _hidden(privacy: Privacy, packed: bytes, whole: bytes) -> Text:
    """Return a part of an item without what is hidden; `whole` makes JSON of it."""
    value = json.loads(whole % zlib.decompress(bytes(packed)))
    if whole == b"%s}":
        privacy.hide_in_alert(value)
    else:
        privacy.hide(value if isinstance(value, list) else list(value.values()))
    text, (start, end) = as_json(value), whole.split(b"%s")
    return Text.of(text[len(start) : len(text) - len(end)])
