"""Why a stored alert is where it is: the facts are read here, the words are of core/why."""

from __future__ import annotations

from collections.abc import Sequence

from kuma_sync.app.processes import Running
from kuma_sync.core.alert import AlertId
from kuma_sync.core.why import Circumstances, Waits, Why, why
from kuma_sync.store import Job, Tx
from kuma_sync.store.jobs import JobState

_FIRST = (JobState.PARKED, JobState.HELD, JobState.RUNNING, JobState.PENDING)
"""Of the two jobs that a subject may have on a queue, the one in the first of these states is told of."""


def reasons(tx: Tx, running: Running, name: str) -> list[Why]:
    """Say why a subject (an alert, a parked piece, a closing of an unknown id) is where it is."""
    alert_id = AlertId(name)
    pieces = [one.reason for one in tx.waiting.parked(name) if one.size is not None]
    out = tx.handouts.handed_out(alert_id)
    return why(
        Circumstances(
            now=tx.now,
            link=tx.links.get(alert_id),
            snapshot=tx.alerts.snapshots([alert_id]).get(alert_id),
            delivery=_told(tx.delivery.jobs(name)),
            closing=_told(tx.closes.jobs(name)),
            piece=pieces[0] if pieces else "",
            troubles=[one for heartbeat in running.daemons for one in heartbeat.condition],
            paused=tx.pauses.all(),
            unfetched=out is not None and out.lacks,
            running=running.daemon,
        )
    )


def _told(jobs: Sequence[Job]) -> Waits | None:
    if not jobs:
        return None
    job = min(jobs, key=lambda one: _FIRST.index(one.state))
    return Waits(state=job.state, since=job.put_at, due=job.due, attempts=job.attempts, reason=job.reason)
