"""The IRPs that this store's incidents are in, a row for each target: address, profile, up to when it was watched."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Subquery, and_, delete, func, inspect, or_, select, text

from kuma_sync.core.alert import AlertId
from kuma_sync.core.routing import IGNORE, IRP, NO_ROUTE
from kuma_sync.store import schema
from kuma_sync.store.dialect import insert_into
from kuma_sync.store.handouts import to_be_shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """The IRP that a target's incidents are in: its normalised address ("" where it polls us), its profile's name."""

    irp_url: str
    profile: str

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.irp_url or 'polls us'}, profile {self.profile}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The KUMA and the IRPs that a store belongs to, the IRPs by target."""

    kuma_instance: str
    targets: Mapping[str, Joined]

    def shares(self, other: Identity) -> bool:
        """Tell whether both bring the alerts of one KUMA into the same IRP."""
        irps = {irp.irp_url for irp in self.targets.values()} & {irp.irp_url for irp in other.targets.values()}
        return self.kuma_instance == other.kuma_instance and bool(irps - {""})

    def __str__(self) -> str:
        """Return it in words."""
        named = [f"{'IRP' if name == IRP else f'target {name}'} {irp}" for name, irp in self.targets.items()]
        return ", ".join([f"KUMA {self.kuma_instance!r}", *named])


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownProfile:
    """The digest of the last profile (None: not known), and whether `find` has shown an incident created by it."""

    digest: str | None = None
    shown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """What is left to be done for a target.

    `links` are open, held, or not shown to an IRP that polls us; `jobs` are in the delivery queue, in whatever state.
    """

    links: int = 0
    jobs: int = 0

    def __str__(self) -> str:
        """Return it in words."""
        counts = ((self.links, "open link"), (self.jobs, "job"))
        return (
            " and ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts if count) or "nothing"
        )


_ONE_IRP = text("SELECT kuma_instance, irp_url, profile FROM cursor")
"""The columns of a schema before 0009."""


class Targets:
    """The table targets, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def identity(self) -> Identity | None:
        """Return the KUMA and the IRPs that this store belongs to, whatever its schema; None while none is set."""
        if not inspect(self._connection).has_table(schema.targets.name):
            row = self._connection.execute(_ONE_IRP).one_or_none()
            if row is None or row.kuma_instance is None:
                return None
            irp = Joined(irp_url=row.irp_url, profile=row.profile)
            return Identity(kuma_instance=row.kuma_instance, targets={IRP: irp})
        instance = self._connection.execute(select(schema.cursor.c.kuma_instance)).scalar_one_or_none()
        return None if instance is None else Identity(kuma_instance=instance, targets=self.joined())

    def joined(self) -> dict[str, Joined]:
        """Return the IRPs that this store's incidents are in, by target."""
        rows = self._connection.execute(select(schema.targets).order_by(schema.targets.c.name))
        known = [row for row in rows if row.profile is not None]
        return {row.name: Joined(irp_url=row.irp_url or "", profile=row.profile) for row in known}

    def left(self) -> dict[str, Remaining]:
        """Return what is left to be done for each target that something is left for, whether or not it was ever bound.

        What goes to no target is not among them.
        """
        going, jobs = _going(), schema.delivery_queue
        links = self._connection.execute(select(going.c.target, func.count()).group_by(going.c.target))
        queued = self._connection.execute(select(jobs.c.target, func.count()).group_by(jobs.c.target))
        counts = {target: count for target, count in links if target not in (NO_ROUTE, IGNORE)}
        rows = {target: count for target, count in queued}
        names = sorted(counts.keys() | rows.keys())
        return {name: Remaining(links=counts.get(name, 0), jobs=rows.get(name, 0)) for name in names}

    def unfinished(self, name: str) -> list[AlertId]:
        """Return the alerts that something is left to be done for in a target."""
        going, jobs = _going(), schema.delivery_queue
        links = select(going.c.alert_id).where(going.c.target == name)
        rows = self._connection.execute(links.union(select(jobs.c.subject).where(jobs.c.target == name)))
        return sorted(AlertId(alert_id) for (alert_id,) in rows)

    def bind(self, targets: Mapping[str, Joined]) -> None:
        """Note which IRPs these targets are."""
        for name, joined in targets.items():
            self._set(name, irp_url=joined.irp_url, profile=joined.profile)

    def forget(self, name: str) -> None:
        """Remove a target for which nothing is left to be done."""
        self._connection.execute(delete(schema.targets).where(schema.targets.c.name == name))

    def profile(self, name: str) -> KnownProfile:
        """Return what is known of a target's last profile."""
        row = self._row(name)
        return KnownProfile() if row is None else KnownProfile(digest=row.profile_digest, shown=row.profile_shown)

    def note_profile(self, name: str, digest: str, *, shown: bool) -> None:
        """Store a profile's digest, and whether `find` shows the incidents that it creates."""
        self._set(name, profile_digest=digest, profile_shown=shown)

    def watched_until(self, name: str) -> datetime | None:
        """Return up to when a target's list of closed incidents is known, by the IRP's clock."""
        row = self._row(name)
        moment: datetime | None = None if row is None else row.watched_until
        return moment

    def note_watched(self, name: str, until: datetime | None) -> None:
        """Store up to when a target's list of closed incidents is known."""
        self._set(name, watched_until=until)

    def asked_at(self) -> dict[str, datetime]:
        """Return when each target that polls us last asked."""
        table = schema.targets
        rows = self._connection.execute(select(table.c.name, table.c.asked_at).where(table.c.asked_at.is_not(None)))
        return {name: at for name, at in rows}

    def note_asked(self, name: str, at: datetime) -> None:
        """Store when a target asked."""
        self._set(name, asked_at=at)

    def know(self, names: Collection[str]) -> None:
        """Note that there are these targets, though it is not known which IRPs they are."""
        for name in names:
            insert = insert_into(self._connection, schema.targets).values(name=name)
            self._connection.execute(insert.on_conflict_do_nothing(index_elements=["name"]))

    def names(self) -> set[str]:
        """Return the names of the targets that there are."""
        return set(self._connection.execute(select(schema.targets.c.name)).scalars())

    def _row(self, name: str) -> Row[Any] | None:
        return self._connection.execute(select(schema.targets).where(schema.targets.c.name == name)).one_or_none()

    def _set(self, name: str, **values: Any) -> None:
        insert = insert_into(self._connection, schema.targets).values(name=name, **values)
        self._connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=values))


def _going() -> Subquery:
    """Return a query for the links that something is left to be done for; each part by its own index."""
    links, handouts = schema.links.c, schema.handouts.c
    columns = (links.alert_id, links.target)
    unmade = and_(links.incident_id.is_(None), links.offered.is_(None))
    to_do = or_(links.gone.is_(False), unmade)
    is_open = select(*columns).where(schema.OPEN, links.incident_closed.is_(False), to_do)
    held = select(*columns).where(schema.HELD)
    unshown = select(handouts.alert_id, handouts.target).where(to_be_shown())
    return is_open.union(held, unshown).subquery()
