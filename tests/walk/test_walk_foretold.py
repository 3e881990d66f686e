"""What `render` and the dry run say of fields that analysts own agrees with what is sent."""

from __future__ import annotations

from pathlib import Path

from owned import AUDIT, COMMENT, MATCH, owning
from stage import Stage, ask, change_profile, staged, until_rest

from kuma_sync.app.dry_run import dry_pass
from kuma_sync.app.one_alert import load_stored
from kuma_sync.app.preview import Rendered, stored_requests, with_contents
from kuma_sync.core.alert import AlertId
from kuma_sync.core.privacy import Privacy
from kuma_sync.sync.runtime.runner import Runtime
from kuma_sync.sync.runtime.single_pass import once

NEXT = "(the next request)"


async def carried(runtime: Runtime) -> None:
    await once(runtime)
    await until_rest(runtime)


async def rendered(stage: Stage, runtime: Runtime, alert_id: str) -> dict[str, Rendered]:
    work = await ask(runtime, lambda tx: load_stored(tx, AlertId(alert_id), Privacy()))
    assert work is not None
    stored = await with_contents(stage.settings(), work, runtime.contents)
    return {one.operation: one for one in stored_requests(stage.settings(), stored)}


async def test_an_update_of_an_owned_field_is_read_for_first_and_says_unless(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, owning(match=MATCH, comment=COMMENT, audit=AUDIT))
        alert_id = stage.kuma.raise_alert(name="first", priority="low")
        async with stage.runtime() as runtime:
            await carried(runtime)
            stage.kuma.edit(alert_id, name="second", priority="critical", correlationRuleID="another")
            await runtime.poller.poll_once(sweep=True)
            shown = await rendered(stage, runtime, alert_id)
            foretold = await dry_pass(stage.settings())
            await until_rest(runtime)

    assert list(shown) == ["find", "create", "get", "update", "add_events", "comment", "close"]
    assert shown["get"].note == f"before update; for `show --live` {NEXT}"
    assert shown["get"].url.endswith(f"/api/v1/incidents/{stage.incident(alert_id).id}")
    assert (shown["update"].body, shown["update"].headers["If-Match"]) == (
        {"title": "second", "rule": "another"},
        "<current.etag>",
    )
    assert shown["update"].note == "what differs from what was sent; title unless edited in the IRP"
    (planned,) = foretold.targets["irp"].planned
    assert (planned.would.updated, planned.would.fields) == (True, {"title", "rule"})
    assert stage.wrote("update") == [(stage.incident(alert_id).id, {"title": "second", "rule": "another"})]


async def test_what_is_the_analysts_is_foretold_no_more(tmp_path: Path, sqlite_url: str) -> None:
    async with staged(tmp_path, sqlite_url) as stage:
        change_profile(stage, owning(comment=COMMENT))
        alert_id = stage.kuma.raise_alert(name="first")
        async with stage.runtime() as runtime:
            await carried(runtime)
            stage.irp.analyst_edit(stage.incident(alert_id).id, title="Checked by us")
            stage.kuma.edit(alert_id, name="second")
            await carried(runtime)
            stage.kuma.edit(alert_id, name="third", correlationRuleID="another")
            await runtime.poller.poll_once(sweep=True)
            shown = await rendered(stage, runtime, alert_id)
            foretold = await dry_pass(stage.settings())
            reads = len([one for one in stage.irp.requests if one.method == "GET"])
            await until_rest(runtime)
            again = len([one for one in stage.irp.requests if one.method == "GET"])

    assert (shown["update"].body, shown["update"].note) == (
        {"rule": "another"},
        f"what differs from what was sent {NEXT}",
    )
    assert foretold.targets["irp"].planned[0].would.fields == {"rule"}
    assert stage.wrote("update") == [(stage.incident(alert_id).id, {"rule": "another"})]
    assert reads == again, "nothing is read where no owned field would change"
