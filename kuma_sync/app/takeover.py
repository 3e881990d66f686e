"""Whose a store is: the KUMA and the targets it belongs to, what of a configuration it refuses, what it takes over."""

from __future__ import annotations

from collections.abc import Collection

from kuma_sync.core.errors import ConfigError
from kuma_sync.settings.targets import key_of
from kuma_sync.store import Identity, Tx
from kuma_sync.sync.runtime.runner import Runtime

_REBIND = "`kuma-sync db rebind` accepts the configured one"
_ADVICE = {
    "kuma.instance": "give the old name back, for it is part of every incident's key: `kuma-sync db rebind` would leave"
    " the older incidents under their old keys"
}


def take_over(tx: Tx, runtime: Runtime, *, served: Collection[str] = ()) -> None:
    """Note which targets there are, and require `find` before creates. Raise ConfigError as refuse_* do.

    Targets that this process has `served` by now need no `find`: it knows what it made there.
    """
    refuse_unfit(tx, runtime)
    ours, configured = runtime.identity, {*runtime.targets, *runtime.broken}
    for name in tx.targets.names() - configured:
        tx.targets.forget(name)
    tx.cursor.bind(ours.kuma_instance)
    tx.targets.bind(ours.targets)
    tx.targets.know(runtime.broken)
    able = [target for target in runtime.targets.values() if target.can_find]
    tx.links.doubt_unmade([one.name for one in able if one.find_always or one.name not in served])


def refuse_unfit(tx: Tx, runtime: Runtime) -> None:
    """Raise ConfigError if the store belongs to another KUMA or IRP, or needs a target that is not configured."""
    known = tx.targets.identity()
    if known is not None:
        refuse_another(known, runtime.identity)
    refuse_removed(tx, {*runtime.targets, *runtime.broken})


def refuse_another(known: Identity, ours: Identity) -> None:
    """Raise ConfigError if the store belongs to another KUMA, or a target's incidents are in another IRP."""
    differing = [("kuma.instance", known.kuma_instance, ours.kuma_instance)]
    for name in known.targets.keys() & ours.targets.keys():
        theirs, irp = known.targets[name], ours.targets[name]
        differing.append((f"{key_of(name)}.url", theirs.irp_url, irp.irp_url))
        differing.append((f"{key_of(name)}.profile", theirs.profile, irp.profile))
    for key, before, now in differing:
        if before != now:
            raise ConfigError(key, f"the store belongs to {before!r}, not {now!r}; {_ADVICE.get(key, _REBIND)}")


def refuse_removed(tx: Tx, configured: Collection[str]) -> None:
    """Raise ConfigError if something is left to be done for a target that is not configured, or is no longer."""
    for name, remaining in tx.targets.left().items():
        if name not in configured:
            rebind = f"stop the daemon, and `kuma-sync db rebind --target {name}` sends them where the routes say"
            raise ConfigError(key_of(name), f"is missing, and has {remaining}; give it back; or {rebind}")


def refuse_renamed(old: Identity, new: Identity) -> None:
    """Raise ConfigError if the profile of a target has another name than the one it was started with."""
    for name in old.targets.keys() & new.targets.keys():
        was = old.targets[name].profile
        if new.targets[name].profile != was:
            raise ConfigError(f"{key_of(name)}.profile", f"its name was {was!r} when the daemon started; restart it")
