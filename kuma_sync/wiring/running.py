"""Which processes work on a store now: the daemon, its copies, a `run --once`; and whether one of them cannot write.

Must not: change anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from kuma_sync.daemon.heartbeat import DEAD_AFTER
from kuma_sync.store import Heartbeat, Store, Tx


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Who works on a store."""

    daemons: tuple[Heartbeat, ...] = ()
    passes: tuple[Heartbeat, ...] = ()
    """Each a `run --once` under way."""
    mute: bool = False
    """Some process holds the file, and has not written to it for so long that it seems unable to."""
    last: Heartbeat | None = None
    """Of those that no longer live, the one heard last."""

    @property
    def daemon(self) -> bool:
        """Tell whether there is a daemon, as far as can be told."""
        return bool(self.daemons) or self.mute

    @property
    def somebody(self) -> str:
        """Say who works on the store, for a sentence; empty where nobody does."""
        for what, heard in (("a daemon", self.daemons), ("a single pass", self.passes)):
            if heard:
                return f"{what} runs (pid {', '.join(f'{one.process.pid} on {one.process.host}' for one in heard)})"
        return "a process holds the store's file" if self.mute else ""


async def running(store: Store, tx: Tx) -> Running:
    """Return who works on the store.

    A file's lock ends with its process and tells at once; where several copies share a server, and where this user may
    not look at the lock, one counts as dead DEAD_AFTER its last word.
    """
    heard = await tx.heartbeats.heard()
    held = store.is_held()
    fresh = [one for one in heard if held is not False and one.silent <= DEAD_AFTER]
    gone = [one for one in heard if one not in fresh]
    return Running(
        daemons=tuple(one for one in fresh if not one.process.single_pass),
        passes=tuple(one for one in fresh if one.process.single_pass),
        mute=held is True and not fresh,
        last=max(gone, key=lambda one: one.heard_at, default=None),
    )
