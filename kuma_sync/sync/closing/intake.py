"""Where closings are taken in, from the IRP and from an operator, and where callers wait for KUMA's answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial

from kuma_sync.core import steps, transitions
from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, KumaAnswer
from kuma_sync.core.errors import NotTheirs, StoreUnavailable, TooManyWait
from kuma_sync.core.incident import Incident, Origin
from kuma_sync.core.link import Link, Offered
from kuma_sync.core.routing import IGNORE, NO_ROUTE
from kuma_sync.store import Lane, Put, Store, Tx
from kuma_sync.store.locks import lock
from kuma_sync.sync.closing.requests import put_order


class Waiters:
    """Who waits for which alert: `most` at once."""

    def __init__(self, *, most: int) -> None:
        self.most = most
        self._waiting: defaultdict[str, list[asyncio.Future[KumaAnswer]]] = defaultdict(list)
        self._count = 0
        self._somebody = asyncio.Event()

    def waits(self, alert_id: str) -> bool:
        """Tell whether somebody waits for this alert's closing."""
        return any(not future.done() for future in self._waiting.get(alert_id, ()))

    def answer(self, alert_id: str, answer: KumaAnswer) -> None:
        """Hand the answer to all who wait."""
        for future in self._waiting.get(alert_id, ()):
            if not future.done():
                future.set_result(answer)

    async def somebody(self) -> list[str]:
        """Return which alerts are waited for, as soon as there is one."""
        await self._somebody.wait()
        return list(self._waiting)

    @contextmanager
    def waiting(self, alert_id: str) -> Iterator[asyncio.Future[KumaAnswer]]:
        """Wait for an alert's closing while the block runs; raise TooManyWait."""
        if self._count >= self.most:
            raise TooManyWait(f"{self.most} callers wait already")
        future: asyncio.Future[KumaAnswer] = asyncio.get_running_loop().create_future()
        self._waiting[alert_id].append(future)
        self._count += 1
        self._somebody.set()
        try:
            yield future
        finally:
            with contextlib.suppress(ValueError):
                self._waiting[alert_id].remove(future)
            self._count -= 1
            if not self._waiting[alert_id]:
                del self._waiting[alert_id]
            if not self._waiting:
                self._somebody.clear()


def accept(tx: Tx, request: CloseRequest, *, to_kuma: bool = True, to_irp: bool = True) -> bool:
    """Store a closing from the IRP or an operator; false where nothing is left to be closed.

    A closing of the IRP tells that the incident is closed, whether or not its alert is. An operator's goes to both
    sides, as far as they are open. Raise NotTheirs where the alert belongs to another target than the caller's.
    """
    link = lock(tx, links=[request.alert_id]).links.get(request.alert_id)
    if link is not None and request.target not in (None, link.target) and link.target not in (NO_ROUTE, IGNORE):
        raise NotTheirs(f"alert {request.alert_id} belongs to another target")
    if link is not None and request.origin is Origin.IRP:
        tx.handouts.end(link.alert_id)
    noted = None if link is None else _noted(link, request)
    in_kuma = to_kuma and not (noted is not None and noted.alert_closed)
    in_irp = to_irp and noted is not None and noted.target != NO_ROUTE and _follows(noted, request)
    if request.origin is Origin.OPERATOR and not (in_kuma or in_irp):
        return False
    if noted is not None and noted != link:
        tx.links.save(noted, now=tx.now)
    if in_irp and noted is not None:
        tx.delivery.put([Put(subject=request.alert_id, lane=Lane.CLOSE, target=noted.target)])
    if in_kuma:
        put_order(tx, request)
        tx.closes.want(request.alert_id, f"ordered by {request.by or request.origin.value} as well")
    elif in_irp or noted != link:
        action = "close_ordered" if request.origin is Origin.OPERATOR else "incident_closed"
        reason = request.reason.value if request.reason else ""
        tx.audit.note(request.by or request.origin.value, action, request.alert_id, f"{reason}; not for KUMA")
    return in_kuma or in_irp


def _noted(link: Link, request: CloseRequest) -> Link:
    reason = request.reason.value if request.reason else ""
    if request.origin is Origin.OPERATOR:
        return transitions.close_ordered(link, reason, request.comment)
    if isinstance(link.live, Offered) and link.incident is None and request.incident:
        link = transitions.moved(link, Incident(id=request.incident))
    if not link.made:
        return transitions.closing_named(link, reason, request.comment) if request.incident else link
    return transitions.incident_closed(link, request.origin, reason, request.comment)


def _follows(link: Link, request: CloseRequest) -> bool:
    """Tell whether the incident is to be closed because of this."""
    over = link.incident_closed or link.given_up
    return request.origin is Origin.OPERATOR and not over and steps.to_be_closed(link)


class ClosingIntake:
    """Takes closings from the IRP, once the store is ready (`open`); waits for KUMA's final answer where asked to.

    `every` is the pace of looks at what another copy of the daemon closed meanwhile.
    """

    def __init__(self, *, store: Store, waiters: Waiters, ring: Callable[[], None], every: timedelta) -> None:
        self._store = store
        self._waiters = waiters
        self._ring = ring
        self._every = every
        self.open = False

    async def take(self, request: CloseRequest, wait: float | None) -> KumaAnswer | None:
        """Store a closing. Without `wait` the answer is 204; else KUMA's own, or None when it did not come in time.

        Raise StoreUnavailable or TooManyWait when nothing was stored, NotTheirs where it belongs to another target.
        """
        if not self.open:
            raise StoreUnavailable("the store is not ready yet")
        request = await self._as_stored(request)
        if wait is None:
            await self._store_order(request)
            return KumaAnswer(status=204)
        with self._waiters.waiting(request.alert_id) as answer:
            if not await self._store_order(request):
                return KumaAnswer(status=204)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    return await answer
        return None

    async def _as_stored(self, request: CloseRequest) -> CloseRequest:
        """Name the alert as it is stored, whatever the id's spelling; KUMA decides about one that is unknown here."""
        stored = await self._store.read(lambda tx: tx.links.stored_as([request.alert_id]))
        return replace(request, alert_id=stored.get(request.alert_id, request.alert_id))

    async def _store_order(self, request: CloseRequest) -> bool:
        """Store a closing; false where nothing is left to be closed."""
        fresh = await self._store.write(lambda tx: accept(tx, request))
        self._ring()
        return fresh

    async def look_out(self) -> None:
        """Answer, for ever, those who wait for closings that another copy of the daemon does.

        One question for all of them; a local file is ours alone.
        """
        while not self._store.local:
            ids = [AlertId(one) for one in await self._waiters.somebody()]
            with contextlib.suppress(StoreUnavailable):
                links = await self._store.read(partial(_links, ids))
                for alert_id, link in links.items():
                    if link.alert_closed:
                        self._waiters.answer(alert_id, KumaAnswer(status=204))
            await asyncio.sleep(self._every.total_seconds())


def _links(ids: Sequence[AlertId], tx: Tx) -> dict[AlertId, Link]:
    return tx.links.many(ids)
