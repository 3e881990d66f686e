"""The console's orders, carried out on the store: each form once, many alerts part by part."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import assert_never

from kuma_sync.app.close_order import CloseOrder, not_asked, way_of
from kuma_sync.app.console_choices import Chosen, chosen
from kuma_sync.app.hiding import unlocked
from kuma_sync.app.identity import routing_of
from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest
from kuma_sync.core.incident import Origin
from kuma_sync.core.link import Link
from kuma_sync.core.maintenance import CLOSE, KUMA
from kuma_sync.core.sentence import Sentence, sentence
from kuma_sync.kuma.parse import parse_alert
from kuma_sync.settings import Settings
from kuma_sync.store import Store, Tx
from kuma_sync.store.dialect import batches
from kuma_sync.sync import operator
from kuma_sync.web.console.orders import (
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
)

AT_ONCE = 100
"""Alerts that one transaction takes up: deliveries must not wait for all of them."""


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
                return (await self._store.read(partial(chosen, order=order))).forecast
            case Close():
                return await self._store.read(partial(self._closing, order=order))
            case Pause():
                return self._pausing(order)
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

    async def _on_many(self, order: Retry | Drop | Release | Resync, signed: Signed) -> Sentence:
        """Do it to all that is chosen. The token is spent with the first part; a crash leaves whole parts undone."""
        found = await self._store.read(partial(chosen, order=order))
        if found.forecast.binding and found.forecast.agreed != signed.agreed:
            raise Changed
        done, first = set[str](), True
        for some in batches(found.ids, AT_ONCE):
            work = partial(self._on_some, order=order, found=found, ids=some, signed=signed, first=first)
            done |= await self._store.write(work, long=True)
            first = False
        for piece in found.pieces if isinstance(order, Retry) else ():
            done |= await self._read_again(piece, by=signed.by)
        if isinstance(order, Resync) and not done:
            raise NothingDone(sentence("Nothing was sent: meanwhile no route takes what you chose, or it was dropped."))
        return found.told(len(done))

    def _on_some(
        self,
        tx: Tx,
        *,
        order: Retry | Drop | Release | Resync,
        found: Chosen,
        ids: Sequence[str],
        signed: Signed,
        first: bool,
    ) -> set[str]:
        if first:
            _spend(tx, signed)
        match order:
            case Retry():
                return set(operator.retry(tx, ids, by=signed.by))
            case Drop():
                return {subject for subject in ids if operator.drop(tx, subject, by=signed.by)}
            case Release():
                wanted = set(ids)
                return set(operator.release(tx, by=signed.by, what=[one for one in found.held if one.id in wanted]))
            case Resync(choice=choice):
                # Those that were dropped are taken up again where they were named.
                return set(operator.resync(tx, [AlertId(one) for one in ids], by=signed.by, dropped=bool(choice.ids)))

    async def _read_again(self, piece: str, *, by: str) -> set[str]:
        """Try a piece that is no alert once more; in a thread, for it may be large."""
        settings = self._settings()

        def again() -> bool:
            privacy = unlocked(self._store, settings.privacy)
            parse = partial(parse_alert, with_events=True, max_events=settings.poll.max_events, privacy=privacy)
            return operator.read_again(self._store, piece, routing=routing_of(settings), by=by, parse=parse)

        return {piece} if await asyncio.to_thread(again) else set()

    def _closing(self, tx: Tx, *, order: Close) -> Forecast:
        link, settings = _link(tx, order.alert_id), self._settings()
        way = way_of(settings, link.target)
        open_ = CloseOrder(alert_id=link.alert_id, to_kuma=settings.close.to_kuma, to_irp=way.may).left_open(link)
        said = {
            ("KUMA", "the IRP"): sentence("The alert is closed in KUMA, and its incident in the IRP."),
            ("KUMA",): sentence("The alert is closed in KUMA."),
            ("the IRP",): sentence("The incident is closed in the IRP."),
        }
        why = {side: said_ for side, said_ in not_asked(link, way) if side not in open_}
        if not open_:
            raise NothingDone(
                sentence(
                    "Nothing is left to be closed. KUMA: %(kuma)s; the IRP: %(irp)s.",
                    kuma=why["KUMA"],
                    irp=why["the IRP"],
                )
            )
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
        link, settings = _link(tx, order.alert_id), self._settings()
        if order.reason is None:
            raise NothingDone(sentence("A closing needs one of KUMA's reasons."))
        _spend(tx, signed)
        request = CloseRequest(
            alert_id=link.alert_id,
            reason=order.reason,
            origin=Origin.OPERATOR,
            by=signed.by,
            comment=order.comment,
        )
        way = way_of(settings, link.target)
        if not operator.order_close(tx, request, to_kuma=settings.close.to_kuma, to_irp=way.may):
            raise NothingDone(sentence("Nothing is left to be closed."))
        return sentence("The closing is on its way.")

    def _pausing(self, order: Pause) -> Forecast:
        self._assure_part(order.part)
        said = {
            KUMA: sentence("KUMA is asked nothing: no new alerts are read, and no closings go there."),
            CLOSE: sentence("No closings go to KUMA; alerts are read and delivered as before."),
        }
        target = sentence("Nothing goes to %(target)s; alerts are read as before, and wait.", target=order.part)
        return Forecast(
            says=said.get(order.part, target),
            remarks=(sentence("What comes meanwhile waits, and nothing is lost."),),
        )

    def _pause(self, tx: Tx, *, order: Pause, signed: Signed) -> Sentence:
        self._assure_part(order.part)
        _spend(tx, signed)
        until = None if order.length is None else tx.now + order.length
        begun = operator.pause(tx, order.part, until=until, by=signed.by)
        if begun.until is None:
            return sentence("%(part)s is paused until somebody resumes it.", part=order.part)
        return sentence("%(part)s is paused until %(until)s.", part=order.part, until=begun.until)

    def _resume(self, tx: Tx, *, order: Resume, signed: Signed) -> Sentence:
        _spend(tx, signed)
        if operator.resume(tx, order.part, by=signed.by) is None:
            raise NothingDone(_not_paused(order))
        return sentence("%(part)s goes on.", part=order.part)

    def _assure_part(self, part: str) -> None:
        if part not in (KUMA, CLOSE, *self._settings().named):
            raise NothingDone(sentence("There is nothing called %(part)s to pause.", part=part))


def _resuming(tx: Tx, *, order: Resume) -> Forecast:
    known = next((one for one in tx.pauses.all() if one.part == order.part), None)
    if known is None:
        raise NothingDone(_not_paused(order))
    return Forecast(
        says=sentence("%(part)s goes on: what waited is done at once.", part=order.part),
        remarks=(sentence("It was paused by %(by)s at %(since)s.", by=known.by, since=known.since),),
    )


def _spend(tx: Tx, signed: Signed) -> None:
    tx.console.spend(signed.token, until=signed.until)


def _not_paused(order: Resume) -> Sentence:
    return sentence("%(part)s is not paused.", part=order.part)


def _link(tx: Tx, alert_id: str) -> Link:
    link = tx.links.get(AlertId(alert_id))
    if link is None:
        raise NothingDone(sentence("There is no alert %(id)s here.", id=alert_id))
    return link
