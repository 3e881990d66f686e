"""Text from elsewhere, made fit for every place it may go to. Must not: shorten or translate it."""

from __future__ import annotations

import re

_UNFIT = re.compile("[\x00\ud800-\udfff]")


def fit(text: str) -> str:
    """Replace what PostgreSQL (NUL) or UTF-8 (half a surrogate pair) cannot hold."""
    return _UNFIT.sub("\ufffd", text)
