"""The operator's commands as changes of the store; each writes a line to the audit trail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from kuma_sync.core import retargeting, transitions
from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest
from kuma_sync.core.comparison import Rejected, diff
from kuma_sync.core.errors import ValueRefused
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import Doubt, Ignored, Link, Sought
from kuma_sync.core.maintenance import Maintenance
from kuma_sync.core.routing import IGNORE, NO_ROUTE, Routing
from kuma_sync.kuma.parse import Parsed
from kuma_sync.store import Lane, Put, Shape, Shown, Store, Tx, put_of
from kuma_sync.store.jobs import JobState
from kuma_sync.store.locks import Stop, lock
from kuma_sync.store.read_models.waiting import Held, ParkedJob
from kuma_sync.sync.closing.intake import accept


def order_close(tx: Tx, request: CloseRequest, *, to_kuma: bool, to_irp: bool = True) -> bool:
    """Queue an operator's closing for both sides, as far as they are open; false where nothing is left to be closed."""
    return accept(tx, replace(request, origin=Origin.OPERATOR), to_kuma=to_kuma, to_irp=to_irp)


def retry(tx: Tx, subjects: Collection[str], *, by: str) -> list[str]:
    """Put parked jobs back to the queue; return them.

    An incident that was deleted, or could not be found, is made anew.
    """
    ids = [AlertId(subject) for subject in subjects]
    lock(tx, links=ids)
    # What an update woke meanwhile may be on its way, and is left alone.
    woken = tx.delivery.wake(ids)
    for subject in sorted(woken):
        tx.links.change(AlertId(subject), transitions.retried, now=tx.now)
    done = {*woken, *tx.closes.wake(ids)}
    for subject in sorted(done):
        tx.audit.note(by, "retry", subject)
    return sorted(done)


def read_again(
    store: Store, digest: str, *, routing: Routing, by: str, parse: Callable[[bytes], Parsed | Rejected]
) -> bool:
    """Try a parked piece of KUMA's answer once more as an alert; false where it waits no more, or still is none.

    One piece, and no transaction while it is parsed: it may be large, and a daemon beside must not wait for that.
    """
    with store.reading() as tx:
        raw = tx.rejects.body(digest)
    parsed = None if raw is None else parse(raw)
    if parsed is None or isinstance(parsed, Rejected):
        return False
    try:
        with store.writing() as tx:
            if not tx.rejects.forget(digest):
                return False
            _take(tx, parsed, routing)
            tx.audit.note(by, "retry", digest)
    except ValueRefused:
        return False
    return True


def parked_subjects(tx: Tx) -> list[str]:
    """Return everything that is parked: alerts, and digests of pieces that are no alerts."""
    jobs = [*tx.delivery.jobs(states=[JobState.PARKED]), *tx.closes.jobs(states=[JobState.PARKED])]
    return sorted({job.subject for job in jobs} | {piece.digest for piece in tx.rejects.waiting()})


def drop(tx: Tx, subject: str, *, by: str, seen: Collection[ParkedJob | Held] = ()) -> bool:
    """Give an alert (or a parked piece) up for good; false when it is unknown, or was given up before.

    `seen` is what of it waited when that was agreed to. It is left alone where some of it waits no more: somebody
    tried it again or released it meanwhile, or it changed in KUMA and is being sent.
    """
    if not _still_waits(tx, subject, seen):
        return False
    alert_id = AlertId(subject)
    locked = lock(tx, deliveries=Stop(subject=subject), links=[alert_id])
    link = locked.links.get(alert_id)
    if not _still_waits(tx, subject, seen):  # under the lock: taken up at this very moment
        tx.delivery.put([put_of(link)] if link is not None and locked.stopped else [])
        return False
    dropped = tx.rejects.drop(subject)
    tx.links.change(alert_id, transitions.dropped, now=tx.now)
    removed = locked.stopped + tx.delivery.remove(subject) + tx.closes.clear(subject)
    if link is not None:
        tx.alerts.forget_contents(alert_id)
    done = dropped or removed > 0 or (link is not None and not link.dropped)
    if done:
        tx.audit.note(by, "drop", subject)
    return done


