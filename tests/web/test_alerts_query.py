"""KUMA's parameters as our door reads them, and its refusals in KUMA's words."""

from __future__ import annotations

import pytest

from kuma_sync.core.handout import Asked
from kuma_sync.web.api.alerts import read_query
from kuma_sync.web.responses import Refused


def test_flags_count_whatever_their_value_and_ids_may_be_repeated() -> None:
    asked = read_query(b"withEvents=false&withAffected&status=new&id=a&id=b&id=a&unknown=1", lists=False)

    assert asked == Asked(ids=("a", "b"), statuses=frozenset({"new"}), with_events=True, with_affected=True)


@pytest.mark.parametrize(
    ("query", "message", "details"),
    [
        (b"page=0", "invalid query parameter value", "page"),
        (b"page=x", "invalid query parameter value", "page"),
        (b"status=open", "invalid status", "open"),
        (b"timestampField=created", "invalid timestamp field", "created"),
        (b"from=yesterday", "cannot parse from", "yesterday"),
        (b"to=1", "cannot parse to", "1"),
        (b"from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from cannot be greater than to", None),
        (b"name=(", "invalid query parameter value", "name: missing ): ("),
        (b"name=(a{999}){999}", "invalid query parameter value", "name: invalid repetition size: {999}"),
        (b"id=%00", "invalid query parameter value", None),
    ],
)
def test_bad_parameter_is_refused_in_kumas_words(query: bytes, message: str, details: str | None) -> None:
    with pytest.raises(Refused) as refused:
        read_query(query, lists=False)

    assert (refused.value.status, refused.value.message, refused.value.details) == (400, message, details)
