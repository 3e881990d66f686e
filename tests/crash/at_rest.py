"""What must hold between both sides and the store once all is at rest, whatever happened before.

Knows nothing of how the program works: it looks at two simulators, and at what the store says of itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scenarios import told_too_often
from stage import Stage

from kuma_sync.core.alert import AlertId
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import Link
from kuma_sync.sim.comparison import compare
from kuma_sync.sim.irp import Incident
from kuma_sync.store import Store
from kuma_sync.store.jobs import Job, JobState


@dataclass(slots=True, kw_only=True)
class Witness:
    """What happened that an oracle must know: nobody tells the program.

    `recorded` are the alerts the store ever knew, `vanished` those that KUMA once had no more; `titles` what analysts
    wrote into incidents; `reasons` what KUMA may be told of an incident's closings, by alert; `unheard` alerts whose
    new name came too late for their incident: an analyst had closed it.
    """

    recorded: set[str] = field(default_factory=set)
    vanished: set[str] = field(default_factory=set)
    titles: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, set[str]] = field(default_factory=dict)
    unheard: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the store knows at one moment."""

    links: dict[AlertId, Link]
    jobs: list[Job]

    @property
    def parked(self) -> set[str]:
        """Name the alerts of parked jobs."""
        return {job.subject for job in self.jobs if job.state == JobState.PARKED}

    @property
    def waiting(self) -> list[Job]:
        """Return what is still to be done."""
        return [job for job in self.jobs if job.state != JobState.PARKED]


def remember(store: Store) -> Memory:
    """Read the store."""
    with store.reading() as tx:
        jobs = [*tx.delivery.jobs(), *tx.closes.jobs()]
        return Memory(links=tx.links.many(tx.links.all_ids()), jobs=jobs)


def judge_rest(stage: Stage, memory: Memory, witness: Witness) -> None:
    """Assert the invariants at rest."""
    assert memory.waiting == []
    assert {(job.subject, job.reason) for job in memory.jobs} <= {(id_, "alert not found") for id_ in witness.vanished}
    assert witness.recorded <= memory.links.keys(), "an alert was forgotten"
    new = {id_ for id_, alert in stage.kuma.alerts.items() if alert["status"] == "new"}
    assert new <= memory.links.keys(), "an alert was overlooked"

    seen = compare(stage.kuma, stage.irp)
    assert seen.doubled == []
    # What grew unseen before an operator closed both sides is not told to a closed incident, nor is a late name.
    by_operator = {id_ for id_, link in memory.links.items() if link.close_origin is Origin.OPERATOR}
    assert _alerts(seen.differing) <= by_operator | witness.unheard
    assert _alerts(seen.open_mismatch) <= memory.parked
    for alert_id, link in memory.links.items():
        incident = stage.incident(alert_id)
        assert link.incident is not None
        assert link.incident.id == incident.id
        _told_truly(stage, link, incident)
        _analysts_live(incident, witness)
        assert told_too_often(incident) == []
        _closed_once(stage, link, incident, witness)


def _alerts(entries: list[str]) -> set[str]:
    return {entry.partition(":")[0] for entry in entries}


def _told_truly(stage: Stage, link: Link, incident: Incident) -> None:
    """An open incident tells what KUMA says of its alert: whom it is assigned to, and how it stands."""
    alert = stage.kuma.alerts.get(link.alert_id)
    if alert is None or link.incident_closed:
        return
    assert (incident.fields.get("assignee") or "") == alert["assignee"]
    assert incident.fields["alertStatus"] == alert["status"]


def _analysts_live(incident: Incident, witness: Witness) -> None:
    """What an analyst wrote, and KUMA did not change, is as the analyst left it."""
    if incident.id in witness.titles:
        assert incident.fields["title"] == witness.titles[incident.id]


def _closed_once(stage: Stage, link: Link, incident: Incident, witness: Witness) -> None:
    """Each closing is carried once, with its reason, and never to where it came from."""
    towards_kuma = [reason for alert_id, reason in stage.kuma.closes if alert_id == link.alert_id]
    towards_irp = [body["reason"] for deed, body in incident.history if deed == "close"]
    reopened = sum(deed == "reopen" for deed, _ in incident.history)
    assert len(towards_kuma) <= 1
    assert len(towards_irp) <= 1 + reopened
    assert set(towards_irp) <= {link.close_reason}
    match link.close_origin:
        case None:
            assert towards_kuma == towards_irp == []
        case Origin.KUMA:
            assert towards_kuma == [], "echoed to KUMA"
        case Origin.IRP:
            assert towards_irp == [], "echoed to the IRP"
            assert set(towards_kuma) <= witness.reasons[link.alert_id]
        case Origin.OPERATOR:
            assert set(towards_kuma) <= {link.close_reason} | witness.reasons.get(link.alert_id, set())
