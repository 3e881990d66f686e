"""Which fields of an incident are the analysts' by now, and what an incident may hold while an update is on its way.

An update may arrive although its answer is lost. If the alert then goes back to what it was, nothing would differ from
what was sent last, and the incident would keep what it got for ever. So before an update goes out, its fields count as
holding anything; of fields that are sent until somebody edits them, as holding one of several values of ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace

from kuma_sync.core.alert import Fingerprint, canonical_json
from kuma_sync.core.link import UNSURE, DeliveredState, Link
from kuma_sync.core.steps import RenderedFields, Update


def digest(value: object) -> str:
    """Return what stands for a field's value: JSON that differs in anything has another one."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def likeness(value: object) -> str:
    """Return what stands for a field's value where an IRP may write it another way; a plain text's is its digest.

    The same are: what is empty, whatever kind of empty; a number and its text; true and "true"; texts that differ in
    blanks around them or in the kind of line ends; lists in another order; tables with and without empty entries.
    """
    return digest(_alike(value))


def _alike(value: object) -> object:
    match value:
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return str(int(value))
        case int() | float():
            return str(value)
        case str():
            return value.replace("\r\n", "\n").replace("\r", "\n").strip() or None
        case list() | tuple():
            return sorted((one for one in map(_alike, value) if one is not None), key=canonical_json) or None
        case Mapping():
            inner = {str(name): _alike(one) for name, one in value.items()}
            return {name: one for name, one in inner.items() if one is not None} or None
        case _:
            return None


EMPTY = likeness(None)
"""Of a field that holds nothing, or that the IRP does not show."""


def marks(value: object) -> frozenset[str]:
    """Return what a value that an IRP shows is compared by: older links know its digest alone."""
    return frozenset({digest(value), likeness(value)})


def to_look_at(update: Update | None, rendered: RenderedFields) -> frozenset[str]:
    """Return the fields that this update would change, though only as long as nobody edited them in the IRP."""
    if update is None or not rendered.until_edited:
        return frozenset()
    return (update.fields | update.clear) & rendered.until_edited


def edited(
    names: AbstractSet[str], rendered: RenderedFields, sent: DeliveredState, shown: Mapping[str, frozenset[str]]
) -> frozenset[str]:
    """Return which of these fields somebody edited: the IRP shows neither what we sent nor what we would send now.

    `shown` are the `marks` of what it shows. Where nobody knows what was sent (a store that is new or older than the
    profile's key), only a field that is empty is taken for unedited.
    """

    def unedited(name: str) -> bool:
        now = shown.get(name, frozenset({EMPTY}))
        same = as_sent(sent, name, now)
        return rendered.likeness.get(name, EMPTY) in now or (EMPTY in now if same is None else same)

    return frozenset(name for name in names if not unedited(name))


def as_sent(sent: DeliveredState, name: str, shown: frozenset[str]) -> bool | None:
    """Tell whether a field shows what we sent, by its `marks`; None where nobody knows what that was."""
    known = _known(sent, name)
    return bool(shown & known) if known else None


def left_to_analysts(link: Link, names: Collection[str]) -> Link:
    """Note that these fields are the analysts' from now on."""
    sent = link.sent
    ours = {name: held for name, held in sent.ours.items() if name not in names}
    return link.with_sent(replace(sent, ours=ours, theirs=sent.theirs.union(names))) if names else link


def update_begun(link: Link, fields: AbstractSet[str], rendered: RenderedFields) -> Link:
    """Note, before it goes out, that an update of these fields may arrive."""
    return link.with_sent(_in_doubt(link.sent, fields, rendered))


def update_refused(link: Link, fields: AbstractSet[str], rendered: RenderedFields, *, before: DeliveredState) -> Link:
    """Take the update back: it surely did not arrive. `before` is the content before it. A resync meanwhile stays."""
    return link.with_sent(before) if link.sent == _in_doubt(before, fields, rendered) else link


def _in_doubt(sent: DeliveredState, fields: AbstractSet[str], rendered: RenderedFields) -> DeliveredState:
    # What was never sent is empty, as far as we know, until this arrives.
    ours = {
        name: (_known(sent, name) or frozenset({EMPTY})) | {rendered.likeness.get(name, EMPTY)}
        for name in fields & rendered.until_edited
    }
    return replace(
        sent,
        fingerprint=Fingerprint(UNSURE),
        fields={**sent.fields, **dict.fromkeys(fields, UNSURE)},
        ours={**sent.ours, **ours} if ours else sent.ours,
    )


def _known(sent: DeliveredState, name: str) -> frozenset[str]:
    """Return the values from us that the incident may hold in a field; none where nobody knows."""
    last = sent.fields.get(name, UNSURE)
    return sent.ours.get(name, frozenset()) | (frozenset() if last == UNSURE else {last})
