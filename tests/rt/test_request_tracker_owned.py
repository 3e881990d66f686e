"""Subjects that analysts may rewrite, and comments of what we did, at the real server."""

from __future__ import annotations

from pathlib import Path

from request_tracker import Tracker
from stage import Stage, link_of, parked, staged, until_rest
from test_request_tracker import comments, seen, settings, ticket_of

from kuma_sync.irp.load import profile_text
from kuma_sync.sync.runtime.runner import Runtime, once

COMMENT = """
[comment]
method = "POST"
path = "/REST/2.0/ticket/{{ incident.id }}/comment"
ok_status = [200, 201]
body = { ContentType = "text/plain", Subject = "kuma-sync", Content = "{{ comment }}" }
"""


def owning(folder: Path) -> Path:
    """Write the built-in profile with an owner for the subject, and comments."""
    text = profile_text("request-tracker").replace('settle = "15s"', 'settle = "1s"')
    text = text.replace("[profile]\n", "[profile]\naudit_comments = true\n", 1)
    text = text.replace("[update]\n", '[update]\nuntil_edited = ["Subject"]\n', 1)
    own = folder / "owned.toml"
    own.write_text(text + COMMENT)
    return own


async def carried(runtime: Runtime) -> None:
    await once(runtime)
    await until_rest(runtime, within=90)


def rewrite(tracker: Tracker, ticket: int, subject: str) -> None:
    """Do what an analyst does."""
    with tracker.client() as client:
        assert client.put(f"/ticket/{ticket}", json={"Subject": subject}).json()


async def test_a_subject_that_somebody_rewrote_stays_and_what_we_did_is_told(
    tmp_path: Path, sqlite_url: str, tracker: Tracker
) -> None:
    async with staged(tmp_path, sqlite_url, **settings(tracker, tmp_path)) as stage:
        stage.configure(irp={"profile": str(owning(tmp_path))})
        rewritten, plain = (stage.kuma.raise_alert(name=name, priority="low") for name in ("first", "Первый"))
        async with stage.runtime() as runtime:
            await carried(runtime)
            rewrite(tracker, ticket_of(stage, tracker, rewritten), "Checked by us")
            for alert_id in (rewritten, plain):
                stage.kuma.edit(alert_id, name="Второй", priority="critical")
            await carried(runtime)
            theirs = [(await link_of(runtime, alert_id)).sent.theirs for alert_id in (rewritten, plain)]
            left = await parked(runtime)
        subjects = [shown(stage, tracker, alert_id) for alert_id in (rewritten, plain)]
        told = [text for text in comments(tracker, ticket_of(stage, tracker, plain)) if "kuma-sync" in text]

    assert left == []
    assert subjects == [("Checked by us", "100"), ("Второй", "100")]
    assert theirs == [{"Subject"}, set()]
    assert [text.strip().partition(":")[2].split(",")[0].strip() for text in told] == ["created", "updated: Priority"]


def shown(stage: Stage, tracker: Tracker, alert_id: str) -> tuple[str, str]:
    """Return the subject and the priority of an alert's ticket."""
    ticket = seen(tracker, ticket_of(stage, tracker, alert_id))
    return ticket["Subject"], ticket["Priority"]
