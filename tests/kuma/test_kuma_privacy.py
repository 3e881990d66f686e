"""Whatever an alert is made of: a canary below a named field is in nothing that is made of the alert afterwards."""

from __future__ import annotations

import json
import zlib
from typing import Any

from builders import NOW, an_account, an_asset, an_event
from hypothesis import given
from hypothesis import strategies as st

from kuma_sync.core.alert import AlertId, first_snapshot
from kuma_sync.core.comparison import Rejected
from kuma_sync.core.handout import item, with_hosts
from kuma_sync.core.privacy import Privacy
from kuma_sync.irp.context import Subject, values
from kuma_sync.kuma.parse import Parsed, parse_alert, read_scalars
from kuma_sync.store.types import pack
from kuma_sync.sync.polling.set_aside import as_read

CANARY = "canary4720"
MASKED = ("SourceUserName", "DestinationHostName", "FileHash", "fqdn", "upn")
DROPPED = ("OldPasswordHash", "Message", "BaseEvents", "displayName")
RULES = Privacy(drop=("*password*", *DROPPED[1:]), mask=MASKED, key=b"k" * 32)

harmless = st.none() | st.booleans() | st.integers() | st.text(max_size=6)
secret = st.just(CANARY) | st.just(f"DOMAIN\\{CANARY}") | st.lists(st.just(CANARY)) | st.just({"x": [CANARY]})
spoilt = st.dictionaries(st.sampled_from(MASKED + DROPPED), secret, min_size=1)
deep = st.recursive(
    spoilt, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(("Extra", "a", "ID")), inner)
)
alerts = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a", 7]),
        "events": st.lists(spoilt.map(lambda odd: an_event(**odd)) | deep, max_size=4),
        "affectedAssets": st.lists(spoilt.map(lambda odd: an_asset(**odd)) | deep, max_size=2) | deep,
        "affectedAccounts": st.lists(spoilt.map(lambda odd: an_account(**odd)), max_size=2),
    },
    optional={"name": harmless | deep, "status": harmless | deep, "odd": deep, "Message": secret, "priority": deep},
)


def made_of(parsed: Parsed) -> str:
    """Return all that is stored, sent or shown of an alert."""
    alert, contents = parsed.seen.alert, parsed.seen.contents
    assert contents is not None
    subject = Subject(snapshot=first_snapshot(parsed.seen), key="k", contents=contents, events=contents.events)
    rendered = values(subject, web_url="", options={}, now=NOW)
    given_out = [
        item(alert, contents.raw, read_scalars(contents.raw, alert.id)),
        with_hosts(contents.assets, lists=True),
    ]
    return "\n".join(
        [
            zlib.decompress(pack(contents)[0]).decode(),
            repr(parsed),
            repr(rendered),
            json.dumps(given_out, default=str, ensure_ascii=False),
            as_read(parsed.seen).decode("utf-8", "surrogatepass"),
        ]
    )


@given(alerts)
def test_a_canary_below_a_named_field_is_in_nothing_that_is_made_of_an_alert(alert: dict[str, Any]) -> None:
    parsed = parse_alert(json.dumps(alert).encode(), with_events=True, max_events=0, privacy=RULES)

    assert isinstance(parsed, Parsed)
    assert parsed.seen.alert.id == AlertId(str(alert["id"]))
    assert CANARY not in made_of(parsed)


@given(alerts, st.sampled_from([None, {}, "", [1]]))
def test_of_a_piece_without_an_id_the_canary_is_not_kept_either(alert: dict[str, Any], odd: Any) -> None:
    raw = json.dumps(alert | {"id": odd}).encode()

    pieces = [
        parse_alert(bytes_, with_events=True, max_events=0, privacy=RULES) for bytes_ in (raw, b"[%s]" % raw, raw[:-1])
    ]

    assert all(isinstance(piece, Rejected) and CANARY.encode() not in piece.raw for piece in pieces)
    lost = "; not kept, for [privacy] cannot be applied to it"
    assert [isinstance(piece, Rejected) and piece.reason.endswith(lost) for piece in pieces] == [False, False, True]


@given(alerts)
def test_the_same_alert_is_the_same_whatever_its_dropped_fields_hold(alert: dict[str, Any]) -> None:
    other = json.loads(json.dumps(alert).replace(CANARY, "another"))
    rules = Privacy(drop=(*MASKED, *RULES._drop))

    one, two = (
        parse_alert(json.dumps(each).encode(), with_events=True, max_events=0, privacy=rules) for each in (alert, other)
    )

    assert isinstance(one, Parsed)
    assert isinstance(two, Parsed)
    assert first_snapshot(one.seen).fingerprint == first_snapshot(two.seen).fingerprint
