"""An operator's work: looking, closing, retrying, dropping, and what the daemon then does with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prompt import NOWHERE, World, ask, daemon, until, world
from stores import opened

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, Reason
from kuma_sync.core.incident import Origin
from kuma_sync.store.revisions import head
from kuma_sync.sync.closing.intake import accept

ABSENT = "00000000-0000-4000-8000-000000000000"


async def rows(w: World, *words: str) -> dict[str, dict[str, str]]:
    return {row["alert_id"]: row for row in (await ask("alerts", "--json", *words, *w.c)).json}


async def passed(w: World) -> int:
    return (await ask("run", "--once", *w.c)).code


async def test_alerts_are_listed_by_state_and_shown_with_their_history(either_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": either_url}) as w:
        opened, closed = w.kuma.raise_alert(name="Вход \x1b[31m ночью"), w.kuma.raise_alert()
        assert await passed(w) == 0
        w.kuma.close(closed)
        assert await passed(w) == 0

        table, one = await ask("alerts", *w.c), await ask("alerts", "--limit", "1", *w.c)
        by_state = await rows(w, "--state", "closed")
        shown, view = await ask("show", opened[:8], *w.c), (await ask("show", "--json", closed, *w.c)).json

        assert " ".join(table.out.splitlines()[0].split()) == "alert state priority status last seen incident name"
        assert len(table.lines("")) == 3
        assert len(one.lines("")) == 2
        assert "\x1b" not in table.out + shown.out
        assert list(by_state) == [closed]
        assert shown.out.startswith(f"{opened}  open\n")
        assert "INC-00000" in shown.out
        assert "kuma-sync  created" in shown.out
        assert view["state"] == "closed"
        assert view["link"]["close_origin"] == "kuma"
        assert [entry["action"] for entry in view["history"]] == [
            *("created", "alert_closed", "updated", "incident_closed")
        ]
        assert (await ask("alerts", "--state", "held", *w.c)).out == "No alerts are held.\n"


async def test_the_status_is_one_screen_and_json(either_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": either_url}) as w:
        w.kuma.raise_alert()
        w.kuma.knobs.strays = ["not an alert"]
        assert await passed(w) == 1

        text, found = await ask("status", *w.c), (await ask("status", "--json", *w.c)).json

        assert text.code == 0
        assert "alerts    1 open" in text.out
        assert " ".join(text.lines("full")[0].split()[-7:]) == "yes 2 1 0 0 1 -"
        assert " ".join(text.lines("delivery")[0].split()) == "delivery 0 0 0 0 0 0 -"
        assert "1 parked" in text.out
        assert found["alerts"]["open"] == 1
        assert found["cursor"]["sweep"] == 1
        assert found["schema"] == head()
        assert [read["kind"] for read in found["reads"]] == ["full", "watch"]
        assert [job["reason"] for job in found["parked"]] == ["not an object"]
        assert list(found["queues"]) == ["delivery", "close"]


async def test_an_order_closes_both_sides_once_and_may_be_waited_for(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        alert = w.kuma.raise_alert()
        async with daemon(w):
            await until(lambda: w.irp.incidents)

            first = await ask("close", alert, "--reason", "Incorrect Data", "--comment", "тест", "--wait", *w.c)
            again = await ask("close", alert, "--reason", "responded", "--wait", *w.c)

        assert (first.code, first.err) == (0, "")
        assert first.out.splitlines()[-1] == "Closed."
        assert w.kuma.closes == [(alert, "incorrect data")]
        assert [body for operation, _, body in w.irp.writes if operation == "close"] == [
            {"reason": "incorrect data", "comment": "тест"}
        ]
        assert again.code == 0
        assert "closed in KUMA already" in again.out
        assert "operator:" in (await ask("show", alert, *w.c)).out


async def test_a_parked_closing_ends_the_wait_with_its_reason_and_can_be_retried(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        alert = w.kuma.raise_alert()
        assert await passed(w) == 0
        w.kuma.knobs.disabled_tenants = {w.kuma.alerts[alert]["tenantID"]}
        async with daemon(w):
            waited = await ask("close", alert, "--reason", "responded", "--wait", *w.c)
        parked = await rows(w, "--state", "parked")
        w.kuma.knobs.disabled_tenants = set()

        retried = await ask("retry", "--all", *w.c)

        assert waited.code == 1
        assert waited.sentence == "kuma-sync: the closing for KUMA is parked: tenant disabled"
        assert parked[alert]["reason"] == "tenant disabled"
        assert retried.out.splitlines()[0] == f"{alert}: back on the queue"
        assert await passed(w) == 0
        assert w.kuma.closes == [(alert, "responded")]


@pytest.mark.parametrize(
    ("close", "said"),
    [
        ({"to_irp": False}, "will be closed in KUMA; in the IRP it stays open: close.to_irp is off"),
        ({"to_kuma": False}, "will be closed in the IRP; in KUMA it stays open: close.to_kuma is off"),
    ],
)
async def test_a_direction_that_is_off_is_said_and_not_taken(tmp_path: Path, close: dict[str, bool], said: str) -> None:
    async with world(tmp_path, close=close) as w:
        alert = w.kuma.raise_alert()
        assert await passed(w) == 0

        answer = await ask("close", alert, "--reason", "responded", *w.c)

        assert answer.code == 0
        assert said in answer.out
        assert await passed(w) == 0
        assert len(w.kuma.closes) == (0 if "to_kuma" in close else 1)
        assert [operation for operation, _, _ in w.irp.writes].count("close") == (0 if "to_irp" in close else 1)


async def test_of_an_alert_closed_in_kuma_the_incident_can_still_be_closed(tmp_path: Path) -> None:
    async with world(tmp_path, close={"to_irp": False}) as w:
        alert = w.kuma.raise_alert()
        assert await passed(w) == 0
        w.kuma.close(alert, "incorrect data")
        assert await passed(w) == 0
        switched_on = w.configured(close={"to_irp": True})

        refused = await ask("close", alert, "--reason", "responded", *w.c)
        taken = await ask("close", alert, "--reason", "responded", *switched_on)

        assert refused.out == f"{alert} is closed in KUMA already; nothing was ordered.\n"
        assert "will be closed in the IRP; in KUMA it is closed already, reason 'incorrect data'" in taken.out
        assert (await ask("run", "--once", *switched_on)).code == 0
        assert [incident.status for incident in w.irp.incidents.values()] == ["closed"]


async def test_of_an_ignored_alert_only_kuma_is_told(tmp_path: Path) -> None:
    async with world(tmp_path, poll={"ignore_before": "2100-01-01T00:00:00Z"}) as w:
        alert = w.kuma.raise_alert()
        assert await passed(w) == 0

        answer = await ask("close", alert, "--reason", "responded", *w.c)

        assert f"{alert} will be closed in KUMA; in the IRP nothing is done: it was dropped or ignored" in answer.out


async def test_nothing_is_ordered_where_both_directions_are_off(tmp_path: Path) -> None:
    async with world(tmp_path, close={"to_irp": False, "to_kuma": False}) as w:
        alert = w.kuma.raise_alert()
        await passed(w)

        answer = await ask("close", alert, "--reason", "responded", *w.c)

        assert answer.code == 1
        assert "switched off in both directions" in answer.sentence


@pytest.mark.parametrize("words", ["show", "close --reason responded", "retry", "drop", "resync", "render"])
async def test_an_unknown_alert_is_exit_1(tmp_path: Path, words: str) -> None:
    async with world(tmp_path) as w:
        w.kuma.raise_alert(id="aaaaaaaa-1")
        w.kuma.raise_alert(id="aaaaaaaa-2")
        await passed(w)
        command, *options = words.split()

        unknown, several, short = [await ask(command, name, *options, *w.c) for name in (ABSENT, "aaaaaaaa", "aaaaa")]

        assert unknown.code == several.code == short.code == 1
        assert ABSENT in unknown.sentence
        assert "several alerts" in several.sentence
        assert "there is no alert" in short.sentence


async def test_a_piece_that_is_no_alert_is_shown_retried_and_dropped_by_its_digest(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.kuma.knobs.strays = [17]
        assert await passed(w) == 1
        (digest,) = await rows(w, "--state", "parked")

        shown, retried = await ask("show", digest[:20], *w.c), await ask("retry", digest, *w.c)
        dropped = await ask("drop", "--yes", digest, *w.c)

        assert digest.startswith("sha256:")
        assert "parked because  not an object" in shown.out
        assert retried.code == 1
        assert "still no alert" in retried.sentence
        assert dropped.out.splitlines()[-1].startswith(f"{digest}: dropped.")
        assert await passed(w) == 0
        assert await rows(w, "--state", "parked") == {}


async def test_a_parked_closing_of_an_id_never_seen_is_shown_as_it_is_listed(sqlite_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w:
        order = CloseRequest(alert_id=AlertId(ABSENT), reason=Reason.RESPONDED, origin=Origin.IRP, by="irp")
        assert await passed(w) == 0
        async with opened(sqlite_url) as store:
            with store.writing() as tx:
                accept(tx, order, to_kuma=True)
        waiting = await ask("show", ABSENT, *w.c)
        assert await passed(w) == 1

        listed, view = (await rows(w))[ABSENT], (await ask("show", "--json", ABSENT, *w.c)).json
        shown = await ask("show", ABSENT, *w.c)

        assert waiting.out.startswith(f"{ABSENT}  unknown to KUMA's reads so far\n")
        assert view["state"] == listed["state"] == "parked"
        assert view["parked_because"] == listed["reason"] != ""
        assert shown.out.splitlines()[:2] == [f"{ABSENT}  parked", f"  parked because  {listed['reason']}"]


async def test_a_dropped_alert_stays_dropped_when_it_changes(sqlite_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w:
        alert = w.kuma.raise_alert(name="refused")
        w.irp.knobs.reject_titles = "refused"
        assert await passed(w) == 1
        w.irp.knobs.reject_titles = ""

        dropped = await ask("drop", "--yes", alert, *w.c)
        w.kuma.grow(alert, 2)

        assert dropped.code == 0
        assert await passed(w) == 0
        assert w.irp.incidents == {}
        assert (await rows(w))[alert]["state"] == "ignored"
        assert "drop" in (await ask("show", alert, *w.c)).out


async def test_a_resync_finds_the_incident_and_sends_everything_again(sqlite_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": sqlite_url}) as w:
        alert = w.kuma.raise_alert(events=2)
        old = w.kuma.raise_alert(seen="2026-01-01T00:00:00Z")
        assert await passed(w) == 0
        before = len(w.irp.writes)

        named = await ask("resync", alert, *w.c)
        assert await passed(w) == 0
        sent = w.irp.writes[before:]
        recent, every = [await ask("resync", "--yes", *words, *w.c) for words in (("--since", "2h"), ("--all",))]
        since = await ask("resync", "--yes", "--since", "2026-01-01T00:00:00Z", *w.c)

        assert named.out.splitlines()[0] == f"{alert}: will be found and fully updated"
        assert [operation for operation, _, _ in sent] == ["update"]
        assert {"title", "severity", "events"} <= sent[0][2].keys()
        assert recent.lines(old) == []
        assert every.lines(old) == [f"{old}: will be found and fully updated"]
        assert f"{alert}: a resync was ordered already, and is yet to be done (operator:" in every.out
        assert "2 alerts: a resync was ordered already" in since.out
        assert (every.code, since.code) == (0, 0)
        assert await passed(w) == 0
        assert w.irp.doubled() == []


async def test_what_the_brake_holds_is_released(tmp_path: Path) -> None:
    async with world(tmp_path, brake={"max_new": 1}) as w:
        for _ in range(3):
            w.kuma.raise_alert()
        assert await passed(w) == 1
        held = await rows(w, "--state", "held")
        status = await ask("status", *w.c)

        released, again = await ask("release", "--yes", *w.c), await ask("release", *w.c)

        assert len(held) == 2
        assert "2 held by the brake" in status.out
        assert " ".join(status.lines("delivery")[0].split()) == "delivery 0 0 0 0 2 0 -"
        assert released.out.splitlines()[-2] == "2 alerts released."
        assert again.out == "The brake holds nothing.\n"
        assert await passed(w) == 0
        assert len(w.irp.incidents) == 3


async def test_a_stored_alerts_requests_are_rendered_with_contents_read_from_kuma(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        alert = w.kuma.raise_alert(events=3)
        assert await passed(w) == 0
        before = len(w.irp.requests)

        rendered = {one["operation"]: one for one in (await ask("render", "--json", alert, *w.c)).json}
        w.kuma.edit(alert, priority="critical" if w.kuma.alerts[alert]["priority"] != "critical" else "low")
        offline = w.configured(irp={"url": w.tables["irp"]["url"]}, kuma={"url": NOWHERE})
        unreachable = await ask("render", alert, *offline)

        (incident,) = w.irp.incidents.values()
        sent = w.irp.writes[0][2]
        assert rendered["create"]["body"] == json.loads(json.dumps(sent))
        assert rendered["update"]["body"] == {}
        assert "not sent now" in rendered["update"]["note"]
        assert rendered["close"]["url"].endswith(f"/api/v1/incidents/{incident.id}/close")
        assert len(w.irp.requests) == before
        assert unreachable.code == 1
        assert unreachable.sentence == "kuma-sync: kuma read: connection refused"


async def test_an_alert_is_named_by_its_id_or_its_beginning_in_any_case(either_url: str, tmp_path: Path) -> None:
    async with world(tmp_path, store={"url": either_url}) as w:
        alert_id = w.kuma.raise_alert()
        assert await passed(w) == 0
        capitals = alert_id.upper()

        shown = [await ask("show", "--json", each, *w.c) for each in (capitals, capitals[:8], f"{{{capitals}}}")]
        closed = await ask("close", capitals, "--reason", "responded", *w.c)
        resynced = await ask("resync", capitals, *w.c)
        dropped = await ask("drop", capitals[:8], "--yes", *w.c)

        assert [one.json["id"] for one in shown] == [alert_id] * 3
        assert closed.out.startswith(f"{alert_id} will be closed")
        assert resynced.out.splitlines()[0] == f"{alert_id}: will be found and fully updated"
        assert f"{alert_id}: dropped." in dropped.out


async def test_the_spelling_that_was_typed_wins_over_another_case(either_url: str, tmp_path: Path) -> None:
    small, large = "aaaa0000-0000-4000-8000-000000000001", "AAAA0000-0000-4000-8000-000000000001"
    async with world(tmp_path, store={"url": either_url}) as w, opened(either_url) as store:
        with store.writing() as tx:
            for each in (small, large, "AAAA0000-0000-4000-8000-000000000002"):
                accept(tx, CloseRequest(alert_id=AlertId(each), reason=Reason.RESPONDED, origin=Origin.IRP))

        exact = [(await ask("show", "--json", each, *w.c)).json["id"] for each in (small, large)]
        beginning = (await ask("show", "--json", small[:8], *w.c)).json["id"]
        several = await ask("show", large[:8], *w.c)

        assert exact == [small, large]
        assert beginning == small
        assert (several.code, "the beginning of several" in several.err) == (1, True)


async def test_who_orders_what_was_ordered_before_is_told_who_did(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        alert = w.kuma.raise_alert()
        assert await passed(w) == 0
        words = {
            "close": ("close", alert, "--reason", "responded"),
            "pause": ("pause", "irp", "--for", "2h"),
            "resume": ("resume", "irp"),
            "drop": ("drop", "--yes", alert),
        }
        answers = {}
        for name, order in words.items():
            for who in ("anna", "boris"):
                answers[name, who] = await ask(*order, "--as", who, *w.c)

    assert {name for name, answer in answers.items() if answer.code} == {("drop", "boris")}
    closing = " ".join(answers["close", "boris"].out.split())
    assert "its closing was ordered already, and is on its way (operator:anna" in closing
    assert "It was paused since" in answers["pause", "boris"].out
    assert "by operator:anna" in answers["pause", "boris"].out
    assert "irp: was not paused (operator:anna" in answers["resume", "boris"].out
    assert "was dropped already (operator:anna" in answers["drop", "boris"].sentence
