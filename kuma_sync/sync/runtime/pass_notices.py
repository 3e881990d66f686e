"""`[notify]` after a single pass: who is told what it met, once, with the memory that a daemon has, too."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import structlog

from kuma_sync.core.errors import RemoteError, StoreError
from kuma_sync.core.notices import Key, Told, after_telling, of_a_pass, remembered
from kuma_sync.store import Leadership, Tx
from kuma_sync.sync.limits import NoticeLimits
from kuma_sync.sync.runtime.monitor import condition
from kuma_sync.sync.runtime.noticing import is_judged, of_backlog, of_certificates, of_conditions
from kuma_sync.sync.runtime.notifying import NOTIFIER, Asked, Knowledge, Sent, message_of

log = structlog.get_logger(__name__)


async def ask_the_switch(switch: Asked) -> None:
    """Ask a dead man's switch, once."""
    try:
        await switch.ask()
    except RemoteError as error:
        log.warning("notification_failed", to="heartbeat_url", reason=error.summary)


async def tell(webhook: Sent, knowledge: Knowledge, limits: NoticeLimits) -> None:
    """Tell what is wrong after a pass, and what is over; leave it to a daemon that tells on the same store.

    What a receiver does not take is told by the next pass. Without the store nobody knows what was told: nothing is.
    """
    with suppress(StoreError):  # whoever began the pass meets it, too
        leadership = await knowledge.store.write(partial(_take, knowledge, limits))
        if leadership is None:
            return
        try:
            await _tell(webhook, knowledge, limits)
        finally:
            await knowledge.store.write(lambda tx: tx.lease.give_back(leadership))


async def _tell(webhook: Sent, knowledge: Knowledge, limits: NoticeLimits) -> None:
    told, now = await knowledge.store.read(lambda tx: tx.notified.told()), knowledge.clock()
    readiness, ends = knowledge.health.ready(), knowledge.certificates.ends
    seen = [
        *of_conditions([tuple(condition(knowledge.health, now))]),
        *of_backlog(readiness.parked_by_target, readiness.held_by_target, now),
        *of_certificates(ends, now),
    ]
    for notice in of_a_pass(seen, told, judged=lambda one: is_judged(one, readiness.parts, ends), now=now):
        try:
            await webhook.send(message_of(notice))
        except RemoteError as error:
            log.warning("notification_failed", to="webhook_url", reason=error.summary)
            if error.status is None:  # it is away, and would take its time for each of the others
                return
            continue
        told[notice.key] = after_telling(told, notice, now=now, patience=limits.patience)
        if not await knowledge.store.write(partial(_remember, knowledge, limits, told)):
            return
        log.info("notified", of=notice.event.value, severity=notice.severity.value, about=notice.target)


def _take(knowledge: Knowledge, limits: NoticeLimits, tx: Tx) -> Leadership | None:
    return tx.lease.take(NOTIFIER, knowledge.owner, ttl=limits.lease, force=knowledge.store.local)


def _remember(knowledge: Knowledge, limits: NoticeLimits, told: dict[Key, Told], tx: Tx) -> bool:
    """Write down what was told; say whether we may go on telling."""
    ours = _take(knowledge, limits, tx) is not None
    tx.notified.remember(
        remembered(told if ours else {**tx.notified.told(), **told}, now=tx.now, patience=limits.patience)
    )
    return ours
