"""What waits for a human: grouped by its reason, and the members of one group page by page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from kuma_sync.core.alert import AlertId, AlertSnapshot
from kuma_sync.core.routing import IRP
from kuma_sync.core.sentence import N_, Sentence, counted, sentence
from kuma_sync.settings import Settings
from kuma_sync.store import Tx
from kuma_sync.store.read_models.groups import Group, Kind, Members
from kuma_sync.web.console.concerned import closings_held, creates_held, remotes_concerned
from kuma_sync.web.console.console import Console

EXAMPLES = 3
PAGE = 50

UNROUTED = N_(
    "Nothing for you to press. Tell the administrator: a route is needed for these alerts. Then they go by themselves."
)
"""What is to be done about alerts that no route takes."""


async def waiting(request: Request, console: Console) -> Response:
    """Show the groups, the largest first."""
    groups = await console.read(lambda tx: tx.groups.all(examples=EXAMPLES))
    values = {
        "standing": await console.source.overall(),
        "groups": groups,
        "titled": titled,
        "unrouted": UNROUTED,
        "parked": sum(group.count for group in groups if group.kind.parked),
        "held": sum(group.count for group in groups if group.kind.held),
        "limit_of": partial(limit_of, console.behind.settings()),
        "several": several(groups),
    }
    return console.page(request, "waiting.html", N_("Parked and held"), values=values, refresh=True)


def limit_of(settings: Settings, group: Group) -> Sentence | None:
    """Say why the brake holds a group, with its numbers as the configuration has them now; None of other groups."""
    if group.kind is Kind.HELD_CREATE:
        return creates_held(settings.brake, group.count)
    return closings_held(settings.brake, group.count) if group.kind.held else None


async def group(request: Request, console: Console) -> Response:
    """Show the members of one group."""
    key, after = request.path_params["key"], request.query_params.get("after") or None
    found = await console.read(partial(_members, key=key, after=after))
    if found is None:
        raise HTTPException(404)
    group, members, snapshots = found
    settings = console.behind.settings()
    values = {
        "concerned": remotes_concerned(settings, [(group.kind.towards, group.target)]),
        "limit": limit_of(settings, group),
        "group": group,
        "members": members,
        "alerts": {str(alert_id): snapshot.alert for alert_id, snapshot in snapshots.items()},
        "reasons_differ": len(group.reasons) > 1,
        "titled": titled,
        "unrouted": UNROUTED,
        "after": after,
    }
    return console.page(request, "group.html", N_("Parked and held"), values=values)


def _members(tx: Tx, *, key: str, after: str | None) -> tuple[Group, Members, Mapping[AlertId, AlertSnapshot]] | None:
    group = tx.groups.named(key)
    if group is None:
        return None
    try:
        members = tx.groups.members(group, after=after, limit=PAGE)
    except ValueError:  # somebody wrote the address by hand
        members = tx.groups.members(group, limit=PAGE)
    return group, members, tx.alerts.snapshots([AlertId(member.id) for member in members.items])


def several(groups: Sequence[Group]) -> list[str]:
    """Return what is in more than one group, `parked` or `held`: only then an order about all of it says more."""
    counts = Counter("parked" if group.kind.parked else "held" if group.kind.held else "" for group in groups)
    return [what for what in ("parked", "held") if counts[what] > 1]


def target_named(target: str) -> Sentence:
    """Name a target for people; the plain one has no name of its own."""
    return sentence("the IRP") if target == IRP else sentence("%(target)s", target=target)


def titled(group: Group) -> Sentence:
    """Say what waits in a group."""
    count, target = group.count, target_named(group.target)
    match group.kind:
        case Kind.DELIVERY:
            return counted(
                "One parked delivery to %(target)s", "%(count)d parked deliveries to %(target)s", count, target=target
            )
        case Kind.CLOSING:
            return counted("One parked closing in KUMA", "%(count)d parked closings in KUMA", count)
        case Kind.PIECE:
            return counted("One parked piece of KUMA's answer", "%(count)d parked pieces of KUMA's answer", count)
        case Kind.HELD_CREATE:
            return counted(
                "One incident held back from %(target)s",
                "%(count)d incidents held back from %(target)s",
                count,
                target=target,
            )
        case Kind.HELD_CLOSE:
            return counted(
                "One closing held back from %(target)s",
                "%(count)d closings held back from %(target)s",
                count,
                target=target,
            )
        case Kind.HELD_CLOSING:
            return counted("One closing held back from KUMA", "%(count)d closings held back from KUMA", count)
        case Kind.UNROUTED:
            return counted("One alert that no route takes", "%(count)d alerts that no route takes", count)
