"""What README and docs/profiles.md have a new user do, done: their blocks as they stand, between simulators."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from addresses import somewhere
from preloaded import for_shell
from prompt import ask, daemon, ended, until, world

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SIMULATORS = {"127.0.0.1:7223": "kuma", "127.0.0.1:8443": "irp"}

EDITOR = """\
#!{python}
import sys
from pathlib import Path

file = Path(sys.argv[1])
text = file.read_text()
for address, token in (("{kuma}", "0123456789abcdef0123456789abcdef"), ("{irp}", "sim-irp-token")):
    for key, value in (("url", address), ("token", token)):
        text = text.replace(f'\\n{{key}} = ""', f'\\n{{key}} = "{{value}}"', 1)
file.write_text(text)
"""
"""Somebody at an editor, who fills in what is required."""

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def blocks(file: str, title: str) -> list[str]:
    """Return the code blocks under a heading of a document."""
    text = (ROOT / file).read_text(encoding="utf-8")
    part = re.split(r"(?m)^## ", text.split(f"\n## {title}\n", 1)[1])[0]
    return re.findall(r"(?ms)^```\w*\n(.*?)^```$", part)


def surroundings(**env: str) -> dict[str, str]:
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "KUMA_SYNC_WEB__LISTEN": somewhere(), **env}


async def bash(script: str, folder: Path, **env: str) -> tuple[int, str]:
    quick = folder / "quick"
    quick.mkdir(exist_ok=True)
    (quick / "kuma-sync").write_text(f'#!/bin/sh\nexec {shlex.join(for_shell())} "$@"\n')
    (quick / "kuma-sync").chmod(0o755)
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", f"PATH={shlex.quote(str(quick))}:$PATH\n{script}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=surroundings(**env),
        cwd=folder,
    )
    answer, _ = await process.communicate()
    return process.returncode or 0, answer.decode()


@asynccontextmanager
async def simulator(line: str, listen: str, folder: Path) -> AsyncIterator[str]:
    """Run a simulator as the document says, at another address; yield what it prints at its start."""
    words = [*line.split(), "--listen", listen]
    assert words[0] == "kuma-sync"
    process = await asyncio.create_subprocess_exec(
        *(*for_shell(), *words[1:]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=surroundings(),
        cwd=folder,
    )
    assert process.stdout is not None
    told = ""
    async with asyncio.timeout(60):
        while "_sim/act" not in told:
            told += (await process.stdout.readline()).decode()
    try:
        yield told
    finally:
        process.terminate()
        await ended(process)


@asynccontextmanager
async def both_simulators(folder: Path) -> AsyncIterator[tuple[dict[str, str], list[str]]]:
    """Run those of the README; yield where they listen instead of where it says, and what they print."""
    kuma, irp, *_ = blocks("README.md", "Try it by hand")
    moved = {address: somewhere() for address in SIMULATORS}
    ours = list(moved.values())
    async with simulator(kuma, ours[0], folder) as first, simulator(irp, ours[1], folder) as second:
        yield moved, [first, second]


def at(text: str, moved: dict[str, str]) -> str:
    for address, other in moved.items():
        assert address in text
        text = text.replace(address, other)
    return text


@needs_curl
async def test_the_readme_leads_from_nothing_to_the_first_incidents(tmp_path: Path) -> None:
    *_, script = blocks("README.md", "Try it by hand")
    async with both_simulators(tmp_path) as (moved, _told):
        code, answer = await bash(at(script, moved), tmp_path)

    assert code == 0, answer
    found = json.loads(answer[answer.index('{"items"') :])
    assert len(found["items"]) == found["total"] == 3
    assert answer.count("  open  ") == 3
    assert "\nfailed" not in answer


async def test_a_simulator_prints_what_a_configuration_needs_for_it(tmp_path: Path) -> None:
    """The lines go into the file as they are printed."""
    async with both_simulators(tmp_path) as (_moved, told):
        sections = [re.search(r"(?ms)^\[\w+\]\n.*?\n\n", one) for one in told]
        (tmp_path / "config.toml").write_text("".join(section[0] for section in sections if section))

        code, answer = await bash("kuma-sync check -c config.toml", tmp_path)

    assert code == 0, answer


async def test_the_first_configuration_is_made_checked_and_run_as_the_readme_says(tmp_path: Path) -> None:
    _install, script, *_ = blocks("README.md", "First configuration")
    *steps, last = script.splitlines()
    async with both_simulators(tmp_path) as (moved, _told):
        kuma, irp = moved.values()
        editor = tmp_path / "editor"
        editor.write_text(EDITOR.format(python=sys.executable, kuma=f"http://{kuma}", irp=f"http://{irp}"))
        editor.chmod(0o755)
        code, answer = await bash("\n".join(steps), tmp_path, EDITOR=str(editor))
        assert code == 0, answer
        listen = somewhere()
        process = await asyncio.create_subprocess_exec(
            *(BIN / "kuma-sync", *last.split("#")[0].split()[1:]),
            env=surroundings(KUMA_SYNC_WEB__LISTEN=listen),
            cwd=tmp_path,
            stderr=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        asked = [f"kuma-sync health --url {listen}", f"kuma-sync status -c {tmp_path}/config.toml"]
        ready = await bash(f"timeout 60 bash -c 'until {asked[0]}; do sleep 0.1; done'; {asked[1]}", tmp_path)
        process.terminate()
        ran = await ended(process)

    assert "config.toml: no problem" in answer
    assert "3 open" in ready[1]
    assert (ready[0], ran.code) == (0, 0)


@needs_curl
async def test_the_irps_close_command_is_answered_as_the_readme_says(tmp_path: Path) -> None:
    (script,) = blocks("README.md", "How closings come back")
    listen, token = somewhere(), "0123456789abcdef0123456789abcdef"
    async with world(tmp_path, web={"listen": listen, "tokens": {"sv": token}}) as w:
        alert = w.kuma.raise_alert()
        async with daemon(w):
            await until(lambda: w.irp.by_key(f"kuma:kuma:{alert}"))
            for word, meant in (("127.0.0.1:8484", listen), ("TOKEN", token), ("ALERT-ID", alert)):
                script = script.replace(word, meant)
            code, answer = await bash(script.replace("curl ", "curl -sS -w '%{http_code}' "), tmp_path)
            await until(lambda: w.kuma.closes)

    assert (code, answer) == (0, "204")
    assert w.kuma.closes == [(alert, "responded")]


def test_the_units_header_gives_the_commands_of_the_readme() -> None:
    *_, systemd, _docker = blocks("README.md", "First configuration")
    header = (ROOT / "deploy" / "kuma-sync.service").read_text(encoding="utf-8").split("\n[Unit]")[0]
    commands = [line.removeprefix("#   ") for line in header.splitlines() if line.startswith("#   ")]

    wanted = [line for line in systemd.splitlines() if " status " not in line]
    assert [line for line in commands if not line.startswith("token_file")] == wanted


@pytest.mark.parametrize("kind", ["install", "unit", "image"])
def test_what_the_readme_installs_is_held_to_the_lock(kind: str) -> None:
    texts = {
        "install": "\n".join(blocks("README.md", "First configuration")),
        "unit": (ROOT / "deploy" / "kuma-sync.service").read_text(encoding="utf-8"),
        "image": (ROOT / "Dockerfile").read_text(encoding="utf-8"),
    }
    installs = re.findall(r"pip install ([^&\n]*)", texts[kind])

    assert installs
    assert all("--require-hashes -r" in one or "--no-deps" in one for one in installs), installs


def test_what_the_readme_has_one_make_never_gets_into_git() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    made = [
        "config.toml",
        "try.toml",
        "kuma-token",
        "irp-token",
        "venv/bin/python",
        "kuma-sync.db",
        "kuma-sync.db.lock",
    ]
    made += ["deploy/config.toml", "deploy/secrets/kuma-token", "deploy/secrets/irp-token"]
    text = "\n".join([*blocks("README.md", "Try it by hand"), *blocks("README.md", "First configuration")])

    asked = subprocess.run(
        ["git", "check-ignore", "--no-index", *made], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert asked.stdout.split() == made
    assert [
        name for name in ("config.toml", "try.toml", "kuma-token", "irp-token", "deploy/secrets") if name not in text
    ] == []


async def test_a_new_profile_is_tried_with_one_incident_and_the_rest_is_let_go(tmp_path: Path) -> None:
    """docs/profiles.md, steps 6 and 7."""
    async with world(tmp_path, brake={"max_new": 1}) as w:
        alerts = [w.kuma.raise_alert() for _ in range(4)]

        first = await ask("run", "--once", *w.c)
        (incident,) = w.irp.incidents.values()
        alert = incident.external_id.rpartition(":")[2]
        again = await ask("run", "--once", *w.c)
        resynced = [await ask("resync", alert, *w.c), await ask("run", "--once", *w.c)]
        before = len(w.irp.incidents)
        w.irp.analyst_close(incident.id, "False positive")
        closed = await ask("run", "--once", *w.c)
        closings = list(w.kuma.closes)
        all_at_once = w.configured(brake={"max_new": 0})
        released = await ask("release", "--yes", *all_at_once)
        rest = await ask("run", "--once", *all_at_once)

    assert [first.code, again.code, resynced[1].code, closed.code] == [1, 1, 1, 1]
    assert "3 held" in first.out
    assert (resynced[0].code, before) == (0, 1)
    assert closings == [(alert, "incorrect data")]
    assert (released.code, rest.code) == (0, 0)
    assert {one.external_id.rpartition(":")[2] for one in w.irp.incidents.values()} == set(alerts)


async def test_old_alerts_that_are_to_be_left_out_make_no_incident_and_the_next_one_does(tmp_path: Path) -> None:
    """docs/profiles.md: `ignore_before` is set before the first run."""
    async with world(tmp_path) as w:
        old = [w.kuma.raise_alert() for _ in range(3)]
        seen = datetime.now(UTC).replace(microsecond=0)
        await until(lambda: datetime.now(UTC).replace(microsecond=0) > seen)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        config = w.configured(poll={"ignore_before": now}, brake={"max_new": 1})

        first = await ask("run", "--once", *config)
        none = dict(w.irp.incidents)
        new = w.kuma.raise_alert()
        second = await ask("run", "--once", *config)

    assert (first.code, none) == (0, {})
    assert f"{len(old)} ignored" in first.out
    assert second.code == 0
    assert [one.external_id for one in w.irp.incidents.values()] == [f"kuma:kuma:{new}"]
