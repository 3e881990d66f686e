"""`compare`: both sides read and held against each other, alert by alert; nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial

from kuma_sync.app.gated_remotes import GatedRemotes, open_gated
from kuma_sync.app.identity import routing_of
from kuma_sync.app.processes import running
from kuma_sync.app.remotes import Target
from kuma_sync.core.agreement import Carried, Evidence, Jobs, Judged, Verdict, judge
from kuma_sync.core.alert import Alert, AlertId
from kuma_sync.core.errors import KumaSyncError, Permanent, RemoteError, Transient
from kuma_sync.core.incident import Found, external_key
from kuma_sync.core.window import Query, ReadKind, by_id
from kuma_sync.kuma.client import End, PageEnd
from kuma_sync.settings import Settings
from kuma_sync.store import Store, Tx
from kuma_sync.store.jobs import JobState
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.remote.gate import GateClosed
from kuma_sync.sync.remote.gates import Asking

AT_ONCE = 200
"""Alerts that are in memory at once."""

ATTEMPTS = 3
LONGEST_PATIENCE = timedelta(minutes=2)
A_WHILE = timedelta(seconds=5)
"""What a daemon may take beyond its intervals to bring the sides together."""


UNASKED = "its incident could not be asked for"


class NotComparable(KumaSyncError):
    """The sides cannot be compared now."""


@dataclass(slots=True, kw_only=True)
class Comparison:
    """The result. `agreeing` counts alerts; `explained` counts those that need not agree, by the store's reason.

    `notes` say what could not be compared at all, `unasked` of which alerts the IRP refused to show the incidents, and
    `away` why a target, by its name, could not be asked any further.
    """

    listed: int = 0
    asked_by_id: int = 0
    incidents: int = 0
    agreeing: int = 0
    lost: list[Judged] = field(default_factory=list)
    doubled: list[Judged] = field(default_factory=list)
    differing: list[Judged] = field(default_factory=list)
    half_closed: list[Judged] = field(default_factory=list)
    explained: dict[str, int] = field(default_factory=dict)
    unasked: list[Judged] = field(default_factory=list)
    away: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Tell whether nothing is lost, doubled, different or half closed, and all could be asked for."""
        return not self.disagrees and self.complete

    @property
    def disagrees(self) -> bool:
        """Tell whether something is lost, doubled, different or half closed."""
        return bool(self.lost or self.doubled or self.differing or self.half_closed)

    @property
    def complete(self) -> bool:
        """Tell whether all could be asked for."""
        return not (self.unasked or self.away)

    def explain(self, why: str, count: int = 1) -> None:
        """Count alerts that need not agree."""
        self.explained[why] = self.explained.get(why, 0) + count

    def take(self, judged: Judged) -> None:
        """Count one alert."""
        lists = {
            Verdict.LOST: self.lost,
            Verdict.DOUBLED: self.doubled,
            Verdict.DIFFERING: self.differing,
            Verdict.HALF_CLOSED: self.half_closed,
        }
        self.incidents += judged.found
        if judged.verdict is Verdict.AGREES:
            self.agreeing += 1
        elif judged.verdict is Verdict.EXPLAINED:
            self.explain(judged.why)
        else:
            lists[judged.verdict].append(judged)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is compared: one target or all; with `closed` also what is closed on both sides by the store's word."""

    target: str | None = None
    closed: bool = False


async def compare(
    settings: Settings, store: Store, asked: Asked, *, told: Callable[[str], None], limits: Limits | None = None
) -> Comparison:
    """Compare both sides. Raise ConfigError, StoreError, RemoteError, GateClosed or NotComparable."""
    limits = limits or Limits()
    async with AsyncExitStack() as stack:
        gated = await open_gated(settings, store, limits, stack)
        return await _Comparing(settings, store, asked, gated).run(told)


