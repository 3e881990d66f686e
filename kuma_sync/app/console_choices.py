"""What an order of the console is about: found in the store, and said in words before and after it is done."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kuma_sync.app.done_before import done_to, done_to_any, orders_so_far, with_who
from kuma_sync.core.alert import AlertId
from kuma_sync.core.link import Link, Offered
from kuma_sync.core.routing import IGNORE, NO_ROUTE
from kuma_sync.core.sentence import Sentence, counted, sentence
from kuma_sync.settings import Settings
from kuma_sync.settings.sections import BrakeSection
from kuma_sync.store import Tx
from kuma_sync.store.read_models.groups import Member
from kuma_sync.store.read_models.waiting import Held, ParkedJob
from kuma_sync.sync import operator
from kuma_sync.web.console.concerned import closings_held, creates_held, remotes_concerned
from kuma_sync.web.console.orders import (
    MOST_SHOWN,
    Choice,
    Drop,
    Forecast,
    Item,
    NothingDone,
    Release,
    Resync,
    Retry,
    agreed_on,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The subjects of an order, what it would do, and how to say what it did to so many of them.

    `pieces` are those that are no alerts. `waits` is what of them was chosen because it waits: the order is carried out
    on what still does.
    """

    ids: Sequence[str]
    forecast: Forecast
    told: Callable[[int], Sentence]
    pieces: Sequence[str] = ()
    waits: Mapping[str, Sequence[ParkedJob | Held]] = field(default_factory=dict)


def chosen(tx: Tx, order: Retry | Drop | Release | Resync, settings: Settings) -> Chosen:
    """Find what an order is about; raise NothingDone where that is nothing."""
    try:
        return _chosen(tx, order, settings)
    except NothingDone as nothing:
        choice = order.choice
        who = done_to(tx, choice.ids) if choice.ids else done_to_any(tx, type(order).__name__.lower())
        raise NothingDone(with_who(nothing.says, who)) from None


def _chosen(tx: Tx, order: Retry | Drop | Release | Resync, settings: Settings) -> Chosen:
    match order:
        case Retry(choice=choice):
            return _agreed_so_far(tx, "retry", choice, _to_retry(_parked(tx, choice), settings))
        case Drop(choice=choice):
            return _to_drop(tx, choice, settings)
        case Release(choice=choice):
            return _to_release(_held(tx, choice), settings)
        case Resync():
            return _agreed_so_far(tx, "resync", order.choice, _to_resync(tx, order, settings))


def _agreed_so_far(tx: Tx, action: str, choice: Choice, found: Chosen) -> Chosen:
    """Let named alerts be agreed to as they are: not where somebody gave the same order since the page was shown."""
    if not choice.ids:
        return found
    return replace(found, forecast=replace(found.forecast, agreed=orders_so_far(tx, action, choice.ids)))


def _parked(tx: Tx, choice: Choice) -> Sequence[ParkedJob]:
    if choice.group:
        return [one for one in _members(tx, choice.group) if isinstance(one, ParkedJob)]
    if choice.everything:
        return tx.waiting.parked()
    return [job for one in choice.ids for job in tx.waiting.parked(one)]


def _held(tx: Tx, choice: Choice) -> Sequence[Held]:
    if choice.group:
        return [one for one in _members(tx, choice.group) if isinstance(one, Held)]
    if choice.everything:
        return tx.waiting.held()
    return [held for one in choice.ids for held in tx.waiting.held(one)]


def _members(tx: Tx, key: str) -> Sequence[Member]:
    group = tx.groups.named(key)
    return [] if group is None else tx.groups.members(group, limit=group.count).items


def _to_retry(parked: Sequence[ParkedJob], settings: Settings) -> Chosen:
    if not parked:
        raise NothingDone(sentence("Nothing of this is parked any more."))
    pieces = [one.id for one in parked if one.size is not None]
    return Chosen(
        ids=_once(one.id for one in parked),
        pieces=pieces,
        forecast=Forecast(
            says=counted("One parked job is tried again.", "%(count)d parked jobs are tried again.", len(parked)),
            remarks=(*_concerned(settings, parked), sentence("What fails again in the same way is parked again.")),
            items=_items((one.id, one.name) for one in parked),
            count=len(parked),
        ),
        told=lambda count: counted("One alert is back on the queue.", "%(count)d alerts are back on the queue.", count),
    )


