"""Both sides change as they like, answers are lost, the program dies between any two steps: at rest all is true.

The real program on a real store speaks to both simulators through real sockets; only time is quick.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from copy import deepcopy
from datetime import timedelta

import pytest
from at_rest import Memory, Witness, judge_rest, remember
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from mortal import House, housed
from owned import AUDIT, COMMENT, MATCH, UNTIL_EDITED, owning

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, Reason
from kuma_sync.core.errors import RemoteError
from kuma_sync.core.incident import Origin
from kuma_sync.sim.irp import Incident
from kuma_sync.sim.values import Json
from kuma_sync.sync.closing.intake import accept
from kuma_sync.sync.remote.gate import GateClosed
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once

RESOLUTIONS = {"False positive": "incorrect data", "Resolved": "responded"}
ANY = st.integers(0, 5)
STEPS = st.one_of(st.none(), st.integers(0, 12), st.integers(0, 40))
MISHAPS = {
    "listing": ("kuma", "GET", "/alerts"),
    "close alert": ("kuma", "POST", "/close$"),
    "create": ("irp", "POST", "/api/v1/incidents$"),
    "find": ("irp", "GET", "externalId="),
    "update": ("irp", "PATCH", ""),
    "add events": ("irp", "POST", "/events$"),
    "close incident": ("irp", "POST", "/close$"),
    "get": ("irp", "GET", "/api/v1/incidents/[^?]*$"),
    "comment": ("irp", "POST", "/comments$"),
    "closed ones": ("irp", "GET", "status=closed"),
}
OWNED = owning(owned=UNTIL_EDITED, match=MATCH, comment=COMMENT, audit=AUDIT)
"""A profile that leaves to analysts what they edited, writes under an ETag, and tells what it did."""

_houses: dict[str, House] = {}


@pytest.fixture(scope="module", autouse=True)
def _house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One house for all worlds of a kind: what is costly to make is made once."""
    folder = tmp_path_factory.mktemp("houses")
    for name in ("plain", "owned"):
        (folder / name).mkdir()
    with housed(folder / "plain") as plain, housed(folder / "owned", OWNED) as owned:
        _houses.update(plain=plain, owned=owned)
        yield
        _houses.clear()


