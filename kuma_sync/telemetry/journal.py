"""Priorities for systemd's journal: where a stream is the journal's own, every line begins with `<N>` (sd-daemon(3)).

Without them the journal takes every line for information, and `journalctl -p warning` shows none.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TextIO

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7


def is_journal(stream: TextIO, env: Mapping[str, str] | None = None) -> bool:
    """Tell whether a stream goes to the journal: JOURNAL_STREAM is its device and inode (systemd.exec(5)).

    The variable alone says nothing: it is inherited by processes whose output goes elsewhere.
    """
    named = (os.environ if env is None else env).get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def with_priority(text: str, level: int) -> str:
    """Put the priority of a level of `logging` before every line."""
    priority = next((number for least, number in _PRIORITIES if level >= least), _DEBUG)
    return "\n".join(f"<{priority}>{line}" for line in text.splitlines())
