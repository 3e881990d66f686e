"""Judges from outside the program: knows every alert that KUMA showed and every closing, and what they lead to.

It reads the simulators, the ledger and what `kuma-sync status` and `alerts` print; never the store's tables.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta

from environment import Environment
from ledger import Ledger

from kuma_sync.sim.irp import Incident
from kuma_sync.sim.values import Json, moment

SEVERITIES = {"low": "Low", "medium": "Medium", "high": "High", "critical": "Critical"}
PREFIX = "kuma:kuma:"
BREATH = 10.0
"""Seconds after a trouble within which it may still have swallowed what was shown: KUMA is read a page at a time."""
WHOLE = timedelta(seconds=1)
"""What KUMA's times, in whole seconds, leave out."""
SETTLED = {"sqlite": 20.0, "postgres": 120.0}
"""Seconds after which a write that was acknowledged is not repeated any more: back-offs, restarts, leases."""


@dataclass(kw_only=True)
class Verdict:
    """What is wrong, by kind; a line each."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    misrouted: list[str] = field(default_factory=list)
    """With an incident at another target than the routes say."""
    differing: list[str] = field(default_factory=list)
    closings: list[str] = field(default_factory=list)
    edits: list[str] = field(default_factory=list)
    excused: list[str] = field(default_factory=list)
    """Shown to a daemon that died at that moment, or to nobody, and gone from KUMA's list before it was back."""
    missed: list[str] = field(default_factory=list)
    """Closed before it was read, and recorded as such."""
    left_alone: list[str] = field(default_factory=list)
    """There before the store's first read, and not asked for then."""
    deleted: list[str] = field(default_factory=list)
    """Deleted by an analyst, and not made anew."""

    @property
    def good(self) -> bool:
        """Tell whether nothing is wrong."""
        return not any((self.lost, self.doubled, self.misrouted, self.differing, self.closings, self.edits))

    def conservation(self) -> list[str]:
        """Say what has no incident, or more than one."""
        return [*(f"lost: {what}" for what in self.lost), *(f"doubled: {what}" for what in self.doubled)]

    def lines(self) -> list[str]:
        """Say what is wrong."""
        named = (
            ("wrong target", self.misrouted),
            ("differs", self.differing),
            ("closing", self.closings),
            ("edit", self.edits),
        )
        return [*self.conservation(), *(f"{kind}: {what}" for kind, found in named for what in found)]


