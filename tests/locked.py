"""A folder that lets nobody in, not even root while it is locked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder for as long as the block runs; root, who may look everywhere, is somebody else meanwhile."""
    was, mode = os.geteuid(), folder.stat().st_mode
    folder.chmod(0)
    if was == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(was)
        folder.chmod(mode)
