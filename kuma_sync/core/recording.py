"""What a chunk of a read becomes: snapshots to keep, links of new alerts, jobs, and what is to be read next."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from kuma_sync.core.alert import Alert, AlertId, AlertSnapshot, Contents, Observation
from kuma_sync.core.comparison import Appeared, Changed, Fate, Wanted, diff, to_read
from kuma_sync.core.link import Doubt, Ignored, Link, NotMade, Sought, State
from kuma_sync.core.plan import Brake, Plan, check
from kuma_sync.core.retargeting import routed
from kuma_sync.core.routing import IGNORE, NO_ROUTE, Routing
from kuma_sync.core.steps import TargetCapabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSettings:
    """The settings for the decision about an alert.

    `overlap` is how long a listing may hide that an alert grew. What was last seen before `ignore_before` gets no
    incident until it changes. `routing` chooses the target; `targets` says of each that works how it is asked.
    """

    overlap: timedelta
    ignore_before: datetime | None
    brake: Brake
    wanted: Wanted
    routing: Routing
    targets: Mapping[str, TargetCapabilities]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The stored snapshots of a chunk's alerts, and the links that `concerned` asked for."""

    snapshots: Mapping[AlertId, AlertSnapshot]
    links: Mapping[AlertId, Link]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFacts:
    """What a round knows when it records a chunk.

    `listing`: the alerts came without their contents, and those of new and changed ones are to be read. `any_status`:
    alerts of every status are shown. `swept_since` is KUMA's clock when this process first read it, once a sweep was
    complete. The contents of `oversize` alerts are too large to take. `unread` alerts are new in this round, and only a
    listing has shown them. `creates` is how many incidents the round has planned to make. `new_alone`: alerts that are
    known are left as they are.
    """

    listing: bool = False
    new_alone: bool = False
    any_status: bool = False
    watermark: datetime | None = None
    first_read: datetime | None = None
    server_now: datetime | None = None
    swept_since: datetime | None = None
    oversize: AbstractSet[AlertId] = frozenset()
    unread: AbstractSet[AlertId] = frozenset()
    creates: int = 0

    def is_new(self, alert: Alert) -> bool:
        """Tell whether an alert cannot have had an incident before this process first read KUMA.

        A date ahead of KUMA's clock tells nothing. The clock comes in whole seconds: one of the same second is new.
        """
        if self.swept_since is None or self.server_now is None or alert.first_seen is None:
            return False
        return self.swept_since <= alert.first_seen < self.server_now + timedelta(seconds=1)

    def is_late(self, alert: Alert) -> bool:
        """Tell whether an alert is dated before the watermark that the round began with."""
        return self.watermark is not None and alert.last_seen is not None and alert.last_seen < self.watermark


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A snapshot to store, and the contents to keep until they are delivered.

    `unread`: only a listing has shown it, so the same listing must not count as known. `recheck` asks for one more look
    at its contents when its lastSeen leaves the overlap.
    """

    snapshot: AlertSnapshot
    contents: Contents | None = None
    recheck: bool = False
    unread: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What is written of a chunk, and what the round learns from it.

    `links` are those of new alerts, `ready` those whose delivery can begin. `changed` are the links of known
    alerts that the IRP must hear of, `routed` those that had no target until their alert changed. The brake holds the
    creates `held`; `creates` counts all planned ones. The contents of `wanted` alerts are to be read. `left_alone`
    alerts get no link, `missed` ones a link and no incident. `new` are the new alerts that were not missed; `updated`
    and `late` are counts for the metrics.
    """

    saved: Sequence[Saved]
    links: Sequence[Link]
    ready: Sequence[Link]
    changed: Sequence[Link]
    routed: Sequence[Link]
    held: frozenset[AlertId]
    creates: int
    wanted: Mapping[AlertId, Alert]
    left_alone: frozenset[AlertId]
    missed: Sequence[Alert]
    new: Sequence[Alert]
    updated: int
    late: int

    @property
    def unread(self) -> set[AlertId]:
        """Return the new alerts that only a listing has shown."""
        return {item.snapshot.alert.id for item in self.saved if item.unread}


def concerned(
    seen: Sequence[Observation], snapshots: Mapping[AlertId, AlertSnapshot], oversize: AbstractSet[AlertId]
) -> set[AlertId]:
    """Return the known alerts that may have changed: their links decide what becomes of them."""
    differing = set(to_read([item.alert for item in seen], snapshots))

    def may_differ(item: Observation) -> bool:
        alert_id = item.alert.id
        return item.contents is not None or item.oversize or alert_id in differing or alert_id in oversize

    return {item.alert.id for item in seen if item.alert.id in snapshots and may_differ(item)}


