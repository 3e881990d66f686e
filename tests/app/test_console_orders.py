"""The console's orders on a real store: foreseen, carried out once for a form, and only on what was agreed to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import a_link, an_alert, an_incident
from stores import Clock, opened

from kuma_sync.app.console_actions import Actions
from kuma_sync.core.alert import AlertId, AlertSnapshot, Contents
from kuma_sync.core.closing import Reason
from kuma_sync.core.comparison import Rejected
from kuma_sync.core.errors import UsedAlready
from kuma_sync.core.link import Offered
from kuma_sync.settings import Settings, load
from kuma_sync.store import Lane, Put, Shape, Shown, Store, Tx
from kuma_sync.store.jobs import JobState
from kuma_sync.sync import operator
from kuma_sync.web.console.orders import (
    Changed,
    Choice,
    Close,
    Drop,
    NothingDone,
    Order,
    Pause,
    Release,
    Resume,
    Resync,
    Retry,
    Signed,
)

CONFIG = """\
[kuma]
url = "https://kuma.example.com"
token = "k"
[irp]
url = "https://sv.example.com"
token = "i"
[store]
url = "sqlite:///x.db"
"""


@dataclass
class Ordering:
    """A store and the console's orders on it."""

    store: Store
    actions: Actions
    clock: Clock
    rung: list[str]

    def signed(self, order: Order, *, by: str = "anna", **more: Any) -> Signed:
        """Sign an order with a form of its own."""
        return Signed(
            order=order, by=f"console:{by}", token=os.urandom(8), until=self.clock() + timedelta(hours=1), **more
        )

    async def agreed(self, order: Order, by: str = "anna") -> Signed:
        """Sign an order after a look at what it would do."""
        return self.signed(order, by=by, agreed=(await self.actions.foresee(order)).agreed)

    async def carries_out(self, order: Order) -> str:
        """Agree to an order and have it carried out; return what was told."""
        return str(await self.actions.carry_out(await self.agreed(order)))

    def ask(self, question: Callable[[Tx], Any]) -> Any:
        """Ask the store."""
        with self.store.reading() as tx:
            return question(tx)


@asynccontextmanager
async def ordering(url: str, folder: Path) -> AsyncIterator[Ordering]:
    clock, rung = Clock(), list[str]()
    async with opened(url, clock=clock) as store:
        settings = settings_in(folder)
        actions = Actions(store, settings=lambda: settings, ring=lambda: rung.append("ring"))
        yield Ordering(store=store, actions=actions, clock=clock, rung=rung)


def settings_in(folder: Path) -> Settings:
    path = folder / "config.toml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    return load(path, {})


def keep(tx: Tx, *ids: str, **marks: Any) -> None:
    for alert_id in ids:
        show(tx, alert_id, f"rule {alert_id}")
        tx.links.add([a_link(alert_id=AlertId(alert_id), **marks)], now=tx.now)


def show(tx: Tx, alert_id: str, name: str) -> None:
    snapshot = AlertSnapshot(alert=an_alert(id=AlertId(alert_id), name=name))
    shown = Shown(snapshot=snapshot, shape=Shape.LISTING, digest=None, contents=Contents())
    tx.alerts.save([shown], now=tx.now, sweep=0)


def park(tx: Tx, *ids: str, reason: str = "422") -> None:
    for alert_id in ids:
        tx.delivery.put([Put(subject=alert_id, lane=Lane.CREATE)])
        (claim,) = tx.delivery.claim(1, owner="w", lease=timedelta(seconds=60))
        tx.delivery.park(claim, reason)


def waiting(tx: Tx) -> list[str]:
    return sorted(job.subject for job in tx.delivery.jobs(states=[JobState.PENDING]))


async def test_a_retry_of_all_says_how_many_and_puts_them_all_back(database_url: str, tmp_path: Path) -> None:
    async with ordering(database_url, tmp_path) as here:
        names = [f"a{number:03}" for number in range(130)]
        with here.store.writing() as tx:
            keep(tx, *names)
            park(tx, *names)

        foreseen = await here.actions.foresee(Retry(choice=Choice(everything=True)))
        told = await here.carries_out(Retry(choice=Choice(everything=True)))

        assert (foreseen.count, foreseen.more) == (130, 120)
        assert str(foreseen.says) == "130 parked jobs are tried again."
        assert [one.name for one in foreseen.items] == [f"rule {name}" for name in names[:10]]
        assert told == "130 alerts are back on the queue."
        assert here.ask(waiting) == names
        assert here.ask(lambda tx: {one.actor for one in tx.audit.history("a129")}) == {"console:anna"}
        assert here.rung


