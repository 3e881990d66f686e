"""Text from elsewhere, made fit for every place it may go to, and ids that come back in another spelling.

The exact spelling always wins; another one counts where the exact one is not there.
"""

from __future__ import annotations

import re

_UNFIT = re.compile("[\x00\ud800-\udfff]")


def fit(text: str) -> str:
    """Replace characters that PostgreSQL (NUL) or UTF-8 (half a surrogate pair) cannot store."""
    return _UNFIT.sub("\ufffd", text)


def cut(text: str, width: int) -> str:
    """Return a text of at most so many characters; an ellipsis shows that there was more."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def printable(text: str, *, keep: str = "") -> str:
    """Escape characters that control a terminal, as `\\x1b` or `\\u202e`.

    That is control characters (C1 ones too), marks that turn the direction of writing, and whatever else has no look of
    its own; those to `keep` stay.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else _escape(sign) for sign in text)


def printable_json(text: str) -> str:
    """Do the same to JSON text with JSON's own escapes; its meaning stays."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign == "\n" else _json_escape(sign) for sign in text)


def _escape(sign: str) -> str:
    code = ord(sign)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


_UUID = re.compile(r"(?:urn:uuid:)?\{?([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})\}?")


def folded(text: str) -> str:
    """Return a text without case and outer blanks, for comparing."""
    return text.strip().casefold()


def uuid_of(text: str) -> str | None:
    """Return a UUID in its plain form, small letters and hyphens; None if the text is no UUID."""
    found = _UUID.fullmatch(folded(text))
    return "-".join(found.groups()) if found else None


def alert_spellings(alert_id: str) -> tuple[str, ...]:
    """Return how an alert's id may be stored here, the given spelling first. KUMA's ids are UUIDs (help 222254)."""
    plain = uuid_of(alert_id) or alert_id.strip()
    return tuple(dict.fromkeys((alert_id, plain, plain.lower(), plain.upper())))


def incident_spellings(incident_id: str) -> tuple[str, ...]:
    """Return how an incident's id may be stored here, the given spelling first.

    Only UUIDs are known to be the same in whatever case: many IRPs have ids in which `x7Q` and `X7q` are two.
    """
    plain = uuid_of(incident_id)
    return (incident_id,) if plain is None else tuple(dict.fromkeys((incident_id, plain, plain.upper())))


def same_incident_id(one: str, other: str) -> bool:
    """Tell whether two ids name one incident."""
    return one == other or (uuid_of(one) or one) == (uuid_of(other) or other)
