"""Whether `find` shows what `create` makes: asked once for each profile, for a server may drop our key silently.

Until it is known one create is under way at a time, and none while an incident is being looked for.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

import structlog

from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import StoreUnavailable
from kuma_sync.core.lanes import Lane
from kuma_sync.core.link import Link
from kuma_sync.core.steps import TargetCapabilities
from kuma_sync.store import Put, Store, Tx
from kuma_sync.store.targets import KnownProfile
from kuma_sync.sync.remote.gate import GateClosed, RemoteGate

log = structlog.get_logger(__name__)

NOT_SHOWN = "find does not show what create made"
WHAT_TO_CHECK = (
    "does the profile's create carry the key in a field that the IRP keeps, and does its find search and extract it?"
)


class Proof:
    """What is known of one profile.

    `digest` stands for the profile and the IRP's address. `again` says that a human had the configuration read again:
    what was not shown is given up then, and one more create is let out.
    """

    def __init__(
        self,
        *,
        target: str,
        store: Store,
        gate: RemoteGate,
        capabilities: TargetCapabilities,
        digest: str,
        again: bool,
    ) -> None:
        self.target = target
        self.gate = gate
        self.second_look: datetime | None = None
        """When an incident that was not shown at once is looked for once more; None while none is."""
        self._store = store
        self._capabilities = capabilities
        self._digest = digest
        self._again = again
        self._limits = gate.pace.limits
        self._clock = gate.pace.clock
        self._begun = False
        self._shown = not capabilities.can_find
        self._making: AlertId | None = None
        self._made: set[AlertId] = set()
        self._waits = False
        self._changed = asyncio.Condition()

    @property
    def shown(self) -> bool:
        """Tell whether `find` shows what `create` makes, as far as anybody can: without `find` nobody asks."""
        return self._shown

    def stands_still(self) -> bool:
        """Tell whether creates wait, for one that is under way or being looked for."""
        return not self._shown and (self._making is not None or self._waits)

    def open_at(self) -> datetime | None:
        """Return when it is worth asking again whether creates wait; None means now."""
        return self._clock() + self._limits.proof_looked_for if self.stands_still() else None

    def nothing_waits(self) -> None:
        """Go on as before: whether creates wait is known without them."""

    def concerns(self, alert_id: AlertId) -> bool:
        """Tell whether `find` showing this alert's incident would be the proof: we made it, by this profile."""
        return not self._shown and alert_id in self._made

    async def watch(self) -> None:
        """Take up what is known, then see what other copies and humans do about it, until it is shown."""
        while not (self._begun and self._shown):
            try:
                if not self._begun:
                    await self.take_up()
                elif self.gate.maintenance is not None:
                    pass  # nobody can look now, and what waits for a look is not late
                elif self._waits or self.gate.paused is not None:
                    await self._assure_none_is_looked_for()
            except (StoreUnavailable, GateClosed):
                pass
            await asyncio.sleep(self._limits.proof_looked_for.total_seconds())

    async def take_up(self) -> None:
        """Remember which profile this is. What another one made, or a human gave up, proves nothing about it.

        Raise StoreUnavailable.
        """
        given_up, shown = self._again and not self._begun, self._shown

        def take_up(tx: Tx) -> KnownProfile:
            known = tx.targets.profile(self.target)
            if known.digest != self._digest or (given_up and not known.shown):
                tx.links.look_no_more(self.target, now=tx.now)
                tx.targets.note_profile(self.target, self._digest, shown=shown)
            elif not known.shown:
                # At once, however far away the next look was put.
                unshown = tx.links.unshown(self.target)
                puts = [Put(subject=link.alert_id, lane=Lane.CLOSE, target=self.target) for link in unshown]
                tx.delivery.put(puts)
            return known

        known = await self._store.write(take_up)
        self._begun = True
        if known.digest == self._digest and known.shown:
            await self._over()

    async def enter(self, alert_id: AlertId) -> None:
        """Let a create out, alone while nothing is proven; raise GateClosed while an incident is being looked for.

        `leave` lets the next one in.
        """
        if self.shown:
            return
        async with self._changed:
            await self._changed.wait_for(lambda: self._shown or self._making in (None, alert_id))
            if self._shown:
                return
            self._making = alert_id
        if not self._begun:
            await self.take_up()
        await self._assure_none_is_looked_for(but=alert_id)
        self._made.add(alert_id)

    async def leave(self, alert_id: AlertId) -> None:
        """Note that the job of this alert ended, whatever came of it."""
        if self._making == alert_id:
            async with self._changed:
                self._making = None
                self._changed.notify_all()

    async def found(self) -> None:
        """Note, for good, that `find` showed what `create` made."""
        await self._store.write(lambda tx: tx.targets.note_profile(self.target, self._digest, shown=True))
        log.info("find_shows_what_create_made")
        await self._over()

    def looks_again(self, at: datetime) -> datetime:
        """Note, and return, when an incident that was not shown is looked for once more."""
        self.second_look, self._waits = at, True
        return at

    def not_shown(self, why: str = WHAT_TO_CHECK) -> GateClosed:
        """Let creates stand still; return the error that says so."""
        self.second_look, self._waits = None, True
        return self.gate.stand_still(f"{NOT_SHOWN}: {why}")

    async def _assure_none_is_looked_for(self, *, but: AlertId | None = None) -> None:
        """Raise GateClosed where another incident is being looked for, by whichever copy."""
        known, unshown = await self._store.read(
            lambda tx: (tx.targets.profile(self.target), tx.links.unshown(self.target))
        )
        others = [link for link in unshown if link.alert_id != but]
        if known.digest == self._digest and known.shown:
            await self._over()
        elif others:
            raise self._waiting(others)
        else:
            self._waits = False
            self.gate.go_on()

    def _waiting(self, unshown: list[Link]) -> GateClosed:
        now, self._waits = self._clock(), True
        patience = self._capabilities.settle + self._limits.proof_late
        paused = self.gate.pausable.last()
        firsts = [max(link.not_found_at, paused or link.not_found_at) for link in unshown if link.not_found_at]
        late = any(now - first > patience for first in firsts)
        if late and self.gate.paused is None:
            # Another copy may have looked: this one knows by the store alone.
            self.not_shown()
        return GateClosed(self.gate, self.gate.paused or "whether find shows what create made is being looked at", now)

    async def _over(self) -> None:
        async with self._changed:
            self._shown, self._waits, self.second_look = True, False, None
            self._made.clear()
            self._changed.notify_all()
        self.gate.go_on()