async def test_a_group_is_tried_again_and_others_stay_parked(database_url: str, tmp_path: Path) -> None:
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            keep(tx, "a", "b", "c")
            park(tx, "a", "b", reason="422 no such tenant")
            park(tx, "c", reason="409 exists")
        group = next(one for one in here.ask(lambda tx: tx.groups.all()) if one.count == 2)

        await here.carries_out(Retry(choice=Choice(group=group.key)))

        assert here.ask(waiting) == ["a", "b"]
        assert [one.id for one in here.ask(lambda tx: tx.waiting.parked())] == ["c"]


async def test_a_form_that_was_used_does_nothing_more(database_url: str, tmp_path: Path) -> None:
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            keep(tx, "a")
            park(tx, "a")
        signed = await here.agreed(Retry(choice=Choice(ids=("a",))))
        await here.actions.carry_out(signed)
        with here.store.writing() as tx:
            (claim,) = tx.delivery.claim(1, owner="w", lease=timedelta(seconds=60))
            tx.delivery.park(claim, "422 once more")

        with pytest.raises(UsedAlready):
            await here.actions.carry_out(signed)

        assert here.ask(waiting) == []


async def test_nothing_is_dropped_that_was_not_shown(database_url: str, tmp_path: Path) -> None:
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            keep(tx, "a", "b")
            park(tx, "a")
        signed = await here.agreed(Drop(choice=Choice(everything=True)))
        with here.store.writing() as tx:
            park(tx, "b")

        with pytest.raises(Changed):
            await here.actions.carry_out(signed)
        before = here.ask(lambda tx: [one.id for one in tx.waiting.parked()])
        told = await here.carries_out(Drop(choice=Choice(everything=True)))

        assert before == ["a", "b"]
        assert told == "2 alerts were given up."
        assert here.ask(lambda tx: (tx.links.get(AlertId("a")).dropped, tx.links.get(AlertId("b")).dropped))


async def test_an_alert_that_is_not_parked_may_be_dropped_by_its_id_and_taken_up_again(
    database_url: str, tmp_path: Path
) -> None:
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            keep(tx, "a", incident=an_incident())

        await here.carries_out(Drop(choice=Choice(ids=("a",))))
        with pytest.raises(NothingDone, match="dropped already"):
            await here.actions.foresee(Drop(choice=Choice(ids=("a",))))
        foreseen = await here.actions.foresee(Resync(choice=Choice(ids=("a",))))
        told = await here.carries_out(Resync(choice=Choice(ids=("a",))))

        assert "taken up again" in " ".join(map(str, foreseen.remarks))
        assert told == "One alert will be looked for and fully updated."
        assert here.ask(waiting) == ["a"]


async def test_a_piece_that_is_no_alert_is_dropped_and_is_no_alert_at_another_try(
    database_url: str, tmp_path: Path
) -> None:
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            tx.rejects.park([Rejected(digest="d" * 64, raw=b"[1]", reason="not an object")])

        with pytest.raises(NothingDone, match="It was read once more, and still is no alert"):
            await here.carries_out(Retry(choice=Choice(everything=True)))
        await here.carries_out(Drop(choice=Choice(ids=("d" * 64,))))

        assert here.ask(lambda tx: tx.waiting.parked()) == []


async def test_a_release_names_what_it_lets_go_and_leaves_what_came_later(database_url: str, tmp_path: Path) -> None:
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            keep(tx, "a", "b", held_create=True)
            keep(tx, "c")
            tx.closes.put([Put(subject="c", lane=Lane.CLOSE, held=True)])

        foreseen = await here.actions.foresee(Release(choice=Choice(everything=True)))
        await here.carries_out(Release(choice=Choice(ids=("a",))))
        told = await here.carries_out(Release(choice=Choice(everything=True)))

        assert str(foreseen.says) == (
            "What the brake holds is let go: one alert is closed in KUMA, 2 incidents are created."
        )
        assert told == "2 alerts were released."
        assert here.ask(waiting) == ["a", "b"]
        with pytest.raises(NothingDone, match="holds nothing"):
            await here.actions.foresee(Release(choice=Choice(everything=True)))


