"""Watching the IRP: which incidents were closed there, and whether it is there at all.

Must not: close anything; it only queues closings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import structlog

from kuma_sync.core import delivery
from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import RemoteError
from kuma_sync.core.incident import Link, Origin, Resolution, external_key
from kuma_sync.core.moments import before
from kuma_sync.core.plan import Brake, Plan, check
from kuma_sync.core.window import Cursor, next_watermark
from kuma_sync.daemon.closings import Closings
from kuma_sync.daemon.orders import put_order
from kuma_sync.daemon.points import passed
from kuma_sync.daemon.side import Side, SideStopped
from kuma_sync.daemon.turn import ReadersTurn
from kuma_sync.irp.client import IrpClient
from kuma_sync.store import PassRecord, Store, Tx

log = structlog.get_logger(__name__)

OVERLAP = timedelta(minutes=10)
FIRST_LOOK_BACK = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """How watching goes by: this KUMA's name in keys, the brake, and whether the IRP is asked for closed incidents.

    `moved` is called at every page: a list that takes long to read is no loop that stands still.
    """

    instance: str
    brake: Brake
    clock: Callable[[], datetime]
    on: bool
    moved: Callable[[], None]


class Watch:
    """Asks the IRP for closed incidents, one round at a time."""

    def __init__(
        self, *, store: Store, irp: IrpClient, side: Side, turns: ReadersTurn, closings: Closings, watched: Watched
    ) -> None:
        self._store = store
        self._irp = irp
        self._side = side
        self._turns = turns
        self._closings = closings
        self._watched = watched

    async def watch_once(self) -> int:
        """Ask once; return how many closings were found. Where watching is off, or another
        copy does it, only look whether the IRP is there.

        Raise SideStopped, RemoteError, ClaimLost or StoreUnavailable; then nothing was concluded. What the IRP failed
        at is noted as a round of its own: whoever looks at the last one must not take an older one for it.
        """
        turn = await self._turns.take() if self._watched.on else None
        if turn is None:
            if self._irp.can("probe"):
                async with self._side.admit(paced=True, reads=True):
                    await self._irp.probe()
            return 0
        started = self._watched.clock()
        async with self._store.read() as tx:
            cursor = await tx.records.cursor()
        try:
            resolutions, server_now = await self._listed(since(cursor))
        except (RemoteError, SideStopped) as error:
            async with self._store.begin() as tx:
                await tx.records.note_pass(self._record(started, error=error.summary))
            raise
        newest = max((item.updated for item in resolutions if item.updated is not None), default=None)
        until = next_watermark(cursor.watched_until, newest, server_now)
        async with self._store.begin() as tx:
            await tx.lease.assure(turn)
            found = await self._conclude(tx, resolutions)
            if until != cursor.watched_until:
                await tx.records.move_cursor(watched_until=until)
            await tx.records.note_pass(self._record(started, seen=len(resolutions), left=found))
        passed("watch_committed")
        return found

    def _record(self, started: datetime, *, seen: int = 0, left: int = 0, error: str = "") -> PassRecord:
        seconds = max((self._watched.clock() - started).total_seconds(), 0.0)
        return PassRecord(
            kind="watch",
            started_at=started,
            seconds=seconds,
            complete=not error,
            seen=seen,
            left=left,
            error=error,
        )

    async def _listed(self, moment: datetime) -> tuple[list[Resolution], datetime | None]:
        """Read the list to its end; its server's clock is that of the first page, the safe side."""
        resolutions: list[Resolution] = []
        server_now: datetime | None = None
        async with self._side.admit(paced=True, reads=True):
            async for page in self._irp.list_closed(moment):
                self._watched.moved()
                resolutions += page.items
                server_now = server_now or page.server_date
                if not page.last:
                    await self._side.turn_page()
        return resolutions, server_now

    async def _conclude(self, tx: Tx, resolutions: Sequence[Resolution]) -> int:
        """Queue the round's closings, all in one transaction, held where the brake says so."""
        news = await self._news(tx, resolutions)
        links = await tx.links.many(news, lock=True)
        # Whose alert is closed already was closed after it, perhaps by us without an answer: that is carried nowhere.
        carried = [alert_id for alert_id in news if self._closings.to_kuma and not links[alert_id].alert_closed]
        open_links = await tx.links.open_count()
        plan = check(Plan(closings=carried), self._watched.brake, open_links=open_links)
        if plan.held_closings:
            log.error("brake_holds_closings", towards="kuma", held=len(plan.held_closings), open=open_links)
        for alert_id, item in news.items():
            request = None
            if alert_id in carried:
                request = self._closings.by_resolution(alert_id, item.resolution, incident=item.incident_id, by="watch")
            reason = request.reason.value if request and request.reason else ""
            become = partial(delivery.incident_closed, origin=Origin.IRP, reason=reason)
            await tx.links.change(alert_id, become, now=tx.now)
            await tx.records.note("irp", "incident_closed", alert_id, item.resolution)
            if request is not None:
                await put_order(tx, request, held=alert_id in plan.held_closings)
            log.info("incident_closed_in_irp", alert_id=alert_id, resolution=item.resolution)
        return len(news)

    async def _news(self, tx: Tx, resolutions: Sequence[Resolution]) -> dict[AlertId, Resolution]:
        """Keep the closings of incidents that are ours and not known to be closed."""
        by_incident = await tx.links.by_incident([item.incident_id for item in resolutions if item.incident_id])
        prefix = external_key(self._watched.instance, AlertId(""))
        owners: dict[AlertId, Resolution] = {}
        for item in resolutions:
            owner = by_incident.get(item.incident_id)
            if owner is None and item.key.startswith(prefix) and not item.incident_id:
                owner = AlertId(item.key.removeprefix(prefix))
            if owner is not None:
                owners[owner] = item
        links = await tx.links.many(owners)
        return {alert_id: item for alert_id, item in owners.items() if _is_news(links.get(alert_id))}


def since(cursor: Cursor) -> datetime:
    """Return from when closed incidents are asked for."""
    if cursor.watched_until is None:
        return cursor.born_at - FIRST_LOOK_BACK
    return before(cursor.watched_until, OVERLAP)


def _is_news(link: Link | None) -> bool:
    return link is not None and link.incident is not None and not link.incident_closed and not link.dropped
