"""Remove from log lines what must not be shown: secrets, found by key and by text, and messages of exceptions.

An exception is shown by its type and its frames. Its message may hold a remote's answer, so it is shown for our own
errors only.
"""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Iterable, Mapping, MutableMapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from kuma_sync.core.errors import KumaSyncError
from kuma_sync.settings.secret import MASK, SECRET_NAME

_SHORTEST = 4
_LONGEST_FOREIGN = 300

_hidden: Counter[str] = Counter()


def hide(*secrets: str) -> None:
    """Mask these texts from now on, wherever they appear, also inside an address.

    Texts under 4 characters are not masked: too much would disappear.
    """
    _hidden.update(_forms(secrets))


def forget(*secrets: str) -> None:
    """Take back one `hide` of each text: of a session that is over, for there is a new one every hour."""
    _hidden.subtract(_forms(secrets))
    for form in _forms(secrets):
        if _hidden[form] <= 0:
            del _hidden[form]


def _forms(secrets: Iterable[str]) -> list[str]:
    return [form for text in secrets if len(text) >= _SHORTEST for form in {text, quote(text, safe="")}]


def masked(text: str) -> str:
    """Return a text with every hidden secret masked."""
    for secret in sorted(_hidden, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask secrets by name and by text, as a structlog processor; only plain values are left afterwards."""
    return {key: _clean(key, value) for key, value in event.items()}


def safe_traceback(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace `exc_info`, as a structlog processor, by a traceback without foreign messages and without locals."""
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exc_info()
    error = found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event["exception"] = "\n".join(_lines(error))
    event.pop("stack_info", None)
    return event


def first_line(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep only the first line of another library's message, as a structlog processor: exceptions may follow it."""
    lines = str(event.get("event", "")).splitlines()
    event["event"] = lines[0][:_LONGEST_FOREIGN] if lines else ""
    return event


def _clean(key: str, value: Any) -> Any:
    if SECRET_NAME.search(key) and value and not isinstance(value, bool | int | float):
        return MASK
    match value:
        case None | bool() | int() | float():
            return value
        case Mapping():
            return {str(name): _clean(str(name), inner) for name, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_clean("", inner) for inner in value]
        case datetime():
            return value.isoformat()
        case BaseException():
            return masked(describe(value))
        case _:
            return masked(str(value))


def describe(error: BaseException) -> str:
    """Name an exception: its type, and its message if it is one of ours."""
    kind = type(error).__name__
    return f"{kind}: {error}" if isinstance(error, KumaSyncError) else kind


def frames_of(error: BaseException) -> list[str]:
    """Return an exception's kind and places as lines: no foreign message, no values, known secrets masked."""
    return [masked(line) for line in _lines(error)]


def _lines(error: BaseException, above: tuple[BaseException, ...] = ()) -> list[str]:
    """Return the lines of an exception; one of those `above` it, in which it is, is not told again."""
    lines = []
    chain = [one for one in _chain(error) if one not in above]
    for depth, one in enumerate(chain):
        frames = traceback.StackSummary.extract(traceback.walk_tb(one.__traceback__), capture_locals=False)
        lines.append(f"{'caused by ' if depth else ''}{describe(one)}")
        lines += [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
        if isinstance(one, BaseExceptionGroup):
            lines += [f"  | {line}" for inner in one.exceptions for line in _lines(inner, (*above, *chain))]
    return lines


def _chain(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return chain