@pytest.mark.parametrize(
    ("marks", "remarks"),
    [
        ({"held_create": True}, []),
        ({"held_close": True, "incident": an_incident(), "alert_closed": True}, ["3 incidents stay open in the IRP."]),
    ],
)
async def test_a_group_that_the_brake_holds_is_given_up_as_it_was_shown(
    database_url: str, tmp_path: Path, marks: dict[str, Any], remarks: list[str]
) -> None:
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            keep(tx, "a", "b", **marks)
        (group,) = here.ask(lambda tx: tx.groups.all())
        order = Drop(choice=Choice(group=group.key))
        signed = await here.agreed(order)
        with here.store.writing() as tx:
            keep(tx, "c", **marks)

        with pytest.raises(Changed):
            await here.actions.carry_out(signed)
        foreseen = await here.actions.foresee(order)
        told = await here.carries_out(order)

        assert str(foreseen.says) == "3 alerts are given up."
        assert [str(one) for one in foreseen.remarks if "stay open" in str(one)] == remarks
        assert told == "3 alerts were given up."
        assert here.ask(lambda tx: [tx.links.get(AlertId(one)).dropped for one in "abc"]) == [True] * 3
        assert here.ask(lambda tx: (tx.waiting.held(), waiting(tx))) == ([], [])


async def test_what_somebody_released_meanwhile_is_not_given_up_with_its_group(
    database_url: str, tmp_path: Path
) -> None:
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            keep(tx, "a", held_create=True)
            (held,) = tx.waiting.held()
            operator.release(tx, by="viktor")

        with here.store.writing() as tx:
            assert not operator.drop(tx, "a", by="anna", seen=[held])
        assert here.ask(waiting) == ["a"]


@pytest.mark.parametrize("everything", [True, False])
async def test_what_somebody_tried_again_while_all_is_being_given_up_is_left_alone(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything: bool
) -> None:
    """It is tried again after the order was agreed to and looked up, and before it is carried out."""
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            keep(tx, "a", "b")
            park(tx, "a", "b")
        (group,) = here.ask(lambda tx: tx.groups.all())
        order = Drop(choice=Choice(everything=True) if everything else Choice(group=group.key))
        signed = await here.agreed(order)
        read = here.store.read

        async def read_then_retried(work: Callable[[Tx], Any], *, long: bool = False) -> Any:
            found = await read(work, long=long)
            with here.store.writing() as tx:
                operator.retry(tx, ["a"], by="viktor")
            return found

        monkeypatch.setattr(here.store, "read", read_then_retried)
        told = str(await here.actions.carry_out(signed))

        assert told.startswith("One alert was given up. One is left alone: it was tried again or changed meanwhile.")
        assert here.ask(lambda tx: [tx.links.get(AlertId(one)).dropped for one in "ab"]) == [False, True]
        assert here.ask(waiting) == ["a"]


async def test_what_was_only_renamed_in_kuma_still_waits_and_is_given_up(database_url: str, tmp_path: Path) -> None:
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            keep(tx, "a", held_create=True)
            keep(tx, "b")
            park(tx, "b")
            seen = [*tx.waiting.held(), *tx.waiting.parked()]
            for name in "ab":
                show(tx, name, "another name")

        with here.store.writing() as tx:
            done = [operator.drop(tx, one.id, by="anna", seen=[one]) for one in seen]

        assert ([one.id for one in seen], done) == (["a", "b"], [True, True])


async def test_closings_held_towards_kuma_are_not_given_up_all_at_once(sqlite_url: str, tmp_path: Path) -> None:
    """Their alerts are open in KUMA: what comes of them later must reach the IRP."""
    async with ordering(sqlite_url, tmp_path) as here:
        with here.store.writing() as tx:
            keep(tx, "a", "b", incident=an_incident())
            for name in "ab":
                tx.closes.put([Put(subject=name, lane=Lane.CLOSE, held=True)])
        (group,) = here.ask(lambda tx: tx.groups.all())

        with pytest.raises(NothingDone, match="There is nothing to be dropped"):
            await here.actions.foresee(Drop(choice=Choice(group=group.key)))
        assert await here.carries_out(Drop(choice=Choice(ids=("a",)))) == "One alert was given up."