class BothSides(RuleBasedStateMachine):
    """KUMA, the IRP, and the program between them."""

    kind = "plain"

    def __init__(self) -> None:
        super().__init__()
        self.house = _houses[self.kind]
        self.stage = self.house.new_world()
        self.kuma, self.irp = self.stage.kuma, self.stage.irp
        self.witness = Witness()
        self.vanished: list[Json] = []
        self.runtime: Runtime | None = None

    @initialize(events=st.lists(st.integers(1, 5), min_size=2, max_size=4), delivered=st.booleans())
    def a_day_begins(self, events: list[int], delivered: bool) -> None:
        """There is something to work on, and perhaps it was worked on yesterday."""
        for number in events:
            self.kuma.raise_alert(events=number)
        if delivered:
            self._works(once, None)

    # KUMA changes

    @rule(events=st.integers(1, 5), age=st.sampled_from([0, 60, 1500]), like=st.one_of(st.none(), ANY))
    def an_alert_appears(self, events: int, age: int, like: int | None) -> None:
        """A rule fires, perhaps published late; perhaps an alert of the same name as another."""
        name = None if like is None or not self.kuma.alerts else self._alert(like)["name"]
        if len(self.kuma.alerts) < 8:
            self.kuma.raise_alert(events=events, name=name, seen=self.kuma.clock() - timedelta(seconds=age))

    @rule(which=ANY, events=st.integers(1, 5), moves=st.booleans())
    def an_alert_grows(self, which: int, events: int, moves: bool) -> None:
        if alert := self._alert(which, "new", "assigned"):
            self.kuma.grow(alert["id"], events, move_last_seen=moves)

    @rule(which=ANY, priority=st.sampled_from(["low", "medium", "high", "critical"]))
    def an_alert_is_edited(self, which: int, priority: str) -> None:
        if alert := self._alert(which, "new", "assigned"):
            self.kuma.edit(alert["id"], priority=priority)

    @rule(which=ANY)
    def an_alert_is_assigned(self, which: int) -> None:
        if alert := self._alert(which, "new"):
            self.kuma.assign(alert["id"])

    @rule(which=ANY)
    def an_alert_comes_back_to_new(self, which: int) -> None:
        if alert := self._alert(which, "assigned"):
            self.kuma.unescalate(alert["id"])

    @rule(which=ANY, reason=st.sampled_from(list(Reason)))
    def an_alert_is_closed_in_kuma(self, which: int, reason: Reason) -> None:
        if alert := self._alert(which, "new", "assigned"):
            self.kuma.close(alert["id"], reason.value)

    @rule(which=ANY)
    def an_alert_vanishes(self, which: int) -> None:
        if alert := self._alert(which):
            self.vanished.append(deepcopy(alert))
            self.witness.vanished.add(alert["id"])
            self.kuma.delete(alert["id"])

    @precondition(lambda self: self.vanished)
    @rule()
    def a_vanished_alert_is_there_again(self) -> None:
        self.kuma.load([self.vanished.pop()])

    @rule(minutes=st.sampled_from([1, 31]))
    def time_passes(self, minutes: int) -> None:
        self.kuma.clock.advance(minutes=minutes)  # type: ignore[attr-defined]  # the tests' own clock

    # The IRP changes

    @rule(which=ANY)
    def an_analyst_edits_an_incident(self, which: int) -> None:
        if incident := self._incident(which):
            self.witness.titles[incident.id] = f"title by hand {len(incident.history)}"
            self.irp.analyst_edit(incident.id, title=self.witness.titles[incident.id])

    @rule(which=ANY, resolution=st.sampled_from(list(RESOLUTIONS)), door=st.booleans())
    def an_analyst_closes_an_incident(self, which: int, resolution: str, door: bool) -> None:
        """The IRP tells through our door, or waits to be asked."""
        incident = self._incident(which, "open")
        if incident is None:
            return
        alert_id = incident.external_id.rpartition(":")[2]
        self.irp.analyst_close(incident.id, resolution)
        self._too_late(self.kuma.alerts.get(alert_id), incident)
        self.witness.reasons.setdefault(alert_id, set()).add(RESOLUTIONS[resolution])
        if door:
            self._ordered(alert_id, RESOLUTIONS[resolution], Origin.IRP)

    @rule(which=ANY)
    def an_analyst_reopens_an_incident(self, which: int) -> None:
        if incident := self._incident(which, "closed"):
            self.irp.reopen(incident.id)

    @rule(which=ANY, reason=st.sampled_from(list(Reason)))
    def an_operator_closes_an_alert(self, which: int, reason: Reason) -> None:
        known = sorted(self.witness.recorded)
        if known:
            self._ordered(known[which % len(known)], reason.value, Origin.OPERATOR)

    # The program works, on a bad day

    @rule(what=st.sampled_from(list(MISHAPS)), how=st.sampled_from(["reset_before", "reset_after", "status"]))
    def an_answer_will_be_lost(self, what: str, how: str) -> None:
        remote, method, match = MISHAPS[what]
        faults = self.kuma.faults if remote == "kuma" else self.irp.faults
        faults.add(how, method=method, match=match, times=1, **({"code": 500} if how == "status" else {}))

    @rule(steps=STEPS)
    def it_makes_a_complete_pass(self, steps: int | None) -> None:
        self._works(once, steps)

    @rule(steps=STEPS)
    def it_polls(self, steps: int | None) -> None:
        self._works(lambda runtime: runtime.poller.poll_once(), steps)

    @rule(steps=STEPS)
    def it_watches(self, steps: int | None) -> None:
        self._works(lambda runtime: runtime.targets["irp"].watch.watch_once(), steps)

    @rule(steps=STEPS)
    def it_delivers(self, steps: int | None) -> None:
        self._works(lambda runtime: runtime.targets["irp"].deliveries.drain(), steps)

    @rule(steps=STEPS)
    def it_closes(self, steps: int | None) -> None:
        self._works(lambda runtime: runtime.closes.drain(), steps)

    @rule()
    def it_is_killed_while_idle(self) -> None:
        self.runtime = None

    # What must hold

    @invariant()
    def no_alert_has_two_incidents(self) -> None:
        assert self.irp.doubled() == []

    def teardown(self) -> None:
        """Let the bad day end and all come to rest: the program works on, and does nothing twice."""
        self.kuma.faults.clear()
        self.irp.faults.clear()
        self._comes_to_rest()
        # Growth that leaves lastSeen where it was may be told as late as when that leaves the overlap.
        self.time_passes(minutes=31)
        self._comes_to_rest()
        before = len(self.irp.writes), len(self.kuma.close_calls)
        self._works(once, None)
        assert (len(self.irp.writes), len(self.kuma.close_calls)) == before, "it goes on writing at rest"
        judge_rest(self.stage, self._memory(), self.witness)

    def _comes_to_rest(self) -> None:
        for _attempt in range(60):
            if not self._works(once, None) and not self._memory().waiting:
                return

    def _works(self, work: Callable[[Runtime], Awaitable[object]], steps: int | None) -> bool:
        """Do some work as its loop would, and perhaps die of it; tell whether there was trouble."""
        runtime = self.runtime or self.house.begin_life()
        troubled = [False]

        async def works() -> None:
            try:
                troubled[0] = bool(await work(runtime)) and work is once
            except (RemoteError, GateClosed):
                troubled[0] = True

        died = self.house.live(works, steps=steps)
        self.runtime = None if died else runtime
        known = self._memory().links.keys()
        assert self.witness.recorded <= known, "an alert was forgotten"
        self.witness.recorded |= known
        return troubled[0]

    def _ordered(self, alert_id: str, reason: str, origin: Origin) -> None:
        request = CloseRequest(alert_id=AlertId(alert_id), reason=Reason(reason), origin=origin, by="test")
        with self.house.store.writing() as tx:
            accept(tx, request)

    def _memory(self) -> Memory:
        return remember(self.house.store)

    def _too_late(self, alert: Json | None, incident: Incident) -> None:
        """Note a name that a closed incident is not told any more."""
        if alert and incident.status == "closed" and incident.fields["title"] != alert["name"]:
            self.witness.unheard.add(alert["id"])

    def _alert(self, which: int, *statuses: str) -> Json:
        fitting = [alert for alert in self.kuma.alerts.values() if not statuses or alert["status"] in statuses]
        return fitting[which % len(fitting)] if fitting else {}

    def _incident(self, which: int, *statuses: str) -> Incident | None:
        fitting = [one for one in self.irp.incidents.values() if not statuses or one.status in statuses]
        return fitting[which % len(fitting)] if fitting else None


class Owned(BothSides):
    """The same where analysts own what they edited, whatever KUMA says of it afterwards."""

    kind = "owned"

    @rule(which=ANY)
    def an_alert_is_renamed(self, which: int) -> None:
        if alert := self._alert(which, "new", "assigned"):
            self.kuma.edit(alert["id"], name=f"renamed {len(self.kuma.requests)}")
            for incident in self.irp.incidents.values():
                if incident.external_id.endswith(alert["id"]):
                    self._too_late(alert, incident)

    @rule(which=ANY)
    def an_analyst_edits_while_we_write(self, which: int) -> None:
        """Just after we read an incident, its title is edited: our update is refused with 412."""
        if incident := self._incident(which, "open"):
            self.irp.knobs.after_show = lambda shown: self._edited(incident) if shown == incident.id else None

    def _edited(self, incident: Incident) -> None:
        self.irp.knobs.after_show = None
        self.witness.titles[incident.id] = f"title by hand {len(incident.history)}"
        self.irp.analyst_edit(incident.id, title=self.witness.titles[incident.id])


RULES = settings(
    max_examples=12,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
BothSides.TestCase.settings = Owned.TestCase.settings = RULES
TestBothSides = BothSides.TestCase
TestOwned = Owned.TestCase
