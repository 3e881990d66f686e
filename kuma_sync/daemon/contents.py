"""An alert's contents read again from KUMA by id, when they are needed after they were delivered.

Must not: store them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext

import structlog

from kuma_sync.core.alert import AlertId, Contents
from kuma_sync.core.errors import NotAllowed, Permanent, Transient
from kuma_sync.core.window import Query, ReadKind
from kuma_sync.kuma.client import Element, KumaClient
from kuma_sync.kuma.wire import Parsed, parse_in_turns

log = structlog.get_logger(__name__)


class ContentsReader:
    """Reads one alert's contents. Needed for resync, render, and an incident made anew.

    `admit` is the gate that each request goes through; a command that asks once needs none.
    """

    def __init__(
        self,
        *,
        kuma: KumaClient,
        max_events: int,
        admit: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        self._kuma = kuma
        self._max_events = max_events
        self._admit = admit

    async def read(self, alert_id: AlertId, *, needed: bool = True) -> Contents | None:
        """Return the contents; None where KUMA has none left or refuses this id, or they are above the size limit.

        Raise RemoteError. Where they are not `needed`, only for what has to do with all of KUMA: an alert that it
        cannot show gives None.
        """
        try:
            return await self._asked(alert_id)
        except (Permanent, Transient) as error:
            if isinstance(error, Transient) and (needed or error.retry_after is not None):
                raise
            async with self._admit():
                await self._kuma.assure_answers(ReadKind.CONTENTS)
            log.warning("contents_unreadable", count=1, alert_ids=[alert_id], reasons=[error.summary])
            return None

    async def _asked(self, alert_id: AlertId) -> Contents | None:
        try:
            return await self._read(alert_id)
        except NotAllowed:
            return await self._read(alert_id)

    async def _read(self, alert_id: AlertId) -> Contents | None:
        query = Query(kind=ReadKind.CONTENTS, ids=(alert_id,))
        found: Contents | None = None
        async with self._admit(), aclosing(self._kuma.read(query)) as items:
            async for item in items:
                if isinstance(item, Element) and item.raw is not None:
                    alert = await parse_in_turns(item.raw, with_events=True, max_events=self._max_events)
                    if isinstance(alert, Parsed) and alert.seen.alert.id == alert_id:
                        found = alert.seen.contents
        return found
