"""Links: what joins an alert to its incident, read, changed under a lock, and listed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, TextClause, and_, bindparam, exists, func, or_, select, update

from kuma_sync.core.alert import AlertId
from kuma_sync.core.link import (
    Doubt,
    Link,
)
from kuma_sync.core.routing import IRP, NO_ROUTE
from kuma_sync.core.text import alert_spellings, incident_spellings
from kuma_sync.store import schema
from kuma_sync.store.dialect import batches, insert_into, one_of
from kuma_sync.store.jobs import JobState
from kuma_sync.store.link_rows import as_link, as_row

# Statements of every delivery, built once: building one costs more than running it.
_GET = select(schema.links).where(schema.links.c.alert_id == bindparam("b_alert"))

_MANY = select(schema.links).where(one_of(schema.links.c.alert_id, "b_ids"))
_MANY_LOCKED = _MANY.order_by(schema.links.c.alert_id).with_for_update()
_STORED = select(schema.links.c.alert_id).where(one_of(schema.links.c.alert_id, "b_ids"))
_SAVE = (
    update(schema.links)
    .where(schema.links.c.alert_id == bindparam("b_alert"))
    .values({column: bindparam(column.name) for column in schema.links.c if column.name != "alert_id"})
)


class Links:
    """The table links, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, alert_id: AlertId) -> Link | None:
        """Return one link."""
        row = self._connection.execute(_GET, {"b_alert": alert_id}).one_or_none()
        return None if row is None else as_link(row)

    def many(self, ids: Collection[AlertId]) -> dict[AlertId, Link]:
        """Return the links of these alerts."""
        return self._these(_MANY, ids)

    def locked(self, ids: Collection[AlertId]) -> dict[AlertId, Link]:
        """Return the links of these alerts, locked until this transaction ends.

        Call it through `locks.lock`, which keeps the order of all locks.
        """
        return self._these(_MANY_LOCKED, ids)

    def _these(self, statement: Select[Any], ids: Collection[AlertId]) -> dict[AlertId, Link]:
        found: dict[AlertId, Link] = {}
        for some in batches(sorted(ids)):
            rows = self._connection.execute(statement, {"b_ids": some})
            found.update((AlertId(row.alert_id), as_link(row)) for row in rows)
        return found

    def by_incident(self, incident_ids: Collection[str], *, target: str = IRP) -> dict[str, AlertId]:
        """Return the alerts of a target's incidents by the ids as given; a UUID is found in any spelling."""
        table = schema.links
        spellings = {incident_id: incident_spellings(incident_id) for incident_id in incident_ids}
        stored: dict[str, AlertId] = {}
        for some in batches(list({spelling for each in spellings.values() for spelling in each})):
            rows = self._connection.execute(
                select(table.c.incident_id, table.c.alert_id).where(
                    table.c.target == target, table.c.incident_id.in_(some)
                )
            )
            stored.update((incident_id, AlertId(alert_id)) for incident_id, alert_id in rows)
        return {given: stored[known] for given, known in _first_known(spellings, stored)}

    def stored_as(self, ids: Collection[str]) -> dict[str, AlertId]:
        """Return the stored id for each given one, which may have another spelling; unknown ones are left out.

        Every spelling is looked up by the primary key, so unknown ids, which are normal, cost little.
        """
        spellings = {given: alert_spellings(given) for given in ids}
        stored: dict[str, AlertId] = {}
        for some in batches(list({spelling for each in spellings.values() for spelling in each})):
            rows = self._connection.execute(_STORED, {"b_ids": some})
            stored.update((alert_id, AlertId(alert_id)) for (alert_id,) in rows)
        return {given: stored[known] for given, known in _first_known(spellings, stored)}

    def targets_of(self, ids: Collection[AlertId]) -> dict[AlertId, str]:
        """Return the targets that these alerts go to."""
        column, found = schema.links.c.alert_id, dict[AlertId, str]()
        for some in batches(list(ids)):
            rows = self._connection.execute(select(column, schema.links.c.target).where(column.in_(some)))
            found.update((AlertId(alert_id), target) for alert_id, target in rows)
        return found

    def add(self, links: Sequence[Link], *, now: datetime) -> None:
        """Insert new links; existing ones stay unchanged."""
        if links:
            insert = insert_into(self._connection, schema.links)
            self._connection.execute(
                insert.on_conflict_do_nothing(index_elements=["alert_id"]), [as_row(link, now) for link in links]
            )

    def change(self, alert_id: AlertId, become: Callable[[Link], Link], *, now: datetime) -> Link | None:
        """Change a link by a pure function and return the new one; None where there is no such link.

        It is locked here. Where a transaction changes several, it locks them all before, by `locks.lock`.
        """
        link = self.locked([alert_id]).get(alert_id)
        if link is None:
            return None
        changed = become(link)
        if changed != link:
            self.save(changed, now=now)
        return changed

    def save(self, link: Link, *, now: datetime) -> None:
        """Write a link that this transaction has locked."""
        self.save_all([link], now=now)

    def save_all(self, links: Sequence[Link], *, now: datetime) -> None:
        """Write links that this transaction has locked."""
        if links:
            rows = [as_row(link, now) for link in links]
            self._connection.execute(_SAVE, [{**row, "b_alert": row.pop("alert_id")} for row in rows])

    def behind(self) -> list[AlertId]:
        """Return the alerts without a job whose incident is missing or out of date."""
        alerts, links, jobs = schema.alerts, schema.links, schema.delivery_queue
        unmade = and_(links.c.incident_id.is_(None), links.c.offered.is_(None), links.c.held_create.is_(False))
        made = or_(links.c.incident_id.is_not(None), links.c.offered.is_not(None))
        unsent = links.c.sent_fingerprint.is_distinct_from(alerts.c.fingerprint)
        rows = self._connection.execute(
            select(links.c.alert_id)
            .join(alerts, alerts.c.id == links.c.alert_id)
            .where(
                schema.OPEN,
                links.c.incident_closed.is_(False),
                or_(unmade, and_(made, unsent)),
                ~exists().where(jobs.c.subject == links.c.alert_id),
                links.c.target != NO_ROUTE,
            )
            .order_by(links.c.alert_id)
        )
        return [AlertId(alert_id) for (alert_id,) in rows]

    def doubt_unmade(self, targets: Collection[str] = (IRP,)) -> int:
        """Require `find` before every create not sent to these targets yet: the store may be a restored backup."""
        table = schema.links
        unmade = in_order(
            table.c.target.in_(sorted(targets)),
            table.c.incident_id.is_(None),
            table.c.offered.is_(None),
            table.c.intent.is_(None),
            table.c.doubt.is_(None),
            table.c.dropped.is_(False),
        )
        found = self._connection.execute(update(table).where(unmade).values(doubt=Doubt.UNKNOWN.value))
        return found.rowcount

    def unshown(self, target: str = IRP) -> list[Link]:
        """Return a target's links whose incidents `find` is tried on: it is learnt whether it shows created ones."""
        links, jobs = schema.links, schema.delivery_queue
        rows = self._connection.execute(
            select(links).where(
                schema.UNSHOWN,
                links.c.target == target,
                links.c.dropped.is_(False),
                exists().where(jobs.c.subject == links.c.alert_id, jobs.c.state != JobState.PARKED),
            )
        )
        return [as_link(row) for row in rows]

    def look_no_more(self, target: str = IRP, *, now: datetime) -> None:
        """End the doubt about those incidents: `find` cannot be relied on to show them."""
        unshown = in_order(schema.UNSHOWN, schema.links.c.target == target)
        self._connection.execute(
            update(schema.links).where(unshown).values(doubt=None, not_found_at=None, changed_at=now)
        )

    def mark_gone(self, ids: Collection[AlertId], *, now: datetime) -> list[AlertId]:
        """Note that KUMA no longer has these alerts; return those that were not marked so before."""
        table = schema.links
        news: list[AlertId] = []
        for some in batches(list(ids)):
            rows = self._connection.execute(
                update(table)
                .where(in_order(table.c.alert_id.in_(some), table.c.gone.is_(False)))
                .values(gone=True, changed_at=now)
                .returning(table.c.alert_id)
            )
            news += [AlertId(alert_id) for (alert_id,) in rows]
        return news

    def open_count(self, targets: Collection[str] | None = None) -> int:
        """Count the open links (of these targets); the brake compares a round's closings with this number."""
        table = schema.links
        query = select(func.count()).select_from(table).where(schema.OPEN, table.c.incident_closed.is_(False))
        if targets is not None:
            query = query.where(table.c.target.in_(sorted(targets)))
        return int(self._connection.execute(query).scalar_one())

    def held(self) -> list[AlertId]:
        """Return the alerts whose links are held, by the brake or for want of a route."""
        table = schema.links
        rows = self._connection.execute(select(table.c.alert_id).where(schema.HELD).order_by(table.c.alert_id))
        return sorted({*(AlertId(alert_id) for (alert_id,) in rows), *self.unrouted()})

    def held_by_target(self) -> dict[str, int]:
        """Count the links that are held, by target."""
        table = schema.links
        query = select(table.c.target, func.count()).where(schema.HELD).group_by(table.c.target)
        held = {target: count for target, count in self._connection.execute(query)}
        unrouted = self._connection.execute(select(func.count()).select_from(table).where(schema.UNROUTED)).scalar_one()
        return held | {NO_ROUTE: unrouted} if unrouted else held

    def unrouted(self) -> list[AlertId]:
        """Return the alerts that no route takes."""
        table = schema.links
        rows = self._connection.execute(select(table.c.alert_id).where(schema.UNROUTED).order_by(table.c.alert_id))
        return [AlertId(alert_id) for (alert_id,) in rows]

    def given_up(self, target: str) -> list[AlertId]:
        """Return the alerts of a target that were dropped, or are ignored."""
        table = schema.links
        given_up = or_(table.c.ignored.is_(True), table.c.dropped.is_(True))
        its = select(table.c.alert_id).where(table.c.target == target, given_up).order_by(table.c.alert_id)
        rows = self._connection.execute(its)
        return [AlertId(alert_id) for (alert_id,) in rows]

    def unresolved(self, target: str = IRP) -> list[AlertId]:
        """Return a target's alerts whose incidents were seen closed without a resolution and are not in doubt."""
        table = schema.links
        rows = self._connection.execute(
            select(table.c.alert_id)
            .where(schema.UNRESOLVED, table.c.target == target, table.c.doubt.is_(None))
            .order_by(table.c.alert_id)
        )
        return [AlertId(alert_id) for (alert_id,) in rows]

    def unsettled(self) -> list[AlertId]:
        """Return every link that is neither given up nor closed on both sides."""
        table = schema.links
        rows = self._connection.execute(
            select(table.c.alert_id)
            .where(
                table.c.ignored.is_(False),
                table.c.dropped.is_(False),
                or_(table.c.alert_closed.is_(False), table.c.incident_closed.is_(False)),
            )
            .order_by(table.c.alert_id)
        )
        return [AlertId(alert_id) for (alert_id,) in rows]

    def all_ids(self) -> list[AlertId]:
        """Return every link that is not given up, for a resync of all."""
        table = schema.links
        rows = self._connection.execute(
            select(table.c.alert_id)
            .where(table.c.ignored.is_(False), table.c.dropped.is_(False))
            .order_by(table.c.alert_id)
        )
        return [AlertId(alert_id) for (alert_id,) in rows]


def in_order(*which: ColumnElement[bool] | TextClause) -> ColumnElement[bool]:
    """Return a condition for an update that locks these links in the same order as `locked` does.

    A plain update locks rows in any order, so two of them could wait for each other.
    """
    key = schema.links.c.alert_id
    return key.in_(select(key).where(*which).order_by(key).with_for_update())


def _first_known(spellings: Mapping[str, Sequence[str]], stored: Container[str]) -> Iterator[tuple[str, str]]:
    """Yield each given id with its first stored spelling."""
    for given, each in spellings.items():
        known = next((spelling for spelling in each if spelling in stored), None)
        if known is not None:
            yield given, known
