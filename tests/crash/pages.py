"""A house whose KUMA has pages of any size, whose alerts are dated as its own clock says, and an eye on every poll.

Knows nothing of how the program reads: what a poll must show is derived from the watermark and the contract alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import stamina
from at_rest import remember
from lives import born
from mortal import House
from stage import Stage, metric
from stores import Clock

from kuma_sync.app.build import utc_now
from kuma_sync.app.remotes import kuma_endpoint
from kuma_sync.core.errors import RemoteError
from kuma_sync.core.window import Cursor
from kuma_sync.kuma.client import KumaClient
from kuma_sync.sim.comparison import compare
from kuma_sync.sim.kuma_listing import shown_moment
from kuma_sync.sim.values import Json
from kuma_sync.sync.limits import Limits
from kuma_sync.sync.remote.gate import GateClosed
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.transport import RemoteClient

OVERLAP = timedelta(minutes=30)
TIED = 50
"""Alerts that may share the watermark's second and be read with their events at every poll."""


class Pages(House):
    """A house where the size of KUMA's pages, and the cap of our paging, can be chosen for each world."""

    def __init__(self, folder: Path, *, concurrency: int) -> None:
        super().__init__(folder)
        self.stage.configure(poll={"sweep_interval": "1h"}, irp={"concurrency": concurrency})
        self._settings = self.stage.settings()
        self._client = RemoteClient(kuma_endpoint(self._settings.kuma, Limits()), clock=utc_now)
        self.page_cap = 4000

    def paged(self, size: int, *, skew: timedelta = timedelta(), page_cap: int = 4000) -> Stage:
        """Begin a world whose KUMA lives `skew` ahead of us, in pages of this size."""
        stage = self.new_world()
        stage.kuma.clock = Clock(utc_now().replace(microsecond=0) + skew)
        stage.kuma.knobs.page_size = size
        self.page_cap = page_cap
        return stage

    def begin_life(self) -> Runtime:
        """Start the program, told how many pages it may ask for."""
        assert self._remotes is not None
        settings = self._settings
        client = KumaClient(
            client=self._client,
            token=settings.kuma.token,
            api_version=settings.kuma.api_version,
            statuses=settings.kuma.statuses,
            tenants=settings.kuma.tenants,
            with_affected=settings.kuma.with_affected,
            max_alert_size=settings.poll.max_alert_size,
            page_cap=self.page_cap,
        )
        return self.run(born(settings, self.store, replace(self._remotes, kuma=client)))

    def close(self) -> None:
        """Leave nothing open."""
        self.run(self._client.aclose())
        super().close()


@contextmanager
def paging(folder: Path, *, concurrency: int = 3) -> Iterator[Pages]:
    """Open such a house; reads are tried as often as ever, without the waits between."""
    house = Pages(folder, concurrency=concurrency)
    try:
        with stamina.set_testing(True, attempts=3):
            yield house
    finally:
        house.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """How one poll went: `clean` if nothing was in its way."""

    clean: bool
    died: bool = False
    trouble: str = ""


