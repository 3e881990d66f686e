"""Sends what is owed as a comment of an incident: at most once, and nothing waits for it for long.

That it is being sent is committed before it goes out. One that surely did not arrive is sent again with the job, a few
times; after that, or where nobody knows whether it arrived, it is lost, and the log says so.
"""

from __future__ import annotations

from functools import partial

import structlog

from kuma_sync.core import comments
from kuma_sync.core.errors import AccessDenied, Permanent, RemoteError, Transient
from kuma_sync.core.link import Link
from kuma_sync.core.steps import Comment
from kuma_sync.irp.errors import Outdated
from kuma_sync.irp.rendering import Draft
from kuma_sync.sync.delivery.asking import Asker, surely_not
from kuma_sync.sync.delivery.unit_of_work import Change, DeliveryState, DeliveryUnitOfWork
from kuma_sync.sync.delivery.writes import Writes
from kuma_sync.sync.failpoint import failpoint
from kuma_sync.sync.queue.leased_job import LeasedJob
from kuma_sync.sync.remote.gate import GateClosed

TRIES = 3
"""Failed attempts of a job after which a comment is given up: what comes after it waits no longer."""

log = structlog.get_logger(__name__)


class Commenter:
    """Sends the comments of one target."""

    def __init__(self, *, asker: Asker, unit_of_work: DeliveryUnitOfWork, writes: Writes) -> None:
        self._asker = asker
        self._unit_of_work = unit_of_work
        self._writes = writes
        self._lost = False

    async def send(self, job: LeasedJob, work: DeliveryState, step: Comment) -> Change:
        """Send it; raise GateClosed or Transient where it surely did not arrive and is worth another attempt."""
        before = work.link
        await self._unit_of_work.note(job, work, partial(comments.sending, closing=step.closing))
        failpoint("comment_begun")
        try:
            await self._send(job, work, step)
        except (RemoteError, GateClosed) as error:
            if _again(job, error):
                await self._unit_of_work.note(job, work, partial(comments.not_sent, before=before))
                raise
            self._say_lost(work, error)
            return Change(become=_as_it_is, audit=("comment_lost", error.summary))
        failpoint("comment_answered")
        self._lost = False
        return Change(become=_as_it_is, audit=("commented", str(len(step.lines))))

    async def _send(self, job: LeasedJob, work: DeliveryState, step: Comment) -> None:
        try:
            await self._send_once(job, work, step)
        except Outdated:
            await self._send_once(job, work, step)

    async def _send_once(self, job: LeasedJob, work: DeliveryState, step: Comment) -> None:
        draft = await self._writes.drafted(job, work, step)
        await self._asker.ask_aside("comment", job, partial(self._write, draft))

    async def _write(self, draft: Draft) -> None:
        try:
            await self._asker.irp.write(draft)
        except AccessDenied as error:
            if self._asker.gates.whole.paused is not None:
                raise
            # A right to comment that is missing stops nothing else. Whether the token is refused, other requests show.
            refused = Permanent(remote=error.remote, operation=error.operation, summary=error.summary)
            raise refused from None

    def _say_lost(self, work: DeliveryState, error: RemoteError | GateClosed) -> None:
        """Say that a comment is lost; at once after another one it is no news."""
        if not self._lost:
            log.warning("comment_lost", alert_id=work.alert_id, reason=error.summary)
        self._lost = True


def _again(job: LeasedJob, error: RemoteError | GateClosed) -> bool:
    worth_it = isinstance(error, GateClosed) or (isinstance(error, Transient) and job.claim.attempts + 1 < TRIES)
    return worth_it and surely_not(error)


def _as_it_is(link: Link) -> Link:
    return link
