"""How a bug of ours ends the process: told by kind and place, for its text may hold a secret or what is in an alert."""

from __future__ import annotations

import resource
import sys
import threading
from types import TracebackType

from kuma_sync.cli.out import complain


def hide_in_crashes() -> None:
    """Let no exception that nobody expected be printed with its text."""
    sys.excepthook = _tell
    threading.excepthook = _tell_of_thread


def leave_no_core() -> None:
    """Let the system write no memory of this process to a disk, with tokens in it, where it ends by a signal."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _tell(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    # Loaded only when needed: `--help` is to be quick.
    from kuma_sync.telemetry.redact import frames_of  # noqa: PLC0415

    complain("kuma-sync: a bug in kuma-sync ends it; please report these lines:")
    complain("\n".join(frames_of(error)), lines=True)


def _tell_of_thread(died: threading.ExceptHookArgs) -> None:
    if died.exc_value is not None:
        _tell(died.exc_type, died.exc_value, died.exc_traceback)
