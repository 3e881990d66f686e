"""`check`: everything tried, one line each."""

from __future__ import annotations

import os
from pathlib import Path

import click

from kuma_sync.app.diagnostics import findings
from kuma_sync.app.finding import Finding, Verdict
from kuma_sync.cli.options import config_option, json_option
from kuma_sync.cli.out import say
from kuma_sync.cli.session import command_settings, run_async
from kuma_sync.cli.tables import plain, show_json
from kuma_sync.settings import Settings, find_config


@click.command()
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
    found = []
    async for finding in findings(settings, source):
        found.append(finding)
        if not as_json:
            # At once, not at the end: a dead address takes its time.
            say(f"{finding.verdict.value:<7}  {finding.what:<16}  {plain(finding.hint)}")
    return found


def _exit_code(finding: Finding) -> int:
    if finding.verdict is not Verdict.FAILED:
        return 0
    return 2 if finding.misconfigured else 1
