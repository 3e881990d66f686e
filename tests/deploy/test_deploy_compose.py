"""What the compose files wrap around the daemon: its end and its signals, with real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = ("compose.yaml", "compose.several.yaml")
WAITS = "kuma-sync waits here"

STAND_IN = """\
import signal, sys, time
told = []
signal.signal(signal.SIGHUP, lambda *_: print("hangup", flush=True))
signal.signal(signal.SIGTERM, lambda *_: (print("terminated", flush=True), sys.exit(int(sys.argv[2]))))
print("started", flush=True)
time.sleep(60)
"""


@contextmanager
def container(tmp_path: Path, *words: str, stand_in: bool = False, **env: str) -> Iterator[subprocess.Popen[str]]:
    """Run what the container would; `stand_in` takes the place of the program, and ends with its second word."""
    command = tmp_path / "kuma-sync"
    if stand_in:
        (tmp_path / "stand_in.py").write_text(STAND_IN)
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path}/stand_in.py "$@"\n')
    else:
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m kuma_sync "$@"\n')
    command.chmod(0o755)
    process = subprocess.Popen(
        [ROOT / "deploy" / "container.sh", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", **env},
        cwd=tmp_path,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # As a container ends: with all its processes.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def line(process: subprocess.Popen[str], fits: Callable[[str], object]) -> str:
    """Read on to the first line that fits."""
    assert process.stdout is not None
    return next(one for one in process.stdout if fits(one))


def config(tmp_path: Path, key: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(
        f'[kuma]\nurl = "http://127.0.0.1:1"\ntoken = "t"\n[irp]\nurl = "http://127.0.0.1:1"\n{key} = "t"\n'
    )
    return path


def test_a_daemon_that_refuses_its_configuration_is_not_started_again(tmp_path: Path) -> None:
    config(tmp_path, "tokn")

    with container(tmp_path, "run") as process:
        said = line(process, lambda one: "kuma-sync: " in one)
        line(process, lambda one: WAITS in one)
        time.sleep(0.3)  # nothing can be waited for: nothing happens
        stays = process.poll()
        process.terminate()
        code = process.wait(timeout=20)

    assert said == "kuma-sync: irp.tokn: is not a known key, did you mean irp.token?\n"
    assert (stays, code) == (None, 2)


@pytest.mark.parametrize("code", [0, 1])
def test_any_other_end_of_the_daemon_is_the_containers_end(tmp_path: Path, code: int) -> None:
    with container(tmp_path, "run", str(code), stand_in=True) as process:
        line(process, lambda one: "started" in one)
        process.terminate()
        said = line(process, lambda one: one)
        ended = process.wait(timeout=20)

    assert (said, ended) == ("terminated\n", code)


def test_a_hangup_reaches_the_daemon_and_ends_nothing(tmp_path: Path) -> None:
    with container(tmp_path, "run", "0", stand_in=True) as process:
        line(process, lambda one: "started" in one)
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            assert line(process, lambda one: one) == "hangup\n"
        process.terminate()
        ended = process.wait(timeout=20)

    assert ended == 0


def test_another_command_is_the_command_itself(tmp_path: Path) -> None:
    path = config(tmp_path, "tokn")

    with container(tmp_path, "config", "check", "--json", "-c", str(path)) as process:
        said, _ = process.communicate(timeout=60)

    assert process.returncode == 2
    assert json.loads(said)["problems"] == ["irp.tokn: is not a known key, did you mean irp.token?"]


@pytest.mark.parametrize("file", FILES)
def test_compose_keeps_the_daemon_up_over_a_reboot(file: str) -> None:
    text = (ROOT / "deploy" / file).read_text(encoding="utf-8")

    assert "    restart: unless-stopped\n    entrypoint: [kuma-sync-container]\n" in re.sub(r"    #.*\n", "", text)
    assert '    command: ["run"]\n' in text


def test_the_image_holds_what_the_compose_files_start() -> None:
    assert "COPY deploy/container.sh /usr/local/bin/kuma-sync-container\n" in (ROOT / "Dockerfile").read_text()
    assert os.access(ROOT / "deploy" / "container.sh", os.X_OK)
