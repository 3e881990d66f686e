"""A machine that the runbook is carried out on: its folders below one of the test's, its commands in a real shell.

`systemctl` is a script that starts, stops and reloads a real daemon as the unit says: its environment, a copy of its
credentials (whose folder ExecReload is not told, as by systemd 257), its working directory, its ExecReload, and opens
the drop-in to edit it. `pip` installs nothing, and `$EDITOR` writes what the test wants, when the test wants it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import preloaded

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
UNIT = (ROOT / "deploy" / "kuma-sync.service").read_text(encoding="utf-8")

PLACES = (
    *("/etc/kuma-sync", "/etc/systemd/system", "/var/lib/kuma-sync", "/var/backups", "/opt/kuma-sync"),
    "/usr/local/src/kuma-sync",
)

SYSTEMCTL = """\
#!{python} -IS
import os, pathlib, shutil, signal, subprocess, sys, time
sys.path.append({beside!r})
import preloaded
here = pathlib.Path({here!r})
drop_in = here / "etc/systemd/system/kuma-sync.service.d/override.conf"
unit = (here / "unit").read_text() + (drop_in.read_text() if drop_in.exists() else "")
nothing = os.open(os.devnull, os.O_RDWR)
pid, log, state = here / "pid", here / "daemon.log", here / "var/lib/kuma-sync"
values = lambda key: [line.partition("=")[2] for line in unit.splitlines() if line.startswith(key + "=")]

def alive():
    try:
        number = int(pid.read_text())
        return number if pathlib.Path(f"/proc/{{number}}/stat").read_text().split(") ")[1][0] != "Z" else 0
    except (OSError, ValueError):
        return 0

def environment():
    env = {{name: value for name, value in os.environ.items() if not name.startswith(("KUMA_SYNC", "CREDENTIALS"))}}
    env |= dict(value.split("=", 1) for value in values("Environment"))
    return env | {{"MAINPID": str(alive())}}

def start():
    shutil.rmtree(here / "credentials", ignore_errors=True)
    (here / "credentials").mkdir()
    for value in values("LoadCredential"):
        name, path = value.split(":", 1)
        shutil.copy(path, here / "credentials" / name)
    before = log.stat().st_size if log.exists() else 0
    with log.open("ab") as out:
        env = environment() | {{"CREDENTIALS_DIRECTORY": str(here / "credentials")}}
        program, *words = values("ExecStart")[0].split()
        assert os.access(program, os.X_OK), program
        said = out.fileno()
        daemon, _ = preloaded.begun({server!r}, words, env=env, cwd=str(state), fds=(nothing, said, said), session=True)
    pid.write_text(str(daemon))
    until = time.monotonic() + 30
    while b'"started"' not in log.read_bytes()[before:]:
        if not alive() or time.monotonic() > until:
            sys.exit("kuma-sync.service failed, see " + str(log))
        time.sleep(0.05)
    while seen() == 3 and time.monotonic() < until:  # it says that it started a moment before its first heartbeat
        time.sleep(0.05)

def seen():
    streams, words = (nothing, nothing, nothing), ["status", "--exit-code"]
    return preloaded.told(preloaded.begun({server!r}, words, env=environment(), cwd=str(state), fds=streams)[1])

def stop():
    if alive():
        os.kill(alive(), signal.SIGTERM)
        until = time.monotonic() + 30
        while alive() and time.monotonic() < until:
            time.sleep(0.05)

def reload():
    for command in values("ExecReload"):
        result = subprocess.run(["/bin/sh", "-c", command.lstrip("+")], env=environment())
        if result.returncode:
            sys.exit("Job for kuma-sync.service failed.")

def edit():
    drop_in.parent.mkdir(parents=True, exist_ok=True)
    drop_in.touch()
    subprocess.run([os.environ["EDITOR"], str(drop_in)], check=True)

if sys.argv[1:] == ["daemon-reload"]:
    sys.exit()
verb, name = sys.argv[1:]
assert name == "kuma-sync", name
acts = {{"start": [start], "stop": [stop], "restart": [stop, start], "reload": [reload], "edit": [edit]}}
for act in acts[verb]:
    act()
"""

EDITOR = """\
#!{python} -IS
import pathlib, re, sys, time
path, here = pathlib.Path(sys.argv[1]), pathlib.Path({here!r})
if (here / "not-yet").exists():
    (here / "editing").touch()
    while (here / "not-yet").exists():
        time.sleep(0.05)
text = path.read_text()
for pattern, said in eval((here / "edits").read_text()):
    assert re.search(pattern, text), pattern
    text = re.sub(pattern, said, text)