def decide(seen: Sequence[Observation], known: Known, rules: RecordSettings, facts: ReadFacts) -> Recording:
    """Decide what becomes of the alerts of a chunk. Each comes once."""
    judged = _judge(seen, known, rules, facts)
    wanted = judged.wanted() if facts.listing else {}
    # New ones are recorded at once, so that none is forgotten should its contents not be had.
    unread = [item for item in judged.ours if item.alert.id in wanted and item.alert.id not in known.snapshots]
    rest = [
        replace(item, oversize=item.oversize or (facts.listing and item.alert.id in facts.oversize))
        for item in judged.ours
        if item.alert.id not in wanted
    ]
    return judged.recording(diff([*unread, *rest], known.snapshots), wanted)


def _judge(seen: Sequence[Observation], known: Known, rules: RecordSettings, facts: ReadFacts) -> _Judged:
    """Tell which new alerts of a listing of all statuses are ours, and which had left the statuses asked for."""
    ours, left_alone, missed, unseen = list[Observation](), set[AlertId](), set[AlertId](), set[AlertId]()
    for item in seen:
        alert = item.alert
        if facts.new_alone and alert.id in known.snapshots:
            left_alone.add(alert.id)
            continue
        if facts.any_status and alert.id not in known.snapshots:
            fate = rules.wanted.fate(alert, facts.first_read)
            if fate is Fate.LEFT_ALONE:
                left_alone.add(alert.id)
                continue
            if fate is Fate.MISSED and not _old(alert, rules):
                missed.add(alert.id)
            elif alert.status not in rules.wanted.statuses:
                unseen.add(alert.id)
        ours.append(item)
    return _Judged(
        known=known, rules=rules, facts=facts, ours=ours, left_alone=left_alone, missed=missed, unseen=unseen
    )