@dataclass(kw_only=True)
class Oracle:
    """Judges both sides at rest. `spells` are the times when the daemon or its store was in trouble.

    `all_statuses` where alerts that leave `new` unread are played: then nothing that KUMA still has is excused.
    """

    environment: Environment
    ledger: Ledger
    spells: list[tuple[float, float]]
    all_statuses: bool = False

    async def judge(self, states: dict[str, tuple[str, str]]) -> Verdict:
        """Judge. `states` says of every alert in the store what state it is in and why (`kuma-sync alerts`).

        Pauses between the alerts, for the sides are served by the same loop; at rest nothing changes meanwhile.
        """
        verdict, kuma, irp = Verdict(), self.environment.kuma, self.environment.irps
        living, deleted = _by_alert(irp.incidents.values()), _by_alert(irp.deleted)
        for number, alert_id in enumerate({**self._owed(), **dict.fromkeys(living)}):
            if number % 50 == 0:
                await asyncio.sleep(0)
            alert, incidents, former = kuma.alerts.get(alert_id), living[alert_id], deleted[alert_id]
            if _doubled(incidents, former):
                verdict.doubled.append(alert_id)
            if not incidents and former:
                self._deleted(verdict, alert_id, former[-1], states.get(alert_id))
            elif not incidents:
                self._without_incident(verdict, alert_id, states.get(alert_id))
            elif alert is not None:
                verdict.differing += self._differences(alert, incidents[0], states.get(alert_id))
                verdict.closings += self._half_closed(alert, incidents[0])
        verdict.misrouted += self._misrouted()
        verdict.closings += self._wrong_closings()
        wrong = "its closing was taken from a target that does not have its incident"
        verdict.closings += [f"{alert_id}: {wrong}" for alert_id in self.ledger.trespassed]
        verdict.edits += self._overwritten()
        return verdict

    def _owed(self) -> dict[str, None]:
        """Return the alerts that must have an incident, or a row saying why not."""
        kuma = self.environment.kuma
        now_new = [alert_id for alert_id, alert in kuma.alerts.items() if alert["status"] == "new"]
        owed = [*self.environment.witness.first_shown, *now_new, *self.ledger.unread]
        judged_elsewhere = kuma.knobs.hidden | self.ledger.costly
        return {alert_id: None for alert_id in owed if alert_id not in judged_elsewhere}

    def _misrouted(self) -> Iterator[str]:
        """Find incidents that are, or were, at a target where the routes do not lead."""
        irps, shown = self.environment.irps, self.environment.witness.first_shown
        for name, irp in irps.targets.items():
            for incident in (*irp.incidents.values(), *irp.deleted):
                alert_id = incident.external_id.removeprefix(PREFIX)
                created = irps.stamps[incident.id][0][1]
                right = self.environment.routes.right(incident, shown=shown.get(alert_id, created), created=created)
                if name not in right:
                    yield f"{alert_id}: its incident is in {name}, not in {' or '.join(sorted(right))}"

    def _deleted(self, verdict: Verdict, alert_id: str, former: Incident, state: tuple[str, str] | None) -> None:
        """Judge an alert whose incident was deleted: parked and said why, or never changed since.

        What had been closed before may still wait for an alert that KUMA no longer has.
        """
        alert = self.environment.kuma.alerts.get(alert_id)
        verdict.deleted.append(alert_id)
        if state is not None and state[0] == "parked":
            expected = {"incident deleted"} | ({"alert not found"} if alert is None else set())
            if state[1] not in expected:
                verdict.differing.append(f"{alert_id}: its incident was deleted, it is parked as {state[1]!r}")
        elif alert is not None:
            changed = [f"{line}, and its incident was deleted" for line in self._differences(alert, former, state)]
            verdict.differing += changed

    def _without_incident(self, verdict: Verdict, alert_id: str, state: tuple[str, str] | None) -> None:
        """Tell a lost alert from one that is set aside, or was swallowed by a death and has left KUMA's list since."""
        if state is not None and state[0] in ("held", "ignored"):
            return
        if state is not None and state[0] == "parked" and state[1]:
            return
        alert = self.environment.kuma.alerts.get(alert_id)
        if state is not None and state[0] == "missed" and (alert is None or alert["status"] == "closed"):
            verdict.missed.append(alert_id)
            return
        if state is None and self._there_before(alert_id, alert):
            verdict.left_alone.append(alert_id)
            return
        shown, left = self.environment.witness.first_shown.get(alert_id), self.ledger.left_new.get(alert_id)
        if alert is None and shown is None and state is None:
            verdict.excused.append(alert_id)  # KUMA has let go of it before any answer showed it
            return
        if (
            self._excusable(alert_id, alert, state)
            and shown is not None
            and left is not None
            and self._troubled(shown, left)
        ):
            verdict.excused.append(alert_id)
            return
        told = "never shown whole" if shown is None or left is None else f"shown {left - shown:.1f} s before it left"
        verdict.lost.append(f"{alert_id} (now {alert['status'] if alert else 'gone'}, store {state}, {told})")

    def _there_before(self, alert_id: str, alert: Json | None) -> bool:
        """Tell whether an alert was there before the store's first read, which did not ask for its status."""
        seen, first = moment(str((alert or {}).get("firstSeen"))), self.environment.witness.first_sweep
        unasked = (
            alert is not None and alert["status"] != "new" and alert_id not in self.environment.witness.shown_as_new
        )
        return unasked and seen is not None and (first is None or seen <= first + WHOLE)

    def _excusable(self, alert_id: str, alert: Json | None, state: tuple[str, str] | None) -> bool:
        """Tell whether no later read shows an alert that was shown to a daemon as it died."""
        if state is not None or (alert is not None and alert["status"] == "new"):
            return False
        return alert is None or alert_id in self.ledger.late or not self.all_statuses

    def _troubled(self, shown: float, left: float) -> bool:
        """Tell whether daemon or store were in trouble between the moments an alert was shown and left the list."""
        # On a machine that is short of time a page may wait as long to be written.
        return any(begin <= max(left, shown + BREATH) and shown <= end + BREATH for begin, end in self.spells)

    def _differences(self, alert: Json, incident: Incident, state: tuple[str, str] | None) -> Iterator[str]:
        """Compare what the incident holds with the alert; one that was closed from the desk gets no more updates."""
        alert_id = alert["id"]
        if alert_id in self.ledger.by_desk or self.ledger.allowed.get(alert_id) or "reopen" in _deeds(incident):
            return
        expected = _rendered(alert)
        if incident.id in self.environment.robot.incidents:
            expected["assignee"] = alert["assignee"]  # a card shows what KUMA shows
        else:
            expected["eventsTotal"] = len({event["ID"] for event in alert["events"]})
        for name, value in expected.items():
            if value is None and self.ledger.restored:
                continue  # an older copy of the store does not know that it was ever sent, and may be an analyst's
            held = incident.fields.get(name)
            if name not in incident.edited and held != value and not _same_time(held, value):
                yield f"{alert_id}: {name} is {held!r}, not {value!r} (store {state})"
        received = {event["ID"]: event for event in incident.events}
        missing = [event["ID"] for event in alert["events"] if received.get(event["ID"]) != event]
        if missing:
            yield f"{alert_id}: {len(missing)} of {len(alert['events'])} events missing (store {state})"

    def _half_closed(self, alert: Json, incident: Incident) -> Iterator[str]:
        alert_id, deeds = alert["id"], _deeds(incident)
        left_open = "reopen" in deeds or alert_id in self.ledger.door_only
        if alert["status"] == "closed" and incident.status == "open" and not left_open:
            yield f"{alert_id}: closed in KUMA, its incident is open"
        if alert["status"] != "closed" and incident.status == "closed":
            yield f"{alert_id}: its incident is closed, the alert is {alert['status']}"
        if alert["status"] != "closed" and alert_id in self.ledger.by_door:
            yield f"{alert_id}: its closing was taken at the door, the alert is {alert['status']}"

    def _wrong_closings(self) -> Iterator[str]:
        """Look at every closing that was sent: once, with the right reason, and never back to where it came from."""
        ledger, kuma, irp = self.ledger, self.environment.kuma, self.environment.irps
        for alert_id, reason in kuma.closes:
            if reason not in ledger.allowed.get(alert_id, ()):
                yield f"{alert_id}: closed in KUMA as {reason!r}, not {sorted(ledger.allowed.get(alert_id, ()))}"
        for alert_id in {call.id for call in kuma.close_calls} - self._ordered():
            yield f"{alert_id}: a closing was sent to KUMA that nobody ordered (an echo)"
        for alert_id, times in Counter(alert_id for alert_id, _ in kuma.closes).items():
            if times > 1:
                yield f"{alert_id}: closed in KUMA {times} times"
        incidents = irp.ever
        for operation, incident_id, body in irp.writes:
            if operation == "close":
                yield from self._wrong_close(incidents[incident_id], body)

    def _ordered(self) -> set[str]:
        """Return the alerts of which KUMA may be told that they are to be closed."""
        # An older copy of the store does not know who closed first; KUMA answers that it is closed already.
        again = self.ledger.by_kuma if self.ledger.restored else ()
        return {*self.ledger.allowed, *again}

    def _made_anew(self, incident: Incident) -> bool:
        """Tell whether it replaces a deleted one. What closed that one then closes it, too: its alert is closed."""
        former = self.environment.irps.deleted
        return any(one.external_id == incident.external_id and one is not incident for one in former)

    def _wrong_close(self, incident: Incident, body: Json) -> Iterator[str]:
        alert_id = incident.external_id.removeprefix(PREFIX)
        right = self.ledger.by_kuma.get(alert_id)
        if right is None and self._made_anew(incident) and body.get("reason") in self.ledger.allowed.get(alert_id, ()):
            return
        if right is None:
            yield f"{alert_id}: its incident was closed though nobody closed the alert in KUMA (an echo)"
        elif body.get("reason") != right:
            yield f"{alert_id}: its incident was closed as {body.get('reason')!r}, not {right!r}"
        if self._closed_again(incident):
            yield f"{alert_id}: its incident was closed more than once"

    def _closed_again(self, incident: Incident) -> bool:
        """Tell whether we closed what we knew to be closed. One that is reopened before we know may be closed again."""
        closed_at: float | None = None
        for place, at in self.environment.irps.stamps[incident.id]:
            deed, _ = incident.history[place]
            if deed == "close" and closed_at is not None:
                return True
            if deed == "close":
                closed_at = at
            elif deed == "reopen" and closed_at is not None and not self._known(incident, closed_at, at):
                closed_at = None
        return False

    def _known(self, incident: Incident, closed_at: float, reopened_at: float) -> bool:
        """Tell whether the daemon was told of the closing before the incident was reopened, and could write it down."""
        told = [at for at in self.environment.irps.heard[incident.id] if closed_at <= at < reopened_at]
        return any(not self._troubled(at, at) for at in told)

    def _overwritten(self) -> Iterator[str]:
        """Find analysts' edits that an update took back although KUMA had not changed the field.

        KUMA may have changed it and changed it back, and the request that told the first may have been lost.
        """
        settled = SETTLED["postgres" if self.environment.database.sqlite is None else "sqlite"]
        incidents = self.environment.irps.ever
        for edit in self.ledger.edits:
            incident, stamps = incidents[edit.incident], dict(self.environment.irps.stamps[edit.incident])
            sent = [
                (at, incident.history[place][1])
                for place, at in stamps.items()
                if edit.field in incident.history[place][1]
            ]
            last = next(((at, body) for at, body in reversed(sent) if at <= edit.at), None)
            after = next(((at, body) for at, body in sent if at > edit.at), None)
            if last is None or after is None or edit.at - last[0] < settled:
                continue
            if self.ledger.restored and "rule" in after[1]:  # which never changes: a full update, as resync sends it
                continue
            alert_id = incident.external_id.removeprefix(PREFIX)
            if any(last[0] - BREATH < at < after[0] for at in self.ledger.changed[alert_id, edit.field]):
                continue
            if after[1][edit.field] == last[1][edit.field] != edit.value:
                yield f"{incident.external_id}: {edit.field} was set back to {last[1][edit.field]!r}"


def _by_alert(incidents: Iterable[Incident]) -> defaultdict[str, list[Incident]]:
    found: defaultdict[str, list[Incident]] = defaultdict(list)
    for incident in incidents:
        found[incident.external_id.removeprefix(PREFIX)].append(incident)
    return found


def _doubled(living: list[Incident], deleted: list[Incident]) -> bool:
    """Tell whether there ever were two incidents of one alert at the same time."""
    overlaps = [
        other for one in deleted for other in (*living, *deleted) if one.created_at < other.created_at < one.updated_at
    ]
    return len(living) > 1 or bool(overlaps)


def _deeds(incident: Incident) -> list[str]:
    return [deed for deed, _ in incident.history]


def _rendered(alert: Json) -> Json:
    return {
        "title": alert["name"],
        "severity": SEVERITIES[alert["priority"]],
        "alertStatus": alert["status"],
        "detectedAt": alert["firstSeen"],
        "lastSeenAt": alert["lastSeen"],
        "tenant": alert["tenantName"],
        "rule": alert["correlationRuleID"],
        "assignee": alert["assignee"] or None,
    }


def _same_time(one: object, other: object) -> bool:
    return isinstance(one, str) and isinstance(other, str) and moment(one) is not None and moment(one) == moment(other)
