"""Facts about recording that only a store shows."""

from __future__ import annotations

from datetime import timedelta

from builders import NOW, events, seen
from stores import opened

from kuma_sync.core.alert import AlertId, Observation, first_snapshot
from kuma_sync.core.comparison import Wanted
from kuma_sync.core.link import Link
from kuma_sync.core.plan import Brake
from kuma_sync.core.privacy import Privacy
from kuma_sync.core.recording import RecordSettings
from kuma_sync.core.routing import Routing
from kuma_sync.core.steps import TargetCapabilities
from kuma_sync.core.window import Cursor, Query, ReadKind
from kuma_sync.store import Shape, Shown, Tx
from kuma_sync.sync.leader import LeaderLease
from kuma_sync.sync.polling.recorder import Recorder, Swept
from kuma_sync.sync.polling.round import Pass, Round

ALERT = AlertId("a")
RULES = RecordSettings(
    overlap=timedelta(minutes=5),
    ignore_before=None,
    brake=Brake(max_closed_percent=100, min_alerts=1),
    routing=Routing(),
    targets={"irp": TargetCapabilities()},
    wanted=Wanted(statuses=frozenset({"new"})),
)


async def test_an_alert_whose_contents_are_refused_does_not_count_as_shown_by_the_sweep(sqlite_url: str) -> None:
    known = seen(id=ALERT, events=events("x"))

    def store_it(tx: Tx) -> None:
        shown = Shown(snapshot=first_snapshot(known), shape=Shape.CONTENTS, digest=b"1")
        tx.alerts.save([shown], now=NOW, sweep=0)
        tx.links.add([Link(alert_id=ALERT)], now=NOW)

    async with opened(sqlite_url) as store:
        await store.write(store_it)
        leadership = await LeaderLease(store, owner="me", ttl=timedelta(minutes=1)).take()
        assert leadership is not None
        recorder = Recorder(store=store, rules=RULES, max_events=0, privacy=Privacy(), swept=Swept(), wake=lambda: None)
        round_ = Round(
            leadership=leadership, cursor=Cursor(born_at=NOW), began_at=NOW, to_irp=frozenset({"irp"}), sweep=7
        )
        read = Pass(query=Query(kind=ReadKind.CONTENTS, ids=(ALERT,)), started_at=NOW)

        await recorder.seen([Observation(alert=known.alert)], read, round_)
        unshown = await store.read(lambda tx: tx.alerts.unshown(7))

    assert unshown == [ALERT]