def _to_drop(tx: Tx, choice: Choice, settings: Settings) -> Chosen:
    waiting = _waiting_to_drop(tx, choice)
    held = [one for one in waiting if isinstance(one, Held)]
    names = _names_to_drop(tx, choice, waiting)
    if not names:
        raise NothingDone(sentence("There is nothing to be dropped: it is unknown here, or was dropped already."))
    return Chosen(
        ids=list(names),
        waits={} if choice.ids else _by_id(waiting),
        forecast=Forecast(
            says=counted("One alert is given up.", "%(count)d alerts are given up.", len(names)),
            remarks=(
                *_concerned(settings, waiting),
                *_left_open(held),
                sentence("No incident, no update and no closing any more, whatever becomes of the alert in KUMA."),
                sentence("Only the order to send it anew takes an alert up again; a piece that is no alert is lost."),
            ),
            items=_items(names.items()),
            count=len(names),
            binding=True,
            agreed=agreed_on(names),
        ),
        told=lambda count: counted("One alert was given up.", "%(count)d alerts were given up.", count),
    )


def _waiting_to_drop(tx: Tx, choice: Choice) -> Sequence[ParkedJob | Held]:
    """Return what is parked of a choice; of a group all, where its kind may be given up as a whole."""
    if not choice.group:
        return _parked(tx, choice)
    group = tx.groups.named(choice.group)
    if group is None or not group.kind.given_up:
        return []
    return [one for one in tx.groups.members(group, limit=group.count).items if isinstance(one, ParkedJob | Held)]


def _left_open(held: Sequence[Held]) -> list[Sentence]:
    """Say what becomes of the incidents that the brake keeps from being closed."""
    count = sum(one.what == "close" for one in held)
    if not count:
        return []
    return [counted("One incident stays open in the IRP.", "%(count)d incidents stay open in the IRP.", count)]


def _names_to_drop(tx: Tx, choice: Choice, waiting: Sequence[ParkedJob | Held]) -> dict[str, str]:
    """Return what may be dropped, with its name: what is parked or held, and of alerts named by their ids any."""
    names = {one.id: one.name for one in waiting}
    others = [AlertId(one) for one in choice.ids if one not in names]
    dropped = set(operator.dropped_among(tx, others))
    known = tx.alerts.snapshots([one for one in others if one not in dropped])
    return names | {str(alert_id): snapshot.alert.name for alert_id, snapshot in known.items()}


def _to_release(held: Sequence[Held], settings: Settings) -> Chosen:
    if not held:
        raise NothingDone(sentence("The brake holds nothing of this any more."))
    return Chosen(
        ids=_once(one.id for one in held),
        waits=_by_id(held),
        forecast=Forecast(
            says=sentence("What the brake holds is let go: %(parts)s.", parts=_by_kind(held)),
            remarks=(
                *_limits(settings.brake, held),
                *_concerned(settings, held),
                sentence("It is carried out at once and cannot be called back."),
            ),
            items=_items((one.id, one.name) for one in held),
            count=len(held),
            binding=True,
            agreed=agreed_on(f"{one.id} {one.what} {one.towards}" for one in held),
        ),
        told=lambda count: counted("One alert was released.", "%(count)d alerts were released.", count),
    )


def _limits(brake: BrakeSection, held: Sequence[Held]) -> list[Sentence]:
    creates = sum(one.what == "create" for one in held)
    said = [creates_held(brake, creates)] if creates else []
    return said + ([closings_held(brake, len(held) - creates)] if len(held) > creates else [])


def _concerned(settings: Settings, subjects: Iterable[ParkedJob | Held]) -> list[Sentence]:
    return remotes_concerned(settings, [(one.towards, one.target) for one in subjects])


def _by_kind(held: Sequence[Held]) -> tuple[Sentence, ...]:
    counts = Counter((one.what, one.towards) for one in held)
    return tuple(_SAID[kind](count) for kind, count in sorted(counts.items()))


_SAID: dict[tuple[str, str], Callable[[int], Sentence]] = {
    ("create", "irp"): lambda n: counted("one incident is created", "%(count)d incidents are created", n),
    ("close", "irp"): lambda n: counted("one incident is closed", "%(count)d incidents are closed", n),
    ("close", "kuma"): lambda n: counted("one alert is closed in KUMA", "%(count)d alerts are closed in KUMA", n),
}


