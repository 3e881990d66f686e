from stores import opened
from kuma_sync.core.alert import Alert, AlertId, Contents, Picture, event_digest
from kuma_sync.core.incident import Link
from kuma_sync.store import Lane, Put, Shape, Shown
from datetime import UTC, datetime, timedelta

async def test_smoke(database_url):
    async with opened(database_url) as store:
        a = Alert(id=AlertId("a1"), name="Имя", last_seen=datetime(2025,1,1,tzinfo=UTC))
        e = {"ID": "x"}
        c = Contents(events=(e,), event_ids=frozenset([event_digest(e)]))
        p = Picture(alert=a, event_ids=c.event_ids, affected="1:x")
        async with store.begin() as tx:
            await tx.alerts.save([Shown(picture=p, shape=Shape.CONTENTS, digest=b"d"*32, contents=c, recheck=True)], now=tx.now, sweep=1)
            await tx.links.add([Link(alert_id=a.id)], now=tx.now)
            await tx.delivery.put([Put(subject="a1", lane=Lane.CREATE)])
            await tx.delivery.put([Put(subject="a1", lane=Lane.CLOSE)])
        async with store.read() as tx:
            assert (await tx.alerts.pictures([a.id]))[a.id] == p
            assert await tx.alerts.by_digest(Shape.CONTENTS, [b"d"*32]) == {b"d"*32: "a1"}
            assert (await tx.overview.counts())["pending"] == 1
            assert (await tx.alerts.contents(a.id)) == c
        async with store.begin() as tx:
            (claim,) = await tx.delivery.claim(5, owner="o", lease=timedelta(seconds=30))
            assert claim.lane is Lane.CLOSE
            await tx.delivery.put([Put(subject="a1", lane=Lane.UPDATE)])
        async with store.begin() as tx:
            assert await tx.delivery.claim(5, owner="o", lease=timedelta(seconds=30)) == []
            await tx.delivery.again(claim, at=tx.now + timedelta(minutes=1), reason="x")
            assert (await tx.delivery.depths()) == {"backoff": 1}
            await tx.alerts.note_digests(Shape.LISTING, {a.id: b"l"*32})
            await tx.alerts.mark_shown([a.id], 2)
            assert await tx.alerts.unshown(2) == []
            assert await tx.alerts.unshown(3) == ["a1"]
            assert await tx.alerts.tied(datetime(2025,1,1,tzinfo=UTC)) == 1
            assert [r.state for r in await tx.overview.rows()] == ["pending"]
            turn = await tx.lease.take("reader", "me", ttl=timedelta(seconds=5))
            await tx.lease.assure(turn)
            await tx.overview.prune(tx.now, now=tx.now)