path.write_text(text)
"""


def blocks(kind: str = "sh") -> dict[str, list[str]]:
    """Return the runbook's command blocks of a kind, by the heading they stand under."""
    found: dict[str, list[str]] = {}
    title = ""
    for heading, fence, block in re.findall(r"(?m)^#+ (.+)$|^```(\w*)\n((?:.*\n)*?)```$", RUNBOOK):
        if heading:
            title = heading
        elif fence == kind:
            found.setdefault(title, []).append(block)
    return found


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a block said, and how its last command ended."""

    code: int
    out: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The folder that stands for `/`."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "etc/kuma-sync/config.toml"

    @property
    def store(self) -> Path:
        return self.root / "var/lib/kuma-sync/kuma-sync.db"

    @property
    def log(self) -> list[dict[str, Any]]:
        """The daemon's log, of all its lives."""
        text = (self.root / "daemon.log").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def here(self, text: str) -> str:
        """Return a text whose places are those of this machine."""
        for place in PLACES:
            text = text.replace(place, f"{self.root}{place}")
        return text

    def edits(self, *changes: tuple[str, str]) -> None:
        """Say what the next `$EDITOR` does: patterns, each with what takes its place."""
        (self.root / "edits").write_text(repr(changes), encoding="utf-8")

    @asynccontextmanager
    async def while_editing(self, block: str) -> AsyncIterator[asyncio.Task[Done]]:
        """Run a block, and do something while its editor is open; the task ends with the block."""
        (self.root / "not-yet").touch()
        task = asyncio.create_task(self.run(block))
        while not (self.root / "editing").exists():
            assert not task.done(), task.result().out
            await asyncio.sleep(0.05)
        yield task
        (self.root / "not-yet").unlink()

    async def run(self, block: str, *, pasted: str = "") -> Done:
        """Run a block in a shell in which the first block of the page was run; what it reads is `pasted`."""
        first = blocks()["Install"][0]
        script = self.here(first if block == first else f"{first.rsplit('kuma-sync status', 1)[0]}{block}")
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("KUMA_SYNC")},
            "PATH": f"{self.root}/bin:{os.environ['PATH']}",
            "EDITOR": str(self.root / "bin/editor"),
        }
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", script),
            cwd=self.root,
            env=env,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(120):
            out, _ = await process.communicate(pasted.encode())
        return Done(code=process.returncode or 0, out=out.decode())

    async def systemctl(self, verb: str) -> Done:
        """Start, stop, restart or reload the service."""
        return await self.run(f"systemctl {verb} kuma-sync")


@asynccontextmanager
async def machine(root: Path, *, kuma: str, irp: str, tokens: tuple[str, str]) -> AsyncIterator[Machine]:
    """Set a machine up, installed as the unit's header says and not started; what runs at the end is killed."""
    for folder in (*PLACES, "/opt/kuma-sync/bin", "/bin"):
        (root / folder[1:]).mkdir(parents=True)
    one, named = Machine(root=root), {"python": sys.executable, "here": str(root)}
    _script(root / "opt/kuma-sync/bin/kuma-sync", f'#!/bin/sh\nexec {shlex.join(preloaded.for_shell())} "$@"\n')
    _script(root / "opt/kuma-sync/bin/pip", f'#!/bin/sh\necho "$(umask): $@" >> {root}/pip.log\n')
    _script(
        root / "bin/systemctl",
        SYSTEMCTL.format(**named, beside=str(Path(preloaded.__file__).parent), server=preloaded.server()),
    )
    _script(root / "bin/editor", EDITOR.format(**named))
    # There is no mount namespace here: the credentials' folder is where it is said to be.
    (root / "unit").write_text(one.here(UNIT).replace("/proc/$MAINPID/root", ""), encoding="utf-8")
    for name, token in zip(("kuma-token", "irp-token"), tokens, strict=True):
        (root / "etc/kuma-sync" / name).write_text(token, encoding="utf-8")
    one.config.write_text(
        f"""\
[kuma]
url = "{kuma}"
token_file = "${{CREDENTIALS_DIRECTORY}}/kuma-token"
[irp]
url = "{irp}"
token_file = "${{CREDENTIALS_DIRECTORY}}/irp-token"
[poll]
interval = "300ms"
sweep_interval = "600ms"
[close]
watch_interval = "300ms"
[retry]
base = "100ms"
max = "1s"
[brake]
max_new = 30
[store]
url = "sqlite:///{one.store}"
[web]
listen = ""
[log]
format = "json"
""",
        encoding="utf-8",
    )
    try:
        yield one
    finally:
        _end(root / "pid")


def _script(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def _end(pid: Path) -> None:
    """Kill the daemon, if it is there, and wait until it is gone."""
    if not pid.exists():
        return
    number = int(pid.read_text(encoding="ascii"))
    until = time.monotonic() + 10
    while Path(f"/proc/{number}/cmdline").exists() and time.monotonic() < until:
        if b"preloaded" not in Path(f"/proc/{number}/cmdline").read_bytes():
            return
        os.kill(number, signal.SIGKILL)
        time.sleep(0.05)