def _still_waits(tx: Tx, subject: str, seen: Collection[ParkedJob | Held]) -> bool:
    kinds = {type(one) for one in seen}
    now: list[ParkedJob | Held] = [*tx.waiting.parked(subject)] if ParkedJob in kinds else []
    now += tx.waiting.held(subject) if Held in kinds else []
    return all(one in now for one in seen)


def resync(tx: Tx, ids: Sequence[AlertId], *, by: str, dropped: bool = False) -> list[AlertId]:
    """Have the incidents of these alerts found and fully updated; return those that have a link and a target.

    With `dropped` those that were dropped are taken up again; else they are left alone.
    """
    links = lock(tx, links=ids).links
    targets = tx.targets.names()
    wanted = [key for key in ids if key in links and goes_somewhere(links[key], targets, dropped=dropped)]
    for alert_id in wanted:
        again = links[alert_id].dropped
        tx.links.change(alert_id, transitions.taken_up if again else transitions.resynced, now=tx.now)
        tx.audit.note(by, "resync", alert_id, "dropped before, taken up again" if again else "")
    tx.delivery.put([Put(subject=key, lane=Lane.UPDATE, target=links[key].target) for key in wanted])
    tx.delivery.wake(wanted)
    return wanted


def resync_waits(tx: Tx, ids: Collection[AlertId]) -> list[AlertId]:
    """Lock these alerts' links; return those of which a resync was ordered before and is yet to be done."""
    links = lock(tx, links=ids).links
    return [
        alert_id
        for alert_id, link in links.items()
        if not link.dropped and transitions.resynced(link) == link and _under_way(tx, alert_id)
    ]


def _under_way(tx: Tx, alert_id: AlertId) -> bool:
    jobs = tx.delivery.jobs(alert_id, states=[JobState.PENDING, JobState.RUNNING])
    return any(job.state is JobState.RUNNING or job.due <= tx.now for job in jobs)


def goes_somewhere(link: Link, targets: Collection[str], *, dropped: bool) -> bool:
    """Tell whether an alert can be sent at all: it has a target that is there (`targets` names those)."""
    nowhere = link.target in (NO_ROUTE, IGNORE) or (targets and link.target not in targets)
    return not nowhere and (dropped or not link.dropped)


def leave_target(tx: Tx, name: str, *, routing: Routing, by: str) -> dict[str, int]:
    """Send the alerts of a target that is no longer configured where the routes say; count them by their new target.

    What is settled there stays, with its incident: nothing more is to be done for it. What was given up goes along, and
    stays given up.
    """
    going = tx.targets.unfinished(name)
    links = lock(tx, links={*going, *tx.links.given_up(name)}).links
    unshown = tx.handouts.unshown(name)
    snapshots = tx.alerts.snapshots(list(links))
    moved = Counter[str]()
    for alert_id in going:
        tx.delivery.clear(alert_id)
    for alert_id, link in sorted(links.items()):
        if link.target != name:
            # Its row alone named this target.
            tx.delivery.put([put_of(link)])
        elif link.incident_closed and not (link.given_up or alert_id in unshown):
            tx.links.save(transitions.released(link), now=tx.now)
            tx.audit.note(by, "left", alert_id, f"its incident in {name} is closed")
        else:
            known = snapshots.get(alert_id)
            target = routing.default if known is None else routing.target_of(known.alert)
            anew = retargeting.left_target(link, target)
            _move(tx, link, anew, by=by)
            moved.update([] if link.given_up else [target])
    tx.targets.forget(name)
    return dict(moved)


def _move(tx: Tx, link: Link, anew: Link, *, by: str) -> None:
    tx.links.save(anew, now=tx.now)
    tx.handouts.forget(link.alert_id)
    stays = f"; incident {link.incident.id} stays there" if link.incident is not None else ""
    tx.audit.note(by, "routed", link.alert_id, f"from {link.target} to {anew.target or 'no target'}{stays}")
    if not (anew.given_up or anew.held_create):
        tx.delivery.put([put_of(anew)])


