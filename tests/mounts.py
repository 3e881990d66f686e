"""Files and folders under a second name, as containers see them, and small disks; where mounting is allowed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def bound(source: Path, target: Path) -> Iterator[None]:
    """Show a file or a folder at a second place, as `docker -v source:target` does. `target` is made."""
    if source.is_dir():
        target.mkdir()
    else:
        target.touch()
    with _mounted(["--bind", str(source), str(target)], target):
        yield


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """Mount a disk of 1 MB."""
    path.mkdir()
    with _mounted(["-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], path):
        yield


@contextmanager
def _mounted(arguments: list[str], target: Path) -> Iterator[None]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mounted = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", target], check=True)
