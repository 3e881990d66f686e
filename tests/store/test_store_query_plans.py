"""Plans of the queries that run every second: they must not grow with what was finished or set aside long ago."""

from __future__ import annotations

from datetime import timedelta

from plans import Plans, analyze, fill, plans
from queue_steps import LEASE, claim_one, put
from sqlalchemy import text
from stores import opened

from kuma_sync.core.alert import AlertId
from kuma_sync.store import Mark, Shape, Store

TABLES = ("delivery_queue", "links", "alerts")


async def test_neither_claims_nor_polls_read_what_is_finished(database_url: str) -> None:
    fill(database_url)
    async with opened(database_url) as store:
        await put(store, "due")
        plan = await planned(store)
        for _ in range(2):
            if plan.whole(*TABLES):
                # PostgreSQL plans by a sample of its tables: a plan that is bad by chance is not bad again.
                await analyze(store)
                plan = await planned(store)

        assert plan.looked_at
        assert plan.whole(*TABLES) == [], plan.whole(*TABLES)


async def planned(store: Store) -> Plans:
    """Run every statement of claims and polls once, and collect the plans."""
    with plans(store) as plan:
        claimed = await claim_one(store)
        with store.writing() as tx:
            tx.delivery.renew([claimed], lease=LEASE)
            tx.delivery.again(claimed, at=tx.now)
            tx.alerts.by_digest(Shape.CONTENTS, [b"unknown"])
            tx.alerts.by_digest(Shape.LISTING, [b"unknown"])
            tx.alerts.snapshots([AlertId("unknown")])
            tx.alerts.gone([AlertId("unknown")])
            tx.alerts.mark_shown([AlertId("unknown")], 7)
            tx.alerts.unshown(7)
            tx.alerts.to_recheck(tx.now)
            tx.alerts.tied(tx.now)
            tx.links.locked([AlertId("unknown")])
            tx.overview.state(AlertId("unknown"))
            tx.alerts.newly_closed()
            tx.links.behind()
            tx.links.open_count()
            tx.links.held()
            tx.links.unresolved()
            tx.links.by_incident(["unknown", "1d0c0000-0000-4000-8000-0000000000aa"])
            tx.links.stored_as(["1d0c0000-0000-4000-8000-0000000000aa"])
            tx.links.mark_gone([AlertId("unknown")], now=tx.now)
            tx.links.doubt_unmade()
            tx.links.unshown()
            tx.links.look_no_more(now=tx.now)
            tx.pruning.alerts(tx.now)
            tx.pruning.alerts(tx.now, after=Mark(changed_at=tx.now - timedelta(days=1), alert_id="a"))
            tx.pruning.records(tx.now, now=tx.now)
    return plan


async def test_the_overview_reads_rows_of_those_alone_that_have_a_job(database_url: str) -> None:
    fill(database_url, parked=False)
    async with opened(database_url) as store:
        for number in range(200):
            await put(store, f"old{number}")
        await analyze(store)
        with plans(store) as plan, store.reading() as tx:
            tx.overview.counts()

        assert len(plan.looked_at) == 2
        assert [one for one in plan.whole("links", "alerts") if "special" in one] == []


async def test_the_watch_over_the_plans_notices_a_table_read_from_end_to_end(database_url: str) -> None:
    async with opened(database_url) as store:
        with plans(store) as plan, store.engine.connect() as connection:
            connection.execute(text("SELECT id FROM alerts WHERE assignee = 'nobody'"))

        assert len(plan.whole("alerts")) == 1
