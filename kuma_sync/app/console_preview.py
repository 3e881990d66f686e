"""What the console shows of one alert behind a click: its events, the requests for it, what the incident holds now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from kuma_sync.app.live import Live, look
from kuma_sync.app.preview import Rendered, load_stored, stored_requests, with_contents
from kuma_sync.core.alert import AlertId, JsonObject
from kuma_sync.core.errors import KumaSyncError
from kuma_sync.core.sentence import sentence
from kuma_sync.settings import Settings
from kuma_sync.store import Store
from kuma_sync.sync.delivery.context import ContentsReader
from kuma_sync.sync.delivery.unit_of_work import DeliveryState
from kuma_sync.web.console.orders import NothingDone


class Previews:
    """Looks at one alert. What was delivered and forgotten here is read from KUMA, through the daemon's gate."""

    def __init__(
        self, store: Store, *, settings: Callable[[], Settings], reader: Callable[[], ContentsReader | None]
    ) -> None:
        self._store = store
        self._settings = settings
        self._reader = reader

    async def events(self, alert_id: str) -> list[JsonObject]:
        """Return the events that are passed on, in KUMA's order; raise NothingDone where they cannot be read."""
        work = await self._work(alert_id)
        contents = work.contents
        if work.lacks_contents:
            reader = self._reader()
            if reader is None:
                raise NothingDone(sentence("The daemon is starting: KUMA cannot be asked yet."))
            try:
                contents = await reader.read(work.alert_id)
            except KumaSyncError as error:
                raise NothingDone(sentence("KUMA cannot be asked for them: %(why)s.", why=str(error))) from None
        if contents is None:
            raise NothingDone(sentence("KUMA has them no more, or they are above the size limit."))
        return list(contents.events)

    async def requests(self, alert_id: str) -> list[Rendered]:
        """Return the requests as they would be sent, secrets masked; raise NothingDone where there are none."""
        work, settings = await self._work(alert_id), self._settings()
        try:
            stored = await with_contents(settings, work, self._reader())
            return await asyncio.to_thread(stored_requests, settings, stored)
        except KumaSyncError as error:
            raise NothingDone(sentence("No request can be shown: %(why)s.", why=str(error))) from None

    async def live(self, alert_id: str) -> Live:
        """Ask the IRP what the incident holds now; raise NothingDone where it cannot be asked."""
        work = await self._work(alert_id)
        try:
            return await look(self._settings(), work)
        except KumaSyncError as error:
            raise NothingDone(sentence("The IRP cannot be asked: %(why)s.", why=str(error))) from None

    async def _work(self, alert_id: str) -> DeliveryState:
        work = await self._store.read(partial(load_stored, alert_id=AlertId(alert_id)))
        if work is None:
            raise NothingDone(sentence("There is no alert %(id)s here.", id=alert_id))
        return work
