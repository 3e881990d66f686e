"""The steps of a delivery to an IRP that polls us: nothing is sent, the alert is put out as it will be given."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial

from kuma_sync.core import budget, transitions
from kuma_sync.core.alert import Contents, JsonObject
from kuma_sync.core.handout import as_closed, item, with_hosts
from kuma_sync.core.link import DeliveredState, Link, Offered
from kuma_sync.core.retry import Bounce, RetryAt
from kuma_sync.core.steps import Offer, Step, unsent
from kuma_sync.kuma.parse import read_scalars
from kuma_sync.store.handouts import Handout, Lists, Text, as_json
from kuma_sync.sync.delivery.unit_of_work import Change, DeliveryState, DeliveryUnitOfWork
from kuma_sync.sync.queue.leased_job import LeasedJob
from kuma_sync.sync.remote.gate import GateClosed
from kuma_sync.sync.remote.rate import RetryContext

_LARGE = 200
"""Events; more are packed in a thread."""


class Offering:
    """Puts alerts out; a change of fields alone has a budget, as an update has (core/budget)."""

    reaches = False

    def __init__(self, *, target: str, unit_of_work: DeliveryUnitOfWork, pace: RetryContext) -> None:
        self._target = target
        self._unit_of_work = unit_of_work
        self._pace = pace

    def bounced(self, stopped: GateClosed) -> Bounce | RetryAt:
        """Return what a shut gate means for a job: it is KUMA's, of which contents were asked."""
        return RetryAt(at=stopped.until, reason=stopped.summary, counts=False)

    async def ended(self, job: LeasedJob) -> None:
        """Do nothing: no other job waits for this one."""

    async def take(self, job: LeasedJob, work: DeliveryState, step: Step) -> Change | RetryAt:
        """Put the alert out."""
        if not isinstance(step, Offer):
            return Change(become=lambda link: link)
        capabilities, now = self._unit_of_work.capabilities, self._pace.clock()
        new = len(unsent(work.link, work.kept))
        known = isinstance(work.link.state, Offered)
        later = budget.put_off_until(work.link, unsent=new, capabilities=capabilities, now=now) if known else None
        if later is not None and not step.closed:
            return RetryAt(at=later, reason="put off: the alert changes often", counts=False)
        job.ensure_valid()
        build = partial(handout, self._target, work, step)
        large = work.contents is not None and len(work.contents.events) > _LARGE
        out = await asyncio.to_thread(build) if large else build()
        return Change(become=partial(self._become, work=work, step=step, now=now), handout=out)

    def _become(self, link: Link, *, work: DeliveryState, step: Offer, now: datetime) -> Link:
        new = len(unsent(link, work.kept))
        paid = budget.charged(link, unsent=new, capabilities=self._unit_of_work.capabilities, now=now)
        events = link.sent.events.union(work.kept)
        sent = DeliveredState(fingerprint=work.snapshot.fingerprint, events=events)
        return transitions.offered(paid, sent, closed=step.closed)


def handout(target: str, work: DeliveryState, step: Offer) -> Handout:
    """Return an alert as it is put out. Without contents those put out before stay."""
    alert = work.snapshot.alert
    shown = as_closed(alert, work.link.close_reason) if step.closed else alert
    raw: JsonObject = work.contents.raw if work.contents is not None else {}
    head = as_json(item(shown, raw, read_scalars(raw, alert.id) if raw else None))
    return Handout(
        alert=shown,
        target=target,
        head=Text.of(head[:-1]),
        lists=None if work.contents is None else _lists(work.contents),
        anew=not isinstance(work.link.state, Offered) or work.link.sent.fingerprint is None,
    )


def _lists(contents: Contents) -> Lists:
    return Lists(
        events=Text.of(as_json(list(contents.events))),
        affected=_affected(contents.accounts, with_hosts(contents.assets, lists=False)),
        affected_lists=_affected(contents.accounts, with_hosts(contents.assets, lists=True)),
    )


def _affected(accounts: Sequence[JsonObject], assets: Sequence[JsonObject]) -> Text:
    return Text.of(b'"affectedAssets":%s,"affectedAccounts":%s}' % (as_json(list(assets)), as_json(list(accounts))))