class _Comparing:
    """One comparison: every alert is judged once, and what looks wrong once more a while later."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        asked: Asked,
        gated: GatedRemotes,
    ) -> None:
        self._settings = settings
        self._store = store
        self._asked = asked
        self._remotes = gated.remotes
        self._gated = gated
        self._gates = gated.gates
        self._routing = routing_of(settings)
        self._result = Comparison(notes=[*self._notes()])

    async def run(self, told: Callable[[str], None]) -> Comparison:
        """Compare."""
        found, seen, suspects = self._result, set[AlertId](), list[AlertId]()

        async def judged(alerts: Mapping[AlertId, Alert | None]) -> None:
            for one in await self._judged(alerts):
                if one.wrong:
                    suspects.append(one.alert_id)
                else:
                    found.take(one)

        told("reading KUMA")
        async for listed in self._listed():
            alerts: dict[AlertId, Alert | None] = {alert.id: alert for alert in listed if alert.id not in seen}
            seen |= alerts.keys()
            found.listed += len(alerts)
            await judged(alerts)
            told(f"{found.listed} alerts compared, {len(suspects)} to be looked at again")
        with self._store.reading() as tx:
            known = tx.links.all_ids() if self._asked.closed else tx.links.unsettled()
        rest = [alert_id for alert_id in known if alert_id not in seen]
        for start in range(0, len(rest), AT_ONCE):
            some = rest[start : start + AT_ONCE]
            await judged(await self._shown(some))
            found.asked_by_id += len(some)
            told(f"{found.asked_by_id} of {len(rest)} asked for by id, {len(suspects)} to be looked at again")
        await self._look_again(suspects, told)
        return found

    def _notes(self) -> Iterable[str]:
        for name, problem in self._remotes.broken.items():
            yield f"{name} is not compared: {problem}"
        for name, target in self._remotes.targets.items():
            if self._asked.target not in (None, name):
                continue
            if target.irp is None:
                yield f"{name} polls us: its incidents cannot be asked for, so only what was put out for it is compared"
            elif not target.irp.can("find"):
                yield f"{name}: profile {target.profile.name} has no find, so incidents are compared by our store alone"
            elif not _shows_closed(target):
                yield f"{name}: its find does not tell what is closed (closed_when), so closings are those of our store"

    async def _listed(self) -> AsyncIterator[list[Alert]]:
        """Yield what KUMA lists in the statuses asked for, page by page; raise NotComparable where that does not end.

        A page is read to its end first: KUMA must not wait while its alerts are compared.
        """
        page, end = list[Alert](), End.MORE
        async with aclosing(self._read(Query(kind=ReadKind.SWEEP))) as items:
            async for item in items:
                if isinstance(item, Alert):
                    page.append(item)
                    continue
                yield page
                page, end = [], item.end
        if not end.complete:
            raise NotComparable(f"KUMA's list of alerts did not come to its end ({end.value})")

    async def _read(self, query: Query) -> AsyncGenerator[Alert | PageEnd, None]:
        async with aclosing(self._gated.listed(query)) as items:
            async for item in items:
                if item is None:
                    self._result.explain("no alert, parked as a piece")
                else:
                    yield item

    async def _shown(self, ids: Sequence[AlertId]) -> dict[AlertId, Alert | None]:
        """Ask KUMA for alerts by id; None for one that it has no more."""
        shown: dict[AlertId, Alert | None] = dict.fromkeys(ids)
        for query in by_id(ReadKind.STATUS, ids):
            async with aclosing(self._read(query)) as items:
                async for item in items:
                    if isinstance(item, Alert) and item.id in shown:
                        shown[item.id] = item
        return shown

    async def _judged(self, alerts: Mapping[AlertId, Alert | None]) -> list[Judged]:
        with self._store.reading() as tx:
            known = self._known(alerts, tx)
        ours = [one for one in known if self._asked.target in (None, one.target)]
        if others := len(known) - len(ours):
            self._result.explain("goes to another target", others)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(one)) for one in ours]
        return [task.result() for task in tasks]

    def _known(self, alerts: Mapping[AlertId, Alert | None], tx: Tx) -> list[Evidence]:
        links, snapshots = tx.links.many(alerts.keys()), tx.alerts.snapshots(alerts.keys())
        deliveries, closes = tx.delivery.states(alerts.keys()), tx.closes.states(alerts.keys())
        known = []
        for alert_id, alert in alerts.items():
            states = {*deliveries.get(alert_id, ()), *closes.get(alert_id, ())}
            link = links.get(alert_id)
            target = link.target if link is not None else self._routing.target_of(alert) if alert is not None else ""
            jobs = Jobs(
                parked=JobState.PARKED in states,
                held=JobState.HELD in states,
                waits=not states.isdisjoint((JobState.PENDING, JobState.RUNNING)),
            )
            snapshot = snapshots.get(alert_id)
            known.append(
                Evidence(alert_id=alert_id, alert=alert, snapshot=snapshot, link=link, jobs=jobs, target=target)
            )
        return known

    async def _one(self, known: Evidence) -> Judged:
        target = self._remotes.targets.get(known.target)
        shown = target is not None and _shows_closed(target)
        may_close = target is not None and target.capabilities.may_close
        carried = Carried(to_kuma=self._settings.close.to_kuma, to_irp=may_close, find_shows_closed=shown)
        if target is None or target.irp is None or not target.irp.can("find"):
            return judge(known, carried)
        unknown = Judged(alert_id=known.alert_id, verdict=Verdict.EXPLAINED, why=UNASKED, target=known.target)
        if known.target in self._result.away:
            return unknown
        try:
            found = await self._found(known, target)
        except Permanent as error:
            self._result.unasked.append(replace(unknown, why=error.summary))
            return unknown
        except (RemoteError, GateClosed) as error:
            # One target's trouble must not keep the others from being compared.
            self._result.away.setdefault(known.target, error.summary)
            return unknown
        return judge(replace(known, found=found), carried)

    async def _found(self, known: Evidence, target: Target) -> list[Found]:
        """Ask the IRP; what fails for a moment is asked again."""
        assert target.irp is not None  # noqa: S101  # the caller asked
        key = external_key(self._settings.kuma.instance, known.alert_id)
        asking = Asking(kind="find", subject=known.alert_id, nowhere=lambda _error: "", reads=True)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._gates[target.name].ask(asking, partial(target.irp.find, key))
            except Transient as error:
                if attempt == ATTEMPTS or error.retry_after is not None:
                    raise
            await asyncio.sleep(self._settings.retry.base.total_seconds() * attempt)
        raise AssertionError

    async def _look_again(self, suspects: Collection[AlertId], told: Callable[[str], None]) -> None:
        """Judge once more what looked wrong: a daemon may have been about to bring the sides together."""
        if not suspects:
            return
        with self._store.reading() as tx:
            works = running(self._store, tx).daemon
        if works:
            wait = min(self._patience(), LONGEST_PATIENCE).total_seconds()
            told(f"{len(suspects)} do not agree; in {wait:.0f} s they are looked at again")
            await asyncio.sleep(wait)
        again = sorted(suspects)
        for start in range(0, len(again), AT_ONCE):
            for one in await self._judged(await self._shown(again[start : start + AT_ONCE])):
                self._result.take(one)
            told(f"{min(start + AT_ONCE, len(again))} of {len(again)} looked at again")

    def _patience(self) -> timedelta:
        """Return within what time a daemon has seen and carried a change: it polls KUMA and watches the IRP."""
        return max(self._settings.poll.interval, self._settings.close.watch_interval) + A_WHILE


def _shows_closed(target: Target) -> bool:
    find, closed = target.profile.find, target.profile.list_closed
    return bool((find and find.closed_when) or (closed and closed.closed_when))
