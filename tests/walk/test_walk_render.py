"""`render` shows the requests that the daemon sends: each is compared with what was shown just before it went out."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from stage import Stage, ask, change_profile, staged, tell, until_rest, without

from kuma_sync.app.one_alert import load_stored
from kuma_sync.app.preview import Rendered, stored_requests, with_contents
from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, Reason
from kuma_sync.core.incident import Origin
from kuma_sync.core.privacy import Privacy
from kuma_sync.core.retry import Park, RetryAt
from kuma_sync.core.steps import Step
from kuma_sync.sync import operator
from kuma_sync.sync.delivery.context import OPERATIONS
from kuma_sync.sync.delivery.requests import Steps
from kuma_sync.sync.delivery.unit_of_work import Change, DeliveryState
from kuma_sync.sync.queue.leased_job import LeasedJob
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.transport import Answer, Outgoing, RemoteClient

NEXT = "(the next request)"
OURS = ("Accept", "Authorization")
"""Headers that `render` masks, or that the transport adds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One request, as it is shown or as it was sent."""

    method: str
    address: str
    headers: Mapping[str, str]
    body: Any


@dataclass(kw_only=True)
class Compared:
    """What was sent for one alert; each request was compared with what had been shown for its operation."""

    runtime: Runtime
    stage: Stage
    sent: list[tuple[str, Line]] = field(default_factory=list)

    async def look(self, alert_id: str) -> list[Rendered]:
        """Return what `render` shows now."""
        settings = self.stage.settings()
        work = await ask(self.runtime, lambda tx: load_stored(tx, AlertId(alert_id), Privacy()))
        assert work is not None
        return stored_requests(settings, await with_contents(settings, work, self.runtime.contents))

    @property
    def operations(self) -> list[str]:
        """Return the operations of all that was sent, and forget them."""
        operations = [operation for operation, _line in self.sent]
        self.sent.clear()
        return operations


def shown_line(stage: Stage, request: Rendered) -> Line:
    headers = {name: value for name, value in request.headers.items() if name not in OURS}
    address = request.url.removeprefix(stage.irp_server.url)
    body = json.loads(json.dumps(request.body))
    return Line(method=request.method, address=address, headers=headers, body=body)


def sent_line(request: Outgoing) -> Line:
    headers = {name: value for name, value in request.headers.items() if name not in OURS}
    address = request.path + (f"?{request.query}" if request.query else "")
    body = None if request.body is None else json.loads(request.body)
    return Line(method=request.method, address=address, headers=headers, body=body)


def compare(monkeypatch: pytest.MonkeyPatch, runtime: Runtime, stage: Stage) -> Compared:
    """Look before every step, and compare its first request with what was shown; the rest of it goes on as ever."""
    compared = Compared(runtime=runtime, stage=stage)
    take, send = Steps.take, RemoteClient.send

    async def looked(self: Steps, job: LeasedJob, work: DeliveryState, step: Step) -> Change | RetryAt | Park:
        shown, before = await compared.look(work.alert_id), len(compared.sent)
        try:
            return await take(self, job, work, step)
        finally:
            if sent := compared.sent[before:]:
                ((operation, line), *_smaller) = sent
                assert operation == OPERATIONS[type(step)]
                (same,) = [one for one in shown if one.operation == operation]
                assert line == shown_line(stage, same)

    async def noted(self: RemoteClient, request: Outgoing, *, operation: str, **how: Any) -> Answer:
        if self.endpoint.remote == "irp" and operation in OPERATIONS.values():
            compared.sent.append((operation, sent_line(request)))
        return await send(self, request, operation=operation, **how)

    monkeypatch.setattr(Steps, "take", looked)
    monkeypatch.setattr(RemoteClient, "send", noted)
    return compared


async def seen(runtime: Runtime) -> None:
    """Let the store know what KUMA shows; nothing is delivered yet."""
    await runtime.poller.poll_once(sweep=True)


async def delivered(compared: Compared, alert_id: str) -> list[str]:
    """Deliver; return what was sent. The first request is the one that had been marked as the next."""
    shown = await compared.look(alert_id)
    marked = [one for one in shown if one.note.endswith(NEXT)]
    await until_rest(compared.runtime)
    first = [line for _operation, line in compared.sent][:1]
    assert first == [shown_line(compared.stage, one) for one in marked]
    return compared.operations


Deed = Callable[[Stage, Runtime, str], Awaitable[None]]


def in_kuma(deed: Callable[[Stage, str], object]) -> Deed:
    async def happens(stage: Stage, runtime: Runtime, alert_id: str) -> None:
        deed(stage, alert_id)
        await seen(runtime)

    return happens


def ordered(order: Callable[[Any, AlertId], object]) -> Deed:
    async def happens(_stage: Stage, runtime: Runtime, alert_id: str) -> None:
        await tell(runtime, lambda tx: order(tx, AlertId(alert_id)))

    return happens


def as_is(text: str) -> str:
    return text


def batches(text: str) -> str:
    return text.replace("batch = 500", "batch = 2")


def all_fields(text: str) -> str:
    return text.replace('method = "PATCH"', 'method = "PATCH"\nfields = "all"')


def close_tells_contents(text: str) -> str:
    return text.replace('comment = "{{ comment }}"', 'comment = "{{ assets | length }} of {{ events | length }}"')


def query_tells_events(text: str) -> str:
    told = '\nquery = { told = "{{ events | length }}" }\n'
    text = text.replace('method = "PATCH"\n', 'method = "PATCH"' + told)
    return text.replace('events = "{{ events }}"            # new ones only, and only when there are some\n', "")


def status_untold(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("alertStatus"))


async def grown_unseen_and_resynced(stage: Stage, runtime: Runtime, alert_id: str) -> None:
    stage.kuma.grow(alert_id, 3)
    await resynced(stage, runtime, alert_id)


def to_close(tx: Any, alert_id: AlertId) -> None:
    order = CloseRequest(alert_id=alert_id, reason=Reason.RESPONDED, origin=Origin.OPERATOR, by="cli")
    operator.order_close(tx, order, to_kuma=True)


edited = in_kuma(lambda stage, id_: stage.kuma.edit(id_, priority="critical"))
assigned = in_kuma(lambda stage, id_: stage.kuma.edit(id_, assignee="i.petrova"))
unassigned = in_kuma(lambda stage, id_: stage.kuma.edit(id_, assignee=""))
grown = in_kuma(lambda stage, id_: stage.kuma.grow(id_, 5))
grown_much = in_kuma(lambda stage, id_: (stage.kuma.grow(id_, 60), stage.kuma.edit(id_, priority="high")))
closed = in_kuma(lambda stage, id_: stage.kuma.close(id_))
closed_without_reason = in_kuma(lambda stage, id_: stage.kuma.close(id_, ""))
resynced = ordered(lambda tx, id_: operator.resync(tx, [id_], by="cli"))
closing_ordered = ordered(to_close)


@pytest.mark.parametrize(
    ("profile", "deeds", "expected"),
    [
        pytest.param(as_is, [edited], ["update"], id="changed"),
        pytest.param(as_is, [assigned, unassigned], ["update"], id="cleared"),
        pytest.param(as_is, [grown], ["update"], id="new events"),
        pytest.param(batches, [grown], ["update", "add_events", "add_events"], id="more events than a batch"),
        pytest.param(without("add_events"), [grown], ["update"], id="no add_events"),
        pytest.param(without("update"), [edited], ["create"], id="upsert"),
        pytest.param(
            lambda text: batches(without("update")(text)),
            [grown],
            ["create", *["add_events"] * 3],
            id="upsert, batches",
        ),
        pytest.param(all_fields, [edited], ["update"], id="all fields"),
        pytest.param(all_fields, [assigned, unassigned], ["update"], id="all fields, one cleared"),
        pytest.param(query_tells_events, [grown], ["update", "add_events"], id="an update that carries no events"),
        pytest.param(as_is, [grown_much], ["update"], id="grown above the size limit"),
        pytest.param(as_is, [grown_much, edited], ["update"], id="changed above the size limit"),
        pytest.param(as_is, [closed], ["update", "close"], id="closed in KUMA"),
        pytest.param(as_is, [closed_without_reason], ["update", "close"], id="closed without a reason"),
        pytest.param(close_tells_contents, [closed], ["update", "close"], id="closed, with contents"),
        pytest.param(status_untold, [closed], ["close"], id="closed, which no update tells"),
        pytest.param(close_tells_contents, [closing_ordered], ["close"], id="closing ordered, contents forgotten"),
        pytest.param(as_is, [resynced], ["find", "update"], id="resync"),
        pytest.param(as_is, [edited, resynced], ["find", "update"], id="resync after a change"),
        pytest.param(as_is, [grown_unseen_and_resynced], ["find", "update"], id="resync, grown since the last poll"),
        pytest.param(without("find"), [resynced], ["update"], id="resync without find"),
    ],
)
async def test_what_is_sent_for_an_incident_is_what_was_shown(
    tmp_path: Path,
    sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
    profile: Callable[[str], str],
    deeds: list[Deed],
    expected: list[str],
) -> None:
    async with staged(tmp_path, sqlite_url, poll={"max_alert_size": "20KB"}) as stage:
        change_profile(stage, profile)
        async with stage.runtime() as runtime:
            alert_id = stage.kuma.raise_alert(priority="low")
            await seen(runtime)
            await until_rest(runtime)
            compared = compare(monkeypatch, runtime, stage)
            for deed in deeds:
                await deed(stage, runtime, alert_id)
                sent = await delivered(compared, alert_id)

    assert sent == expected


@pytest.mark.parametrize(
    ("profile", "events", "expected"),
    [
        pytest.param(as_is, 3, ["create"], id="new"),
        pytest.param(as_is, 0, ["create"], id="without events"),
        pytest.param(as_is, 60, ["create"], id="above the size limit"),
        pytest.param(batches, 5, ["create", "add_events", "add_events"], id="more events than a batch"),
        pytest.param(without("add_events"), 5, ["create"], id="no add_events"),
    ],
)
async def test_what_is_sent_for_a_new_alert_is_what_was_shown(
    tmp_path: Path,
    sqlite_url: str,
    monkeypatch: pytest.MonkeyPatch,
    profile: Callable[[str], str],
    events: int,
    expected: list[str],
) -> None:
    async with staged(tmp_path, sqlite_url, poll={"max_alert_size": "20KB"}) as stage:
        change_profile(stage, profile)
        async with stage.runtime() as runtime:
            stage.kuma.raise_alert()
            await seen(runtime)
            await until_rest(runtime)
            alert_id = stage.kuma.raise_alert(events=events)
            await seen(runtime)
            compared = compare(monkeypatch, runtime, stage)
            sent = await delivered(compared, alert_id)

    assert sent == expected


async def test_after_a_create_whose_answer_was_lost_find_is_shown_as_the_next(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        stage.kuma.raise_alert()
        await seen(runtime)
        await until_rest(runtime)
        alert_id = stage.kuma.raise_alert()
        await seen(runtime)
        stage.irp.faults.add("reset_after", method="POST", times=1)
        compared = compare(monkeypatch, runtime, stage)
        await runtime.targets["irp"].deliveries.drain()
        lost = compared.operations
        sent = await delivered(compared, alert_id)

    assert (lost, sent) == (["create"], ["find"])
    assert len(stage.incidents(alert_id)) == 1


async def test_the_first_request_of_one_that_is_halved_is_what_was_shown(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert(events=40)
        await seen(runtime)
        stage.irp.knobs.max_body = 30_000
        compared = compare(monkeypatch, runtime, stage)
        sent = await delivered(compared, alert_id)

    assert sent.count("create") > 1
    assert stage.incident(alert_id).events == stage.kuma.alerts[alert_id]["events"]


async def nothing_happens(_stage: Stage, _runtime: Runtime, _alert_id: str) -> None:
    """Leave all as it is."""


async def profile_says_more(stage: Stage, _runtime: Runtime, _alert_id: str) -> None:
    change_profile(stage, lambda text: text.replace('title = "{{ alert.name }}"', 'title = "KUMA {{ alert.name }}"'))


@pytest.mark.parametrize(
    ("deed", "note", "fields"),
    [
        (nothing_happens, "nothing differs from what was sent: not sent now", set()),
        (profile_says_more, "what differs from what was sent: not sent now", {"title"}),
        (ordered(lambda tx, id_: operator.drop(tx, id_, by="cli")), "nothing differs from what was sent", set()),
    ],
)
async def test_where_nothing_is_due_no_request_is_the_next_one(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, deed: Deed, note: str, fields: set[str]
) -> None:
    async with staged(tmp_path, sqlite_url) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await seen(runtime)
        await until_rest(runtime)
        await deed(stage, runtime, alert_id)
        compared = compare(monkeypatch, runtime, stage)
        shown = {one.operation: one for one in await compared.look(alert_id)}
        sent = await delivered(compared, alert_id)

    assert sent == []
    assert list(shown) == ["find", "create", "update", "add_events", "close"]
    assert shown["update"].note.startswith(note)
    assert (shown["update"].body or {}).keys() == fields
    assert not any(one.note.endswith(NEXT) for one in shown.values())


async def test_a_close_that_is_switched_off_is_shown_as_not_sent(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with staged(tmp_path, sqlite_url, close={"to_irp": False}) as stage, stage.runtime() as runtime:
        alert_id = stage.kuma.raise_alert()
        await seen(runtime)
        await until_rest(runtime)
        stage.kuma.close(alert_id)
        await seen(runtime)
        compared = compare(monkeypatch, runtime, stage)
        sent = await delivered(compared, alert_id)
        (close,) = [one for one in await compared.look(alert_id) if one.operation == "close"]

    assert sent == ["update"]
    assert close.note == "not sent: close.to_irp is off"