async def test_a_closing_says_which_sides_and_needs_a_reason(database_url: str, tmp_path: Path) -> None:
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            keep(tx, "a", incident=an_incident())

        foreseen = await here.actions.foresee(Close(alert_id="a"))
        with pytest.raises(NothingDone, match="reason"):
            await here.actions.carry_out(here.signed(Close(alert_id="a")))
        await here.actions.carry_out(here.signed(Close(alert_id="a", reason=Reason.INCORRECT_DATA, comment="a test")))

        assert str(foreseen.says) == "The alert is closed in KUMA, and its incident in the IRP."
        (job,) = here.ask(lambda tx: tx.closes.jobs("a"))
        assert (job.payload or {})["by"] == "console:anna"
        assert (job.payload or {})["reason"] == "incorrect data"
        assert here.ask(lambda tx: tx.links.get(AlertId("a")).close_comment) == "a test"


async def test_an_alert_that_is_closed_on_both_sides_cannot_be_closed(database_url: str, tmp_path: Path) -> None:
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            keep(tx, "a", incident=an_incident(), alert_closed=True, incident_closed=True)

        with pytest.raises(NothingDone, match="it is closed already"):
            await here.actions.foresee(Close(alert_id="a"))
        with pytest.raises(NothingDone, match="no alert"):
            await here.actions.foresee(Close(alert_id="nobody"))


async def test_a_part_is_paused_for_a_time_and_resumed(database_url: str, tmp_path: Path) -> None:
    async with ordering(database_url, tmp_path) as here:
        told = str(await here.actions.carry_out(here.signed(Pause(part="irp", length=timedelta(hours=2)))))
        (paused,) = here.ask(lambda tx: tx.pauses.all())
        resumed = await here.carries_out(Resume(part="irp"))

        assert told.startswith("irp is paused until ")
        assert paused.until == here.clock() + timedelta(hours=2)
        assert paused.by == "console:anna"
        assert resumed == "irp goes on."
        with pytest.raises(NothingDone, match="not paused"):
            await here.actions.foresee(Resume(part="irp"))
        with pytest.raises(NothingDone, match="nothing called"):
            await here.actions.foresee(Pause(part="elsewhere"))


async def test_a_resync_of_all_since_a_time_leaves_older_alerts_alone(database_url: str, tmp_path: Path) -> None:
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            keep(tx, "a", "b")
        seen = an_alert().last_seen

        with pytest.raises(NothingDone):
            await here.actions.foresee(Resync(choice=Choice(everything=True), since=seen + timedelta(seconds=1)))
        foreseen = await here.actions.foresee(Resync(choice=Choice(everything=True), since=seen))

        assert foreseen.count == 2
        assert str(foreseen.says) == "The incidents of 2 alerts are looked for, then sent anew."


async def test_an_alert_that_no_route_takes_is_not_sent_anew_and_it_says_so(database_url: str, tmp_path: Path) -> None:
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            keep(tx, "lost", target="")
            keep(tx, "sent")

        with pytest.raises(NothingDone, match=r"^Not sent: no route takes it\. Nothing for you to press"):
            await here.actions.foresee(Resync(choice=Choice(ids=("lost",))))
        both = await here.actions.foresee(Resync(choice=Choice(ids=("lost", "sent"))))

        assert (both.count, [item.id for item in both.items]) == (1, ["sent"])
        assert "One of them is not sent: no route takes it." in [str(one) for one in both.remarks]


async def test_what_an_irp_fetches_is_put_out_anew_and_not_sent(database_url: str, tmp_path: Path) -> None:
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            keep(tx, "a")
            tx.links.save(replace(a_link(alert_id=AlertId("a")), state=Offered()), now=tx.now)
        order = Resync(choice=Choice(ids=("a",)))

        assert str((await here.actions.foresee(order)).says).startswith("One alert is put out anew")
        assert await here.carries_out(order) == "One alert will be put out anew: the IRP gets it when it asks."


def parked(tx: Tx) -> None:
    keep(tx, "a")
    park(tx, "a")


def held(tx: Tx) -> None:
    keep(tx, "a", held_create=True)


def made(tx: Tx) -> None:
    keep(tx, "a", incident=an_incident())


def paused(tx: Tx) -> None:
    tx.pauses.begin("irp", until=None, by="console:viktor")


