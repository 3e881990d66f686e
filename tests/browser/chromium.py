"""Debian's Chromium: where it is, and how root installs it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--font-render-hinting=none",
]
"""It asks nobody but the daemon, and needs no graphics card."""


class Absent(Exception):
    """There is no Chromium here, and it cannot be installed."""


def executable(lock: Path) -> Path:
    """Return the browser's program; install it where it is missing: one process at a time. Raise Absent."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        found = _found()
        if found is None:
            _install()
            found = _found()
        if found is None:
            raise Absent("apt-get installed no chromium")
        return found


def _found() -> Path | None:
    paths = (shutil.which(name) for name in NAMES)
    return next((Path(path) for path in paths if path), None)


def _install() -> None:
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise Absent("needs Debian's chromium: only root can install it, and only where apt-get is")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core"]):
        done = subprocess.run(["apt-get", "-qq", *words], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Absent(f"apt-get {words[0]} failed: {done.stderr.strip()[-300:]}")