@dataclass(kw_only=True)
class Eye:
    """One program's life after the other on one store, and what every undisturbed poll must have achieved.

    `hidden` are alerts that grew while their lastSeen stood still, and that no poll was obliged to show since.
    """

    house: Pages
    stage: Stage
    runtime: Runtime | None = None
    hidden: set[str] = field(default_factory=set)
    disturbed: bool = False

    @property
    def date(self) -> datetime:
        """Return what KUMA's Date header says."""
        return self.stage.kuma.clock() + timedelta(seconds=self.stage.kuma.knobs.clock_skew)

    def time_passes(self, **by: float) -> None:
        """Move KUMA's clock."""
        clock = self.stage.kuma.clock
        assert isinstance(clock, Clock)
        clock.advance(**by)

    def moment(self, alert: Json) -> datetime:
        """Return the lastSeen that KUMA shows of an alert."""
        return shown_moment(alert, "lastSeen", self.stage.kuma.knobs)

    def grow(self, alert: Json, events: int, *, moves: bool) -> None:
        """Let an alert grow; where its lastSeen stands still, only while that is not left behind the overlap."""
        before = self.moment(alert)
        if not moves and before < self.date - OVERLAP:
            return
        self.stage.kuma.grow(alert["id"], events, move_last_seen=moves)
        if self.moment(alert) == before:
            self.hidden.add(alert["id"])
        else:
            self.hidden.discard(alert["id"])

    def poll(self, *, sweep: bool = False, steps: int | None = None, disturbed: bool = False) -> Polled:
        """Poll once; if nothing was in its way, bring to the IRP what follows, and judge it."""
        runtime = self.runtime = self.runtime or self.house.begin_life()
        kuma, (before, known) = self.stage.kuma, self._memory()
        tied, late = self._tied(before.watermark), self._late(before, known)
        counted, asked, fired = (
            metric(runtime.metrics, "late_alerts_total"),
            len(kuma.requests),
            kuma.faults.fired.total(),
        )
        self.disturbed = disturbed
        swept, trouble = False, ""

        async def works() -> None:
            nonlocal swept, trouble
            try:
                round_ = await runtime.poller.poll_once(sweep=sweep)
                swept, trouble = bool(round_.sweep), round_.incomplete
            except (RemoteError, GateClosed) as error:
                trouble = str(error)

        died = self.house.live(works, steps=steps)
        clean = not (died or self.disturbed or kuma.faults.fired.total() > fired)
        self._bounded(len(kuma.requests) - asked, clean=clean)
        if died:
            self.runtime = None
        if not clean:
            return Polled(clean=False, died=died, trouble=trouble)
        assert trouble == ""
        self._tells_the_time(runtime)
        assert metric(runtime.metrics, "late_alerts_total") - counted == len(late), f"late: {late}"
        if self._delivered(runtime):
            self._shown(before, known, swept=swept, tied=tied)
        return Polled(clean=True)

    def comes_to_rest(self) -> None:
        """After all that happened: everything KUMA has is there, once, as KUMA has it, and nothing is done twice."""
        kuma, irp = self.stage.kuma, self.stage.irp
        kuma.faults.clear()
        kuma.knobs.after_page = None
        for alert in kuma.alerts.values():
            if alert["status"] == "assigned":
                kuma.unescalate(alert["id"])
        self.poll()
        last = max([self.date, *(self.moment(alert) for alert in kuma.alerts.values())])
        self.time_passes(seconds=(last - self.date + OVERLAP).total_seconds() + 60)
        self.poll()
        self.poll(sweep=True)
        written = len(irp.writes)
        self.poll(sweep=True)
        assert len(irp.writes) == written, "it goes on writing at rest"
        assert self.hidden == set()
        assert sorted(one.external_id for one in irp.incidents.values()) == sorted(
            f"kuma:kuma:{id_}" for id_ in kuma.alerts
        )
        assert compare(kuma, irp).agrees, "\n".join(compare(kuma, irp).lines())

    def cursor(self) -> Cursor:
        """Return how far the store has come."""
        return self._memory()[0]

    def known(self) -> set[str]:
        """Name the alerts that the store knows."""
        return self._memory()[1]

    def _memory(self) -> tuple[Cursor, set[str]]:
        with self.house.store.reading() as tx:
            return tx.cursor.read(), {str(id_) for id_ in tx.links.all_ids()}

    def _tied(self, watermark: datetime | None) -> int:
        if watermark is None:
            return 0
        with self.house.store.reading() as tx:
            stored = tx.alerts.tied(watermark)
        shown = [self.moment(alert) for alert in self.stage.kuma.alerts.values()]
        return max(stored, sum(watermark <= when < watermark + timedelta(seconds=1) for when in shown))

    def _late(self, before: Cursor, known: set[str]) -> set[str]:
        """Name the alerts that were published behind the watermark since the last poll, within the overlap."""
        if before.watermark is None:
            return set()
        ours = {**self._new(), **self._taken(before, known)}
        unknown = {id_: self.moment(alert) for id_, alert in ours.items() if id_ not in known}
        return {id_ for id_, when in unknown.items() if before.watermark - OVERLAP <= when < before.watermark}

    def _new(self) -> dict[str, Json]:
        return {id_: alert for id_, alert in self.stage.kuma.alerts.items() if alert["status"] == "new"}

    def _taken(self, before: Cursor, known: set[str]) -> dict[str, Json]:
        """Return the alerts that analysts work on: those read before, and those that appeared after the first read."""
        knobs, first_read = self.stage.kuma.knobs, before.first_read
        return {
            id_: alert
            for id_, alert in self.stage.kuma.alerts.items()
            if alert["status"] in ("assigned", "escalated")
            and (id_ in known or (first_read is not None and shown_moment(alert, "firstSeen", knobs) >= first_read))
        }

    def _bounded(self, requests: int, *, clean: bool) -> None:
        number, size = len(self.stage.kuma.alerts), self.stage.kuma.knobs.page_size
        limit = 3 * (number // size + 2) + 3 * (number // TIED + 1) * (TIED // size + 2)
        limit = limit if clean else 3 * limit + 6 * number
        assert requests <= limit, f"{requests} requests in one poll of {number} alerts in pages of {size}"

    def _tells_the_time(self, runtime: Runtime) -> None:
        skew = (self.date - utc_now()).total_seconds()
        assert abs(metric(runtime.metrics, "clock_skew_seconds") - skew) < 5

    def _delivered(self, runtime: Runtime) -> bool:
        """Bring to the IRP what is due; tell whether KUMA was undisturbed meanwhile."""
        fired = self.stage.kuma.faults.fired.total()

        async def deliver() -> bool:
            await runtime.targets["irp"].deliveries.drain()
            return not remember(self.house.store).jobs

        for _attempt in range(60):
            if self.house.run(deliver()):
                return self.stage.kuma.faults.fired.total() == fired
        raise AssertionError("deliveries do not come to rest")

    def _shown(self, before: Cursor, known: set[str], *, swept: bool, tied: int) -> None:
        """Judge what a poll without trouble owes, by the watermark it started from and what it knew."""
        after, known_now = self._memory()
        mark, new = before.watermark, {id_: self.moment(alert) for id_, alert in self._new().items()}
        self._advanced(after.watermark, new)
        owed = {id_ for id_, when in new.items() if swept or mark is None or when >= mark - OVERLAP}
        taken = {id_: self.moment(alert) for id_, alert in self._taken(before, known).items()}
        since = before.first_read if mark is None else mark - OVERLAP
        owed |= {
            id_ for id_, when in taken.items() if (swept and id_ in known) or (since is not None and when >= since)
        }
        whole = {id_ for id_, when in new.items() if mark is None or (when >= mark and tied <= TIED)}
        left = max(self.date, after.watermark or self.date) - OVERLAP
        whole |= {id_ for id_ in self.hidden & new.keys() if new[id_] < left}
        gates = compare(self.stage.kuma, self.stage.irp)
        assert gates.doubled == []
        assert owed - known_now == set(), "overlooked"
        assert {id_ for id_ in owed if not self.stage.incidents(id_)} == set(), "not delivered"
        differing = dict(line.split(": ", 1) for line in gates.differing)
        for id_ in owed | whole:
            said = differing.get(id_, "")
            excused = id_ in self.hidden - whole and said.endswith("events missing") and ";" not in said
            assert not said or excused, f"{id_}: {said}"
        self.hidden -= whole

    def _advanced(self, watermark: datetime | None, new: dict[str, datetime]) -> None:
        """See that the watermark came as far as what was shown, and no further than KUMA's clock."""
        past = [when for when in new.values() if when <= self.date]
        if watermark is None:
            assert new == {}, "there is no watermark"
            return
        assert watermark <= self.date, "the watermark ran ahead of KUMA's clock"
        assert watermark >= max(past, default=watermark), "the watermark lags"