def seen_since(tx: Tx, since: datetime | None) -> list[AlertId]:
    """Return the alerts with a route, neither ignored nor dropped, that KUMA last saw since then; None: all of them."""
    unrouted = set(tx.links.unrouted())
    ids = [alert_id for alert_id in tx.links.all_ids() if alert_id not in unrouted]
    if since is None:
        return ids
    snapshots = tx.alerts.snapshots(ids)
    seen = {alert_id: snapshot.alert.last_seen for alert_id, snapshot in snapshots.items()}
    return [alert_id for alert_id in ids if (moment := seen.get(alert_id)) is not None and moment >= since]


def dropped_among(tx: Tx, ids: Sequence[AlertId]) -> list[AlertId]:
    """Return which of these alerts were dropped."""
    links = tx.links.many(ids)
    return [alert_id for alert_id in ids if alert_id in links and links[alert_id].dropped]


def release(tx: Tx, *, by: str, what: Collection[Held] | None = None) -> list[str]:
    """Release creates and closings that the brake holds, all or those in `what`; return their alerts.

    What it holds since it was shown stays held: nobody agreed to that.
    """
    meant = set(tx.waiting.held() if what is None else what)
    links = lock(tx, links=[AlertId(one.id) for one in meant if one.towards == "irp"]).links
    going = meant & set(tx.waiting.held())  # under the lock: somebody else may have released it just now
    marks = _kinds(one for one in going if one.towards == "irp")
    released = set()
    for subject, kinds in sorted(marks.items()):
        become = partial(transitions.released, creates="create" in kinds, closings="close" in kinds)
        tx.links.change(AlertId(subject), become, now=tx.now)
        released.add(subject)
    freed = [(key, link) for key, link in sorted(links.items()) if key in marks]
    tx.delivery.put([Put(subject=key, lane=Lane.CREATE, target=link.target) for key, link in freed])
    closes = sorted(one.id for one in going if one.towards == "kuma")
    released |= set(tx.closes.wake(closes, states=[JobState.HELD]))
    for subject in sorted(released):
        tx.audit.note(by, "release", subject)
    return sorted(released)


def pause(tx: Tx, part: str, *, until: datetime | None, by: str) -> Maintenance:
    """Ask a part nothing until then, or until it is resumed. One that is paused already gets another end."""
    begun = tx.pauses.begin(part, until=until, by=by)
    tx.audit.note(by, "pause", detail=begun.reason)
    return begun


def resume(tx: Tx, part: str, *, by: str) -> Maintenance | None:
    """End the pause of a part; return it, None where there was none."""
    ended = tx.pauses.end(part)
    if ended is not None:
        tx.audit.note(by, "resume", detail=part)
    return ended


def _kinds(held: Iterable[Held]) -> dict[str, set[str]]:
    kinds: dict[str, set[str]] = {}
    for one in held:
        kinds.setdefault(one.id, set()).add(one.what)
    return kinds


def _take(tx: Tx, parsed: Parsed, routing: Routing) -> None:
    """Take a piece that turned out to be an alert, as if a read had shown it. A known alert stays with its target."""
    alert_id = parsed.seen.alert.id
    known = tx.alerts.snapshots([alert_id])
    for change in diff([parsed.seen], known):
        shown = Shown(
            snapshot=change.snapshot, shape=Shape.CONTENTS, digest=None, contents=parsed.seen.contents, recheck=True
        )
        tx.alerts.save([shown], now=tx.now, sweep=0)
    target = routing.target_of(parsed.seen.alert)
    born = Ignored(unknown=True) if target == IGNORE else Sought(doubt=Doubt.UNKNOWN)
    tx.links.add([Link(alert_id=alert_id, target=target, state=born)], now=tx.now)
    links = lock(tx, links=[alert_id]).links
    tx.delivery.put([put_of(link) for link in links.values()])
