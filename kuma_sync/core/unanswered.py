"""What an update leaves behind that nobody answered: fields of which nobody knows what they hold.

An update may arrive although its answer is lost. If the alert then goes back to what it was, nothing would differ from
what was sent last, and the incident would keep what it got for ever. So before an update goes out, its fields count as
holding anything. Must not: decide whether there is an update.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import replace

from kuma_sync.core.alert import Fingerprint
from kuma_sync.core.incident import UNSURE, Link, Sent


def update_begun(link: Link, fields: AbstractSet[str]) -> Link:
    """Note, before it goes out, that an update of these fields may arrive."""
    return link.with_sent(_in_doubt(link.sent, fields))


def update_refused(link: Link, fields: AbstractSet[str], *, before: Sent) -> Link:
    """Take that back, for it surely did not arrive; `before` is what had been sent. A resync meanwhile stays."""
    return link.with_sent(before) if link.sent == _in_doubt(before, fields) else link


def _in_doubt(sent: Sent, fields: AbstractSet[str]) -> Sent:
    return replace(sent, fingerprint=Fingerprint(UNSURE), fields={**sent.fields, **dict.fromkeys(fields, UNSURE)})
