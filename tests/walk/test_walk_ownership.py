"""Fields that are sent once, or until somebody edited them in the IRP; the incident is read before it is written to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from owned import AUDIT, COMMENT, MATCH, owning
from stage import Stage, change_profile, link_of, parked, staged, state_of, tell, until_rest

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import CloseRequest, Reason
from kuma_sync.core.incident import Origin
from kuma_sync.sync import operator
from kuma_sync.sync.runtime.runner import Runtime, once

OPEN_BRAKE = {"max_closed_percent": 100}


async def carried(runtime: Runtime) -> None:
    await once(runtime)
    await until_rest(runtime)


def patched(stage: Stage) -> list[dict[str, object]]:
    return [body for _, body in stage.wrote("update")]


def reads(stage: Stage, incident_id: str) -> int:
    asked = [request for request in stage.irp.requests if request.method == "GET"]
    return sum(request.path.endswith(f"/{incident_id}") for request in asked)


async def test_a_field_that_is_sent_once_is_left_alone_ever_after(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, owning())
        alert_id = stage.kuma.raise_alert(priority="low")
        async with stage.runtime() as runtime:
            await carried(runtime)
            first = stage.incident(alert_id).fields["severity"]
            stage.kuma.edit(alert_id, priority="critical", correlationRuleID="another")
            await carried(runtime)

    assert (first, stage.incident(alert_id).fields["severity"]) == ("Low", "Low")
    assert patched(stage) == [{"rule": "another"}]
    assert reads(stage, stage.incident(alert_id).id) == 0, "no field was at stake that analysts might own"


async def test_a_field_is_sent_until_somebody_edits_it_and_a_restart_does_not_forget(
    tmp_path: Path, database_url: str
) -> None:
    async with staged(tmp_path, database_url) as stage:
        change_profile(stage, owning())
        alert_id = stage.kuma.raise_alert(name="first")
        async with stage.runtime() as runtime:
            await carried(runtime)
            incident = stage.incident(alert_id)
            stage.kuma.edit(alert_id, name="second")
            await carried(runtime)
            second = incident.fields["title"]
            stage.irp.analyst_edit(incident.id, title="Checked by us")
            stage.kuma.edit(alert_id, name="third", assignee="i.petrova")
            await carried(runtime)
            third = dict(incident.fields)
            asked = reads(stage, incident.id)
        async with stage.runtime() as runtime:
            stage.irp.analyst_edit(incident.id, title="second")
            stage.kuma.edit(alert_id, name="fourth")
            await carried(runtime)
            link = await link_of(runtime, alert_id)

    assert second == "second"
    assert (third["title"], third["assignee"]) == ("Checked by us", "i.petrova")
    assert asked == 2
    assert reads(stage, incident.id) == asked, "what is theirs is not looked at again"
    assert incident.fields["title"] == "second", "though it looks like ours now, it was edited once"
    assert link.sent.theirs == {"title"}


async def test_a_field_that_analysts_emptied_is_theirs_and_one_kuma_emptied_is_emptied(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, owning())
        alert_id = stage.kuma.raise_alert(name="first")
        stage.kuma.edit(alert_id, assignee="i.petrova")
        async with stage.runtime() as runtime:
            await carried(runtime)
            incident = stage.incident(alert_id)
            stage.irp.analyst_edit(incident.id, title=None)
            stage.kuma.edit(alert_id, name="second", assignee="")
            await carried(runtime)
            emptied = dict(incident.fields)
            stage.kuma.edit(alert_id, assignee="i.petrova")
            await carried(runtime)

    assert (emptied["title"], emptied["assignee"]) == (None, None)
    assert incident.fields["assignee"] == "i.petrova", "we had emptied it, nobody else"


async def test_a_resync_sends_all_but_what_is_the_analysts_and_what_is_sent_once(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, owning())
        alert_id = stage.kuma.raise_alert(name="first", priority="low")
        stage.kuma.edit(alert_id, assignee="i.petrova")
        async with stage.runtime() as runtime:
            await carried(runtime)
            incident = stage.incident(alert_id)
            stage.irp.analyst_edit(incident.id, title="Checked by us", severity="High", rule="ours")
            await tell(runtime, lambda tx: operator.resync(tx, [AlertId(alert_id)], by="test"))
            await carried(runtime)

    (body,) = patched(stage)
    assert not body.keys() & {"title", "severity"}
    assert {"rule", "assignee", "tenant"} <= body.keys()
    assert (incident.fields["title"], incident.fields["severity"]) == ("Checked by us", "High")


@pytest.mark.parametrize("arrives", [True, False])
async def test_our_own_update_whose_answer_was_lost_is_no_edit(tmp_path: Path, sqlite_url: str, arrives: bool) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, owning())
        alert_id = stage.kuma.raise_alert(name="first")
        async with stage.runtime() as runtime:
            await carried(runtime)
            stage.irp.faults.add("reset_after" if arrives else "reset_before", method="PATCH", times=1)
            stage.kuma.edit(alert_id, name="second")
            await runtime.poller.poll_once()
            await runtime.targets["irp"].deliveries.drain()
            stage.kuma.edit(alert_id, name="third")
            await carried(runtime)
            link = await link_of(runtime, alert_id)

    assert stage.incident(alert_id).fields["title"] == "third"
    assert link.sent.theirs == set()


async def test_an_incident_found_by_a_new_store_keeps_what_analysts_wrote(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, owning())
        edited, plain = stage.kuma.raise_alert(name="edited"), stage.kuma.raise_alert(name="plain")
        async with stage.runtime() as runtime:
            await carried(runtime)
        stage.irp.analyst_edit(stage.incident(edited).id, title="Checked by us")
        stage.configure(store={"url": f"sqlite:///{tmp_path}/new.db"})
        async with stage.runtime() as runtime:
            await carried(runtime)
            stage.kuma.edit(plain, name="plain and new")
            stage.kuma.edit(edited, name="edited and new")
            await carried(runtime)

    assert stage.incident(edited).fields["title"] == "Checked by us"
    assert stage.incident(plain).fields["title"] == "plain and new"


# Under an ETag


async def test_an_update_goes_under_the_etag_that_was_read(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, owning(owned="", match=MATCH))
        alert_id = stage.kuma.raise_alert(priority="low")
        async with stage.runtime() as runtime:
            await carried(runtime)
            stage.kuma.edit(alert_id, priority="critical")
            await carried(runtime)

    assert reads(stage, stage.incident(alert_id).id) == 1
    assert patched(stage) == [{"severity": "Critical"}]


async def test_an_incident_changed_in_between_is_read_again_and_its_edit_lives(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, owning(match=MATCH))
        alert_id = stage.kuma.raise_alert(name="first")
        async with stage.runtime() as runtime:
            await carried(runtime)
            incident = stage.incident(alert_id)
            stage.irp.knobs.after_show = lambda id_: (
                None if incident.edited else stage.irp.analyst_edit(id_, title="Checked by us")
            )
            stage.kuma.edit(alert_id, name="second", correlationRuleID="another")
            await runtime.poller.poll_once()
            await runtime.targets["irp"].deliveries.drain()
            state = await state_of(runtime, alert_id)

    statuses = [request.status for request in stage.irp.requests if request.method == "PATCH"]
    assert statuses == [412, 204]
    assert (incident.fields["title"], incident.fields["rule"]) == ("Checked by us", "another")
    assert state == "open"


async def test_an_incident_that_changes_all_the_time_is_tried_later_and_parks_nothing(
    tmp_path: Path, sqlite_url: str
) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, owning(owned="", match=MATCH))
        alert_id = stage.kuma.raise_alert(priority="low")
        async with stage.runtime() as runtime:
            await carried(runtime)
            stage.irp.faults.add("status", method="PATCH", code=412, times=2)
            stage.kuma.edit(alert_id, priority="critical")
            await runtime.poller.poll_once()
            await runtime.targets["irp"].deliveries.drain()
            waits = await state_of(runtime, alert_id)
            await until_rest(runtime)
            left = await parked(runtime)

    assert (waits, left) == ("pending", [])
    assert stage.incident(alert_id).fields["severity"] == "Critical"
    assert patched(stage) == [{"severity": "Critical"}]


async def test_events_comments_and_closings_go_under_the_etag_that_was_read(tmp_path: Path, sqlite_url: str) -> None:
    def conditional(text: str) -> str:
        text = owning(owned="", match=MATCH, comment=COMMENT, audit=AUDIT)(text).replace("batch = 500", "batch = 2")
        for operation in ("add_events", "comment", "close"):
            text = text.replace(f"[{operation}]\n", f"[{operation}]\n{MATCH}", 1)
        return text

    never = {"base": "1m", "max": "1m"}  # what is not tried again at once is not tried again in this test
    async with staged(tmp_path, sqlite_url, brake=OPEN_BRAKE, retry=never) as stage:
        change_profile(stage, conditional)
        alert_id = stage.kuma.raise_alert(events=5)
        async with stage.runtime() as runtime:
            for path in ("/events$", "/comments$", "/close$"):
                stage.irp.faults.add("status", method="POST", match=path, code=412, times=1)
            await carried(runtime)
            stage.kuma.close(alert_id)
            await carried(runtime)
            state, left = await state_of(runtime, alert_id), await parked(runtime)

    incident = stage.incident(alert_id)
    assert (state, left, len(incident.events)) == ("closed", [], 5)
    assert [text.split(":")[1] for text in incident.comments[0].splitlines()] == [
        " created, with 2 events",
        " 2 events added",
        " 1 event added",
    ]
    writes = [one for one in stage.irp.requests if one.method in ("PATCH", "POST") and one.path.count("/") > 3]
    refused = [one.path.rpartition("/")[2] for one in writes if one.status == 412]
    assert (sorted(refused), reads(stage, incident.id)) == (["close", "comments", "events"], len(writes))


# Comments


async def test_what_was_done_is_told_as_comments_before_the_incident_is_closed(
    tmp_path: Path, database_url: str
) -> None:
    async with staged(tmp_path, database_url, brake=OPEN_BRAKE) as stage:
        change_profile(stage, owning(owned="", comment=COMMENT, audit=AUDIT))
        alert_id = stage.kuma.raise_alert(events=3, priority="low")
        async with stage.runtime() as runtime:
            await carried(runtime)
            stage.kuma.edit(alert_id, priority="critical")
            stage.kuma.grow(alert_id, 2)
            await carried(runtime)
            stage.kuma.close(alert_id, "responded")
            await carried(runtime)
            state = await state_of(runtime, alert_id)

    incident = stage.incident(alert_id)
    created, updated, closed = incident.comments
    assert created == "kuma-sync: created, with 3 events"
    assert re.fullmatch("kuma-sync: updated: eventsTotal, .*severity; 2 events", updated)
    assert closed.splitlines() == ["kuma-sync: updated: alertStatus", "kuma-sync: closed: responded"]
    assert (incident.history[-1][0], state) == ("close", "closed")


async def test_an_operators_words_become_a_comment_once_without_any_audit(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, owning(owned="", comment=COMMENT))
        alert_id = stage.kuma.raise_alert()
        async with stage.runtime() as runtime:
            await carried(runtime)
            stage.irp.faults.add("status", match="/close$", code=503, times=2)
            words = CloseRequest(
                alert_id=AlertId(alert_id),
                origin=Origin.OPERATOR,
                reason=Reason.RESPONDED,
                comment="Checked with the user",
            )
            await tell(runtime, lambda tx: operator.order_close(tx, words, to_kuma=True))
            await carried(runtime)

    incident = stage.incident(alert_id)
    assert incident.comments == ["Checked with the user"]
    assert incident.status == "closed"


@pytest.mark.parametrize("status", [400, 403, 404, 500])
async def test_a_comment_that_fails_is_lost_and_holds_up_nothing(tmp_path: Path, sqlite_url: str, status: int) -> None:
    async with staged(tmp_path, sqlite_url, brake=OPEN_BRAKE) as stage:
        change_profile(stage, owning(owned="", comment=COMMENT, audit=AUDIT))
        stage.irp.faults.add("status", match="/comments$", code=status)
        ids = [stage.kuma.raise_alert() for _ in range(12)]
        async with stage.runtime() as runtime:
            await carried(runtime)
            for alert_id in ids:
                stage.kuma.close(alert_id)
            await carried(runtime)
            left, states = await parked(runtime), {await state_of(runtime, alert_id) for alert_id in ids}

    tried = [request for request in stage.irp.requests if request.path.endswith("/comments")]
    assert (left, states) == ([], {"closed"})
    assert len(tried) == 24, "each once: created, closed"
    assert [len(stage.incidents(alert_id)) for alert_id in ids] == [1] * 12
    assert len(stage.wrote("create")) == len(stage.wrote("close")) == 12


async def test_a_comment_that_surely_did_not_arrive_is_sent_again(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, owning(owned="", comment=COMMENT, audit=AUDIT))
        stage.irp.faults.add("status", match="/comments$", code=503, times=2)
        alert_id = stage.kuma.raise_alert(events=1)
        async with stage.runtime() as runtime:
            await carried(runtime)

    assert stage.incident(alert_id).comments == ["kuma-sync: created, with 1 event"]
    assert len(stage.wrote("create")) == 1