def _to_resync(tx: Tx, order: Resync, settings: Settings) -> Chosen:
    choice = order.choice
    ids, stay = _sendable(tx, choice.ids) if choice.ids else (operator.seen_since(tx, order.since), [])
    known = tx.links.many([AlertId(one) for one in ids[:MOST_SHOWN]])
    if not known:
        raise NothingDone(_not_sent(stay[0]) if stay else sentence("There is no such alert here."))
    names = tx.alerts.snapshots(list(known))
    concerned = remotes_concerned(settings, [("irp", one.target) for one in known.values()]) if choice.ids else []
    fetched = all(isinstance(link.live, Offered) for link in known.values())
    words = _FETCHED if fetched else _SENT
    dropped = operator.dropped_among(tx, ids) if choice.ids else []
    again = counted(
        "It was dropped, and is taken up again.",
        "%(count)d of them were dropped, and are taken up again.",
        len(dropped),
    )
    return Chosen(
        ids=ids,
        forecast=Forecast(
            says=words.says(len(ids)),
            remarks=(*([again] if dropped else []), *_stay(stay), *concerned, *words.remarks),
            items=_items((one, names[one].alert.name if one in names else "") for one in known),
            count=len(ids),
        ),
        told=words.told,
    )


def _sendable(tx: Tx, named: Sequence[str]) -> tuple[list[AlertId], list[Link]]:
    """Return which of these alerts can be sent, and the links of the others that are known."""
    links, targets = tx.links.many([AlertId(one) for one in named]), tx.targets.names()
    going = [key for key, link in links.items() if operator.goes_somewhere(link, targets, dropped=True)]
    return going, [link for key, link in links.items() if key not in going]


def _stay(links: Sequence[Link]) -> list[Sentence]:
    if not links:
        return []
    return [
        counted(
            "One of them is not sent: no route takes it.",
            "%(count)d of them are not sent: no route takes them.",
            len(links),
        )
    ]


def _not_sent(link: Link) -> Sentence:
    if link.target == IGNORE:
        return sentence("Not sent: a route says that it is ignored.")
    if link.target == NO_ROUTE:
        return sentence(
            "Not sent: no route takes it. Nothing for you to press: it goes by itself once the administrator has added "
            "a route for it."
        )
    return sentence("Not sent: its target %(target)s is no longer configured.", target=link.target)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sending:
    """How it is said that so many alerts are to be sent, and that they will be."""

    says: Callable[[int], Sentence]
    told: Callable[[int], Sentence]
    remarks: Sequence[Sentence]


_SENT = _Sending(
    says=lambda n: counted(
        "The incident of one alert is looked for, then sent anew.",
        "The incidents of %(count)d alerts are looked for, then sent anew.",
        n,
    ),
    told=lambda n: counted(
        "One alert will be looked for and fully updated.",
        "%(count)d alerts will be looked for and fully updated.",
        n,
    ),
    remarks=(sentence("All fields that we send are written, over what analysts wrote in them."),),
)
_FETCHED = _Sending(
    says=lambda n: counted(
        "One alert is put out anew, for the IRP to fetch.",
        "%(count)d alerts are put out anew, for the IRP to fetch.",
        n,
    ),
    told=lambda n: counted(
        "One alert will be put out anew: the IRP gets it when it asks.",
        "%(count)d alerts will be put out anew: the IRP gets them when it asks.",
        n,
    ),
    remarks=(sentence("Nothing is sent: this IRP asks us for its alerts."),),
)


def _items(named: Iterable[tuple[str, str]]) -> tuple[Item, ...]:
    first = dict(named)
    return tuple(Item(id=id_, name=name) for id_, name in list(first.items())[:MOST_SHOWN])


def _by_id(waiting: Iterable[ParkedJob | Held]) -> Mapping[str, Sequence[ParkedJob | Held]]:
    found = defaultdict[str, list[ParkedJob | Held]](list)
    for one in waiting:
        found[one.id].append(one)
    return found


def _once(ids: Iterable[str]) -> list[str]:
    return sorted(set(ids))