ONE, ALL = Choice(ids=("a",)), Choice(everything=True)
TWICE: list[tuple[Callable[[Tx], None], Order, str]] = [
    (parked, Retry(choice=ONE), "had it tried again at"),
    (parked, Retry(choice=ALL), "had it tried again at"),
    (parked, Drop(choice=ONE), "gave it up at"),
    (parked, Drop(choice=ALL), "gave it up at"),
    (made, Drop(choice=ONE), "gave it up at"),
    (held, Release(choice=ONE), "released it at"),
    (held, Release(choice=ALL), "released it at"),
    (made, Resync(choice=ONE), "had it sent anew at"),
    (made, Resync(choice=ALL), "had it sent anew at"),
    (made, Close(alert_id="a", reason=Reason.RESPONDED), "ordered its closing at"),
    (made, Pause(part="irp", length=timedelta(hours=2)), "paused already"),
    (paused, Resume(part="irp"), "resumed it at"),
]


@pytest.mark.parametrize("together", [True, False], ids=["together", "one after the other"])
@pytest.mark.parametrize(("given", "order", "said"), TWICE, ids=lambda one: type(one).__name__)
async def test_of_two_who_order_the_same_the_second_is_told_who_did_it(
    database_url: str, tmp_path: Path, given: Callable[[Tx], None], order: Order, said: str, together: bool
) -> None:
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            given(tx)
        forms = [await here.agreed(order, by=by) for by in ("anna", "boris")]

        if together:
            answers = await asyncio.gather(*map(here.actions.carry_out, forms), return_exceptions=True)
        else:
            answers = [await _answer(here, form) for form in forms]

    refused = [one for one in answers if isinstance(one, NothingDone)]
    first = next(form.by for form, one in zip(forms, answers, strict=True) if not isinstance(one, Exception))
    assert len(refused) == 1, answers
    assert f"{said}" in str(refused[0])
    assert first in str(refused[0])


async def _answer(here: Ordering, form: Signed) -> object:
    try:
        return await here.actions.carry_out(form)
    except NothingDone as nothing:
        return nothing


async def test_what_a_colleague_did_in_part_is_told_with_the_rest(database_url: str, tmp_path: Path) -> None:
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            keep(tx, "a", "b", incident=an_incident())
        everything = await here.agreed(Resync(choice=ALL))
        await here.actions.carry_out(await here.agreed(Resync(choice=ONE), by="boris"))

        told = str(await here.actions.carry_out(everything))

    assert told.startswith("One alert will be looked for and fully updated. For one nothing was left to be done.")
    assert "console:boris had it sent anew at" in told


async def test_a_pause_that_was_seen_gets_another_end(database_url: str, tmp_path: Path) -> None:
    async with ordering(database_url, tmp_path) as here:
        with here.store.writing() as tx:
            paused(tx)
        foreseen = await here.actions.foresee(Pause(part="irp", length=timedelta(hours=1)))
        told = await here.carries_out(Pause(part="irp", length=timedelta(hours=1)))

    assert "irp is paused already (by console:viktor" in str(foreseen.remarks[0])
    assert told.startswith("irp is paused until ")


async def test_the_page_that_asks_names_the_remotes_and_the_brakes_numbers(sqlite_url: str, tmp_path: Path) -> None:
    async with ordering(sqlite_url, tmp_path) as here:
        with here.store.writing() as tx:
            keep(tx, "a", "b", held_create=True)
            keep(tx, "c")
            tx.closes.put([Put(subject="c", lane=Lane.CLOSE, held=True)])
            keep(tx, "d", target="north")
            tx.delivery.put([Put(subject="d", lane=Lane.CREATE, target="north")])
            (claim,) = tx.delivery.claim(1, owner="w", lease=timedelta(seconds=60), target="north")
            tx.delivery.park(claim, "422")
        release = [str(one) for one in (await here.actions.foresee(Release(choice=ALL))).remarks]
        retry = [str(one) for one in (await here.actions.foresee(Retry(choice=ALL))).remarks]

    assert release[:3] == [
        "The brake holds 2 new incidents; by now it has no limit for them (brake.max_new).",
        "The brake holds one closing: where 10 or more come at once, it lets them through up to 30 % of what is open "
        "(brake.min_alerts, brake.max_closed_percent).",
        "It concerns KUMA (kuma.example.com:7223), the IRP (sv.example.com).",
    ]
    assert retry[0] == "It concerns the IRP north (not usable now)."
