"""`check` tries every part, `render` shows the requests that would be sent; neither changes anything."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from kuma_sync.app.diagnostics import findings
from kuma_sync.app.gated_remotes import open_gated
from kuma_sync.app.hiding import rules_now
from kuma_sync.app.local_diagnostics import Finding, Verdict
from kuma_sync.app.one_alert import load_stored
from kuma_sync.app.preview import (
    Rendered,
    Stored,
    as_if_in,
    sample_requests,
    stored_requests,
    with_contents,
)
from kuma_sync.cli.completion import offer_targets
from kuma_sync.cli.options import Unfinished, config_option, examples, json_option
from kuma_sync.cli.out import say, say_json
from kuma_sync.cli.progress import progress
from kuma_sync.cli.session import command_settings, looked_for, opened_store, run_async
from kuma_sync.cli.tables import State, plain, show_json, show_line
from kuma_sync.core.alert import AlertId
from kuma_sync.core.errors import ConfigError
from kuma_sync.core.routing import IRP
from kuma_sync.settings import Settings, find_config
from kuma_sync.sync.limits import Limits
from kuma_sync.telemetry.redact import masked

VERDICT_WIDTH = max(len(verdict.value) for verdict in Verdict)


@click.command(
    epilog=examples(
        "kuma-sync check",
        "kuma-sync check -c new.toml",
        codes="0 all is well or only warned about, 1 a part failed, 2 the configuration is wrong.",
    )
)
@config_option
@json_option
def check(config: Path | None, as_json: bool) -> None:
    """Try configuration, store, KUMA, IRP and templates; change nothing."""
    settings = command_settings(config)
    path = find_config(config, os.environ)
    source = str(path.absolute()) if path else "from the environment"
    found = run_async(_check, settings, source, as_json)
    if as_json:
        show_json(found)
    raise SystemExit(max(_exit_code(finding) for finding in found))


async def _check(settings: Settings, source: str, as_json: bool) -> list[Finding]:
    found, names = [], [f"IRP ({name})" if name != IRP else "IRP" for name in settings.named]
    width = max(len(f"{name} closed incidents") for name in names)
    with progress("reading the configuration") as told:
        async for finding in findings(settings, source, told=told):
            found.append(finding)
            if not as_json:
                # At once, not at the end: a dead address takes its time.
                with told.away():
                    _show_finding(finding, width)
    return found


def _show_finding(finding: Finding, width: int) -> None:
    verdict = finding.verdict.value
    blank = " " * (VERDICT_WIDTH - len(verdict))
    show_line(
        State(verdict), f"{blank}  {finding.what:<{width}}  {plain(finding.hint)}", indent=VERDICT_WIDTH + width + 4
    )


def _exit_code(finding: Finding) -> int:
    if finding.verdict is not Verdict.FAILED:
        return 0
    return 2 if finding.misconfigured else 1


@click.command(epilog=examples("kuma-sync render", "kuma-sync render 5f0c2a3e --target north"))
@config_option
@json_option
@click.option(
    "--target",
    metavar="NAME",
    shell_complete=offer_targets,
    help="Render for this target; else for that which the routes choose.",
)
@click.argument("alert", required=False)
def render(config: Path | None, as_json: bool, target: str | None, alert: str | None) -> None:
    """Show the requests that would be sent for ALERT, or for a built-in sample; send nothing."""
    settings = command_settings(config)
    if target is not None and target not in settings.named:
        raise ConfigError("--target", f"there is no target {target}; there are {', '.join(settings.named)}")
    found = sample_requests(settings, target) if alert is None else run_async(_stored, settings, alert, target)
    requests = [_masked(request) for request in found]
    if as_json:
        show_json(requests)
    else:
        _show(requests)


async def _stored(settings: Settings, text: str, target: str | None) -> Sequence[Rendered]:
    with opened_store(settings, untouched=True) as store:
        with store.reading() as tx:
            alert_id = AlertId(looked_for(tx, text))
            privacy = rules_now(tx, settings.privacy)
            work = load_stored(tx, alert_id, privacy)
        if work is None:
            raise Unfinished(f"{alert_id} is no alert; `kuma-sync show {alert_id}` tells what it is")
        work = work if target is None else as_if_in(work, target)
        stored = Stored(work=work, read=work)
        if work.lacks_contents:
            async with AsyncExitStack() as stack:
                gated = await open_gated(settings, store, Limits(), stack)
                stored = await with_contents(settings, work, gated.contents(settings, privacy))
    return stored_requests(settings, stored)


def _masked(request: Rendered) -> Rendered:
    """Mask secrets of `irp.options` that a template put into the request."""
    headers = {name: masked(value) for name, value in request.headers.items()}
    return replace(request, url=masked(request.url), headers=headers, body=_leaves_masked(request.body))


def _leaves_masked(node: Any) -> Any:
    match node:
        case str():
            return masked(node)
        case dict():
            return {name: _leaves_masked(inner) for name, inner in node.items()}
        case list():
            return [_leaves_masked(inner) for inner in node]
        case _:
            return node


def _show(requests: Sequence[Rendered]) -> None:
    for request in requests:
        say(f"# {request.operation}: {plain(request.note)}")
        say(f"{request.method} {plain(request.url)}")
        for name, value in request.headers.items():
            say(f"{plain(name)}: {plain(value)}")
        if isinstance(request.body, str):
            say()
            say("\n".join(plain(line) if line else "" for line in request.body.splitlines()))
        elif request.body is not None:
            say()
            say_json(json.dumps(request.body, ensure_ascii=False, indent=2))
        say()
