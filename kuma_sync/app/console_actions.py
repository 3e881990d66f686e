"""The console's orders, carried out on the store: each form once, many alerts part by part."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import assert_never

from kuma_sync.app.close_order import CloseOrder, not_asked, ordered_before, way_of
from kuma_sync.app.console_choices import Chosen, chosen
from kuma_sync.app.done_before import done_to, orders_so_far, resumed, with_who
from kuma_sync.app.hiding import unlocked
from kuma_sync.app.identity import routing_of
from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import Link
from kuma_sync.core.maintenance import CLOSE, KUMA, Maintenance
from kuma_sync.core.sentence import Sentence, Value, counted, sentence
from kuma_sync.kuma.parse import parse_alert
from kuma_sync.settings import Settings
from kuma_sync.store import Store, Tx
from kuma_sync.store.dialect import batches
from kuma_sync.store.locks import lock
from kuma_sync.store.read_models.waiting import Held
from kuma_sync.sync import operator
from kuma_sync.web.console.orders import (
    MOST_SHOWN,
    Changed,
    Close,
    Drop,
    Forecast,
    Item,
    NothingDone,
    Order,
    Pause,
    Release,
    Resume,
    Resync,
    Retry,
    Signed,
    agreed_on,
)

AT_ONCE = 100
"""Alerts that one transaction takes up: deliveries must not wait for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What one transaction of an order did: to how many, and for how many nothing was `left` to be done.

    `who` did it to the first of those before, where that is known. `same`: it is a piece that still is no alert.
    """

    done: int = 0
    left: int = 0
    who: Sentence | None = None
    same: bool = False


class Actions:
    """Carries out what the console orders. `settings` is called each time, for they may be read again.

    A form is noted as used in the transaction of its first deed; UsedAlready is raised where it was used before.
    """

    def __init__(
        self,
        store: Store,
        *,
        settings: Callable[[], Settings],
        ring: Callable[[], None],
    ) -> None:
        self._store = store
        self._settings = settings
        self._ring = ring

    async def foresee(self, order: Order) -> Forecast:
        """Tell what an order would do; raise NothingDone where it would do nothing."""
        match order:
            case Retry() | Drop() | Release() | Resync():
                return (await self._chosen(order)).forecast
            case Close():
                return await self._store.read(partial(self._closing, order=order))
            case Pause():
                return await self._store.read(partial(self._pausing, order=order))
            case Resume():
                return await self._store.read(partial(_resuming, order=order))
            case _:
                assert_never(order)

    async def carry_out(self, signed: Signed) -> Sentence:
        """Do it, once for a token; tell what was done. Raise NothingDone, or Changed."""
        match signed.order:
            case Retry() | Drop() | Release() | Resync() as order:
                said = await self._on_many(order, signed)
            case Close() as order:
                said = await self._store.write(partial(self._close, order=order, signed=signed))
            case Pause() as order:
                said = await self._store.write(partial(self._pause, order=order, signed=signed))
            case Resume() as order:
                said = await self._store.write(partial(self._resume, order=order, signed=signed))
            case _:
                assert_never(signed.order)
        self._ring()
        return said

    async def _chosen(self, order: Retry | Drop | Release | Resync) -> Chosen:
        return await self._store.read(partial(chosen, order=order, settings=self._settings()), long=True)

    async def _on_many(self, order: Retry | Drop | Release | Resync, signed: Signed) -> Sentence:
        """Do it to all that is chosen. The token is spent with the first part; a crash leaves whole parts undone."""
        found = await self._chosen(order)
        if found.forecast.binding and found.forecast.agreed != signed.agreed:
            raise Changed
        parts = list[_Part]()
        for some in batches(found.ids, AT_ONCE):
            work = partial(self._on_some, order=order, found=found, ids=some, signed=signed, first=not parts)
            parts.append(await self._store.write(work, long=True))
        for piece in found.pieces if isinstance(order, Retry) else ():
            parts.append(await self._read_again(piece, by=signed.by))
        return _told(order, found, parts)

    def _on_some(
        self,
        tx: Tx,
        *,
        order: Retry | Drop | Release | Resync,
        found: Chosen,
        ids: Sequence[str],
        signed: Signed,
        first: bool,
    ) -> _Part:
        if first:
            _spend(tx, signed)
            _assure_first(tx, order, signed)
        done, others = set[str](), set(ids).difference(found.pieces if isinstance(order, Retry) else ())
        match order:
            case Retry():
                done |= set(operator.retry(tx, ids, by=signed.by))
            case Drop():
                done |= {one for one in ids if operator.drop(tx, one, by=signed.by, seen=found.waits.get(one, ()))}
            case Release():
                wanted = [one for id_ in sorted(others) for one in found.waits.get(id_, ()) if isinstance(one, Held)]
                done |= set(operator.release(tx, by=signed.by, what=wanted))
            case Resync(choice=choice):
                waits = operator.resync_waits(tx, [AlertId(one) for one in ids])
                going = [AlertId(one) for one in ids if one not in waits]
                # Those that were dropped are taken up again where they were named.
                done |= set(operator.resync(tx, going, by=signed.by, dropped=bool(choice.ids)))
        left = sorted(others - done)
        return _Part(done=len(done), left=len(left), who=done_to(tx, left[:MOST_SHOWN]))

    async def _read_again(self, piece: str, *, by: str) -> _Part:
        """Try a piece that is no alert once more; in a thread, for it may be large."""
        settings = self._settings()

        def again() -> bool:
            privacy = unlocked(self._store, settings.privacy)
            parse = partial(parse_alert, with_events=True, max_events=settings.poll.max_events, privacy=privacy)
            return operator.read_again(self._store, piece, routing=routing_of(settings), by=by, parse=parse)

        if await asyncio.to_thread(again):
            return _Part(done=1)
        return await self._store.read(partial(_left, piece=piece))

    def _closing(self, tx: Tx, *, order: Close) -> Forecast:
        link, settings = _link(tx, order.alert_id), self._settings()
        way = way_of(settings, link.target)
        close = CloseOrder(alert_id=link.alert_id, to_kuma=settings.close.to_kuma, to_irp=way.may)
        open_ = close.left_open(link)
        said = {
            ("KUMA", "the IRP"): sentence("The alert is closed in KUMA, and its incident in the IRP."),
            ("KUMA",): sentence("The alert is closed in KUMA."),
            ("the IRP",): sentence("The incident is closed in the IRP."),
        }
        why = {side: said_ for side, said_ in not_asked(link, way) if side not in open_}
        if not open_:
            left = sentence(
                "Nothing is left to be closed. KUMA: %(kuma)s; the IRP: %(irp)s.",
                kuma=why["KUMA"],
                irp=why["the IRP"],
            )
            raise NothingDone(with_who(left, done_to(tx, [link.alert_id])))
        if ordered_before(tx, close, link):
            raise NothingDone(_on_its_way(tx, link))
        remarks = [sentence("KUMA: %(why)s.", why=why["KUMA"])] if "KUMA" in why else []
        remarks += [sentence("The IRP: %(why)s.", why=why["the IRP"])] if "the IRP" in why else []
        if way.may and way.why is not None:
            remarks.append(sentence("The closing in the IRP waits: %(why)s.", why=way.why))
        snapshot = tx.alerts.snapshots([link.alert_id]).get(link.alert_id)
        name = snapshot.alert.name if snapshot is not None else ""
        return Forecast(
            says=said[tuple(open_)],
            remarks=(*remarks, sentence("A closing in KUMA cannot be taken back.")),
            items=(Item(id=link.alert_id, name=name),),
        )

    def _close(self, tx: Tx, *, order: Close, signed: Signed) -> Sentence:
        _link(tx, order.alert_id)
        if order.reason is None:
            raise NothingDone(sentence("A closing needs one of KUMA's reasons."))
        _spend(tx, signed)
        link, settings = lock(tx, links=[AlertId(order.alert_id)]).links[AlertId(order.alert_id)], self._settings()
        request = CloseRequest(
            alert_id=link.alert_id,
            reason=order.reason,
            origin=Origin.OPERATOR,
            by=signed.by,
            comment=order.comment,
        )
        way, to_kuma = way_of(settings, link.target), settings.close.to_kuma
        if ordered_before(tx, CloseOrder(alert_id=link.alert_id, to_kuma=to_kuma, to_irp=way.may), link):
            raise NothingDone(_on_its_way(tx, link))
        if not operator.order_close(tx, request, to_kuma=to_kuma, to_irp=way.may):
            raise NothingDone(with_who(sentence("Nothing is left to be closed."), done_to(tx, [link.alert_id])))
        return sentence("The closing is on its way.")

    def _pausing(self, tx: Tx, *, order: Pause) -> Forecast:
        self._assure_part(order.part)
        known = next((one for one in tx.pauses.all() if one.part == order.part), None)
        again = [] if known is None else [_paused_already(known), sentence("It gets another end.")]
        said = {
            KUMA: sentence("KUMA is asked nothing: no new alerts are read, and no closings go there."),
            CLOSE: sentence("No closings go to KUMA; alerts are read and delivered as before."),
        }
        target = sentence("Nothing goes to %(target)s; alerts are read as before, and wait.", target=order.part)
        return Forecast(
            says=said.get(order.part, target),
            remarks=(*again, sentence("What comes meanwhile waits, and nothing is lost.")),
            agreed=_agreed_on_pause(known),
        )

    def _pause(self, tx: Tx, *, order: Pause, signed: Signed) -> Sentence:
        self._assure_part(order.part)
        _spend(tx, signed)
        known = tx.pauses.locked(order.part)
        if known is not None and signed.agreed != _agreed_on_pause(known):
            raise NothingDone(_paused_already(known))
        until = None if order.length is None else tx.now + order.length
        begun = operator.pause(tx, order.part, until=until, by=signed.by)
        if begun.until is None:
            return sentence("%(part)s is paused until somebody resumes it.", part=order.part)
        return sentence("%(part)s is paused until %(until)s.", part=order.part, until=begun.until)

    def _resume(self, tx: Tx, *, order: Resume, signed: Signed) -> Sentence:
        _spend(tx, signed)
        if operator.resume(tx, order.part, by=signed.by) is None:
            raise NothingDone(_not_paused(tx, order))
        return sentence("%(part)s goes on.", part=order.part)

    def _assure_part(self, part: str) -> None:
        if part not in (KUMA, CLOSE, *self._settings().named):
            raise NothingDone(sentence("There is nothing called %(part)s to pause.", part=part))


def _left(tx: Tx, *, piece: str) -> _Part:
    """Say of a piece whether it still waits, or who else took it."""
    return _Part(left=1, who=done_to(tx, [piece]), same=bool(tx.waiting.parked(piece)))


def _told(order: Order, found: Chosen, parts: Sequence[_Part]) -> Sentence:
    """Say what was done, and what somebody else had done before; raise NothingDone where that is all."""
    done, left = sum(one.done for one in parts), sum(one.left for one in parts)
    who = next((one.who for one in parts if one.who is not None), None)
    if not done and any(one.same for one in parts):
        raise NothingDone(sentence("It was read once more, and still is no alert."))
    if not done and who is None and isinstance(order, Resync):
        raise NothingDone(sentence("Nothing was sent: meanwhile no route takes what you chose, or it was dropped."))
    if not done:
        raise NothingDone(with_who(sentence("Nothing of this is left to be done."), who))
    if not left:
        return found.told(done)
    if isinstance(order, Drop) and found.waits:
        rest = counted(
            "One is left alone: it was tried again or changed meanwhile.",
            "%(count)d are left alone: they were tried again or changed meanwhile.",
            left,
        )
    else:
        rest = counted("For one nothing was left to be done.", "For %(count)d nothing was left to be done.", left)
    return sentence("%(told)s %(rest)s", told=found.told(done), rest=with_who(rest, who))


def _resuming(tx: Tx, *, order: Resume) -> Forecast:
    known = next((one for one in tx.pauses.all() if one.part == order.part), None)
    if known is None:
        raise NothingDone(_not_paused(tx, order))
    return Forecast(
        says=sentence("%(part)s goes on: what waited is done at once.", part=order.part),
        remarks=(sentence("It was paused by %(by)s at %(since)s.", by=known.by, since=known.since),),
    )


def _assure_first(tx: Tx, order: Retry | Drop | Release | Resync, signed: Signed) -> None:
    """Raise NothingDone where somebody gave the same order about named alerts since its page was shown."""
    names, action = order.choice.ids, type(order).__name__.lower()
    if not names or not signed.agreed or not isinstance(order, Retry | Resync):
        return
    lock(tx, links=[AlertId(one) for one in names])  # whoever is about to order the same has it, or waits for it
    who = done_to(tx, names) if signed.agreed != orders_so_far(tx, action, names) else None
    if who is not None:
        raise NothingDone(sentence("%(who)s, after you opened this page. Look again before you repeat it.", who=who))


def _spend(tx: Tx, signed: Signed) -> None:
    tx.console.spend(signed.token, until=signed.until)


def _not_paused(tx: Tx, order: Resume) -> Sentence:
    return with_who(sentence("%(part)s is not paused.", part=order.part), resumed(tx, order.part))


def _paused_already(known: Maintenance) -> Sentence:
    values: dict[str, Value] = {"part": known.part, "by": known.by, "since": known.since}
    if known.until is None:
        return sentence("%(part)s is paused already (by %(by)s; begun %(since)s; until somebody resumes it).", **values)
    return sentence(
        "%(part)s is paused already (by %(by)s; begun %(since)s; ends %(until)s).", **values, until=known.until
    )


def _agreed_on_pause(known: Maintenance | None) -> str:
    """Return what stands for the pause that was shown: only that one gets another end."""
    return agreed_on([] if known is None else [f"{known.by} {known.since} {known.until}"])


def _on_its_way(tx: Tx, link: Link) -> Sentence:
    return with_who(sentence("The closing is on its way already."), done_to(tx, [link.alert_id]))


def _link(tx: Tx, alert_id: str) -> Link:
    link = tx.links.get(AlertId(alert_id))
    if link is None:
        raise NothingDone(sentence("There is no alert %(id)s here.", id=alert_id))
    return link