def _old(alert: Alert, rules: RecordSettings) -> bool:
    limit = rules.ignore_before
    return limit is not None and alert.last_seen is not None and alert.last_seen < limit


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """The alerts of a chunk that are ours. Of new ones that left the statuses asked for, `unseen` get an incident."""

    known: Known
    rules: RecordSettings
    facts: ReadFacts
    ours: Sequence[Observation]
    left_alone: AbstractSet[AlertId]
    missed: AbstractSet[AlertId]
    unseen: AbstractSet[AlertId]

    def wanted(self) -> dict[AlertId, Alert]:
        """Return the alerts of a listing whose contents are to be read."""
        snapshots = self.known.snapshots
        listed = {item.alert.id: item.alert for item in self.ours}
        idle = {key for key, alert in listed.items() if key not in snapshots and self._idle(alert)}
        return {
            key: listed[key]
            for key in to_read(listed.values(), snapshots)
            if not (key in idle or key in self.facts.oversize or self._stays_ignored(listed[key]))
        }

    def recording(self, changes: Sequence[Appeared | Changed], wanted: Mapping[AlertId, Alert]) -> Recording:
        """Return what is written of these changes."""
        appeared = [change.snapshot.alert for change in changes if isinstance(change, Appeared)]
        to_deliver = {change.snapshot.alert.id: change for change in changes if self._worth_delivering(change)}
        links = [
            self._looked_at_anew(self.known.links[key], change.snapshot.alert) for key, change in to_deliver.items()
        ]
        found = {link.alert_id for link in links if self.known.links[link.alert_id].target == NO_ROUTE != link.target}
        woken = [link.alert_id for link in links if not link.dropped and (link.ignored or link.alert_id in found)]
        creates = [*(alert.id for alert in appeared if not self._idle(alert)), *woken]
        held = check(Plan(creates=creates), self.rules.brake, created_before=self.facts.creates).held_creates
        new = [alert for alert in appeared if alert.id not in self.missed]
        born = {alert.id: self._born(alert, held=alert.id in held) for alert in appeared}
        unread = {alert.id for alert in appeared if alert.id in wanted}
        return Recording(
            saved=[self._saved(change, to_deliver=to_deliver.keys(), unread=unread) for change in changes],
            links=list(born.values()),
            ready=[born[alert.id] for alert in appeared if not (self._idle(alert) or alert.id in unread)],
            changed=links,
            routed=self._taken(changes, held=held),
            held=held,
            creates=len(creates),
            wanted=wanted,
            left_alone=frozenset(self.left_alone),
            missed=[alert for alert in appeared if alert.id in self.missed],
            new=new,
            updated=sum(key not in self.facts.unread for key in to_deliver),
            late=sum(self.facts.any_status and self.facts.is_late(alert) for alert in appeared if alert.id in unread),
        )

    def _worth_delivering(self, change: Appeared | Changed) -> bool:
        """Tell whether the IRP must hear of a change.

        It need not if an ignored alert only had its contents read for the first time, or changed to an unwanted status;
        nor if one side of it was closed in an IRP that is not configured any more.
        """
        alert = change.snapshot.alert
        link = self.known.links.get(alert.id)
        if link is None or isinstance(change, Appeared):
            return False
        over = (link.alert_closed or link.incident_closed) and not self._is_free(link) and not self._serves(link)
        return not (over or self._stays_ignored(alert) or (link.ignored and change.first_read))

    def _stays_ignored(self, alert: Alert) -> bool:
        """Tell whether a known alert is ignored, or had no route, and changed to what no incident is wanted for."""
        link = self.known.links.get(alert.id)
        if link is None or not (link.ignored or link.target == NO_ROUTE):
            return False
        unwanted = link.ignored and not self.rules.wanted.wants(alert)
        return unwanted or self._looked_at_anew(link, alert).target == IGNORE

    def _looked_at_anew(self, link: Link, alert: Alert) -> Link:
        """Return a known link with the target that its alert goes to now, where it is free to go."""
        return replace(link, target=self.rules.routing.target_of(alert)) if self._is_free(link) else link

    def _is_free(self, link: Link) -> bool:
        """Tell whether an alert has no target yet; one that is ignored for a target which is gone has none either."""
        return link.target in (IGNORE, NO_ROUTE) or (link.ignored and not self._serves(link))

    def _serves(self, link: Link) -> bool:
        return self.rules.routing.serves(link.target)

    def _taken(self, changes: Sequence[Appeared | Changed], *, held: AbstractSet[AlertId]) -> list[Link]:
        """Return the links of changed alerts that had no route, and have one now."""
        taken = list[Link]()
        for alert in (change.snapshot.alert for change in changes):
            link = self.known.links.get(alert.id)
            if link is not None and link.target == NO_ROUTE:
                anew = routed(link, self._looked_at_anew(link, alert).target, held=alert.id in held)
                taken += [anew] if anew != link else []
        return taken

    def _born(self, alert: Alert, *, held: bool) -> Link:
        target = self.rules.routing.target_of(alert)
        can = self.rules.targets.get(target)
        # One that left the statuses asked for may be known no more, for it was pruned.
        doubtful = alert.id in self.unseen or not self.facts.is_new(alert)
        # Of a target that does not work now nobody knows what it can: `find` comes first where there is one.
        unknown = can is None or ((can.find_always or doubtful) and can.can_find)
        state: State
        if self._idle(alert):
            state = Ignored(missed=alert.id in self.missed, unknown=unknown)
        else:
            state = Sought(doubt=Doubt.UNKNOWN, held=held) if unknown else NotMade(held=held)
        return Link(alert_id=alert.id, target=target, state=state)

    def _saved(
        self, change: Appeared | Changed, *, to_deliver: Collection[AlertId], unread: Collection[AlertId]
    ) -> Saved:
        alert = change.snapshot.alert
        deliver = alert.id in to_deliver if isinstance(change, Changed) else not self._idle(alert)
        return Saved(
            snapshot=change.snapshot,
            contents=change.seen.contents if deliver else None,
            recheck=self._recheck(change),
            unread=alert.id in unread,
        )

    def _recheck(self, change: Appeared | Changed) -> bool:
        """Tell whether to look once more when lastSeen leaves the overlap: until then a listing may hide growth."""
        alert = change.snapshot.alert
        passed_over = change.snapshot.oversize or alert.id in self.missed
        if alert.last_seen is None or passed_over or (self.facts.listing and self._stays_ignored(alert)):
            return False
        unread = change.seen.contents is None
        now = self.facts.server_now
        return unread or now is None or alert.last_seen >= now - self.rules.overlap

    def _idle(self, alert: Alert) -> bool:
        """Tell whether no incident is made of a new alert until it changes."""
        ignored = self.rules.routing.target_of(alert) == IGNORE
        return ignored or _old(alert, self.rules) or alert.id in self.missed
