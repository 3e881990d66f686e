"""What `[privacy]` needs of the store: its key, and that what was stored earlier obeys it, too."""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any

import structlog

from kuma_sync.core.privacy import Privacy
from kuma_sync.settings.privacy import PrivacySection
from kuma_sync.store import Store, Tx
from kuma_sync.store.keys import APPLIED, MASKING

log = structlog.get_logger(__name__)


async def obey(store: Store, privacy: Privacy, *, anew: bool = False) -> None:
    """Unlock the rules, and hide what they name in all that was stored under others, in short transactions.

    Broken off, it is begun again at the next start or reload. `anew`: this process stored by other rules until now,
    whatever another copy has hidden meanwhile.
    """
    await unlock(store, privacy)
    applied = await store.read(lambda tx: tx.keys.get(APPLIED))
    if applied == (privacy.mark if privacy.on else None) and not (anew and privacy.on):
        return
    if not privacy.on:
        await store.write(lambda tx: tx.keys.forget(APPLIED))
        return
    log.info("privacy_changed", state="hiding what is stored")
    for table in ("contents", "handouts", "parked", "words"):
        after: str | None = ""
        while after is not None:
            after = await store.write(partial(_hide_some, table, privacy, after), long=True)
    await store.write(lambda tx: tx.keys.put(APPLIED, privacy.mark))
    log.info("privacy_changed", state="done")


async def unlock(store: Store, privacy: Privacy) -> None:
    """Give the rules the store's key, made where there is none."""
    if not privacy.masks:
        return
    key = await store.read(lambda tx: tx.keys.get(MASKING))
    privacy.unlock(key if key is not None else await store.write(lambda tx: tx.keys.make(MASKING)))


def unlocked(store: Store, section: PrivacySection) -> Privacy:
    """Return the rules with the store's key, without an event loop."""
    if not section.rules().masks:
        return section.rules()
    with store.writing() as tx:
        return section.rules(tx.keys.make(MASKING))


def rules_now(tx: Tx, section: PrivacySection) -> Privacy:
    """Return the rules for a command that stores nothing: without a key yet, another one will do."""
    return section.rules(tx.keys.get(MASKING) or secrets.token_bytes(32))


def _hide_some(table: str, privacy: Privacy, after: str, tx: Tx) -> Any:
    rows = tx.hiding
    hide = {"contents": rows.contents, "handouts": rows.handouts, "parked": rows.parked, "words": rows.words}[table]
    return hide(privacy, after)
