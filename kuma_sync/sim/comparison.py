"""Compare both simulators: which alerts are lost, doubled, different, or closed on one side only. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kuma_sync.sim.irp import Incident, IrpSim
from kuma_sync.sim.kuma import KumaSim
from kuma_sync.sim.kuma_listing import shown_time
from kuma_sync.sim.values import Json, moment

SEVERITIES = {"low": "Low", "medium": "Medium", "high": "High", "critical": "Critical"}


@dataclass(slots=True, kw_only=True)
class Comparison:
    """The result: alerts are named by id, doubled incidents by external key."""

    alerts: int = 0
    incidents: int = 0
    updates: int = 0
    closed_by_irp: int = 0
    closed_by_kuma: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    open_mismatch: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Tell whether nothing is lost, doubled, different or half closed."""
        return not (self.lost or self.doubled or self.differing or self.open_mismatch)

    def lines(self) -> list[str]:
        """Lay it out for people: a row a number, then what is wrong."""
        rows = (
            ("alerts in KUMA", self.alerts),
            ("incidents in the IRP", self.incidents),
            ("updates received", self.updates),
            ("closed by the IRP, carried to KUMA", self.closed_by_irp),
            ("closed in KUMA, carried to the IRP", self.closed_by_kuma),
            ("lost", len(self.lost)),
            ("doubled", len(self.doubled)),
            ("differing", len(self.differing)),
            ("closed on one side only", len(self.open_mismatch)),
        )
        faults = (("lost", self.lost), ("doubled", self.doubled), ("differs", self.differing))
        named = [f"  {word}: {what}" for word, found in faults for what in found]
        named += [f"  half closed: {what}" for what in self.open_mismatch]
        verdict = "both sides agree" if self.agrees else "the sides DISAGREE"
        return [*(f"{label:<36}{number:>8}" for label, number in rows), *named, verdict]


def compare(kuma: KumaSim, irp: IrpSim, *, instance: str = "kuma", max_events: int = 1000) -> Comparison:
    """Compare two simulators at rest.

    An alert must have an incident if it is new, or if it was shown as new, by id or by status.
    """
    found = Comparison(alerts=len(kuma.alerts), incidents=len(irp.incidents), doubled=irp.doubled())
    found.updates = sum(operation in ("update", "add_events") for operation, _, _ in irp.writes)
    found.closed_by_irp = len(kuma.closes)
    found.closed_by_kuma = sum(operation == "close" for operation, _, _ in irp.writes)
    deleted = {irp.kept(incident.external_id) for incident in irp.deleted}
    by_key: dict[str, list[Incident]] = {}
    for incident in irp.incidents.values():
        by_key.setdefault(irp.kept(incident.external_id), []).append(incident)
    for id_ in [*kuma.alerts, *sorted(kuma.shown - set(kuma.alerts))]:
        key, alert = irp.kept(f"kuma:{instance}:{id_}"), kuma.alerts.get(id_)
        owed = id_ in kuma.shown or (alert is not None and alert["status"] == "new")
        if owed and key not in by_key and key not in deleted:
            found.lost.append(id_)
        if alert is not None:
            shown = {**alert, "lastSeen": shown_time(alert, "lastSeen", kuma.knobs)}
            for incident in by_key.get(key, []):
                _weigh(found, shown, incident, list(_differences(shown, incident, irp.common(incident), max_events)))
    return found


def _weigh(found: Comparison, alert: Json, incident: Incident, wrong: list[str]) -> None:
    if wrong:
        found.differing.append(f"{alert['id']}: {'; '.join(wrong)}")
    reopened = any(deed == "reopen" for deed, _ in incident.history)
    if alert["status"] == "closed" and incident.status == "open" and not reopened:
        found.open_mismatch.append(f"{alert['id']}: closed in KUMA, open in the IRP")
    if alert["status"] != "closed" and incident.status == "closed":
        found.open_mismatch.append(f"{alert['id']}: closed in the IRP, {alert['status']} in KUMA")


def _differences(alert: Json, incident: Incident, told: Json, max_events: int) -> Iterable[str]:
    """Name the differences; `told` lacks what analysts edited.

    An incident closed by an analyst gets no more updates: then only its title is compared.
    """
    if told.get("title", alert["name"]) != alert["name"]:
        yield "another title"
    if any(deed == "analyst_close" for deed, _ in incident.history):
        return
    severity = SEVERITIES.get(str(alert["priority"]), "Medium")
    if told.get("severity", severity) != severity:
        yield f"severity {told['severity']}, the alert says {severity}"
    seen = told.get("lastSeenAt", alert["lastSeen"])
    if moment(str(seen)) != moment(str(alert["lastSeen"])):
        yield f"lastSeenAt {seen}, the alert says {alert['lastSeen']}"
    missing = _missing_events(alert, incident, max_events)
    if missing:
        yield f"{missing} events missing"


def _missing_events(alert: Json, incident: Incident, max_events: int) -> int:
    """Count missing events: of all, or of the newest `max_events`; of events with the same time any will do."""
    received = {event.get("ID") for event in incident.events if isinstance(event, dict)}
    events = [event for event in alert["events"] or [] if isinstance(event, dict) and event.get("ID")]
    if not max_events or len(events) <= max_events:
        return len({event["ID"] for event in events} - received)
    times = sorted((str(event.get("Timestamp")) for event in events), reverse=True)
    owed = {event["ID"] for event in events if str(event.get("Timestamp")) > times[max_events - 1]}
    return max(len(owed - received), max_events - len(received))
