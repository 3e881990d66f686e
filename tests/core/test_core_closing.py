"""Facts about closings and errors: which reason KUMA is told, and what a user is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kuma_sync.core.alert import AlertId
from kuma_sync.core.closing import MappedReason, Reason, close_reason, parse_reason
from kuma_sync.core.errors import ConfigError
from kuma_sync.core.incident import external_key

TABLE = {"False positive": Reason.INCORRECT_DATA, " Ложное срабатывание ": Reason.INCORRECT_RULE}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("responded", Reason.RESPONDED),
        ("incorrect data", Reason.INCORRECT_DATA),
        ("incorrect correlation rule", Reason.INCORRECT_RULE),
        ("Responded", Reason.RESPONDED),
        ("Incorrect Data", Reason.INCORRECT_DATA),
        ("INCORRECT CORRELATION RULE", Reason.INCORRECT_RULE),
        ("  incorrect   data ", Reason.INCORRECT_DATA),
        ("", None),
        ("   ", None),
        ("incident closed", None),
        ("incorrect_data", None),
    ],
)
def test_a_reason_is_read_whatever_its_case(text: str, reason: Reason | None) -> None:
    assert parse_reason(text) is reason


@given(st.sampled_from(Reason), st.data())
def test_any_mix_of_capitals_is_the_same_reason(reason: Reason, data: st.DataObject) -> None:
    capitals = data.draw(st.lists(st.booleans(), min_size=len(reason), max_size=len(reason)))

    mixed = "".join(letter.upper() if capital else letter for letter, capital in zip(reason, capitals, strict=True))

    assert parse_reason(mixed) is reason


@pytest.mark.parametrize(
    ("resolution", "default", "expected"),
    [
        ("False positive", None, MappedReason(reason=Reason.INCORRECT_DATA, listed=True)),
        ("FALSE POSITIVE", None, MappedReason(reason=Reason.INCORRECT_DATA, listed=True)),
        (" false positive\n", Reason.RESPONDED, MappedReason(reason=Reason.INCORRECT_DATA, listed=True)),
        ("ложное срабатывание", None, MappedReason(reason=Reason.INCORRECT_RULE, listed=True)),
        ("Duplicate", Reason.RESPONDED, MappedReason(reason=Reason.RESPONDED, listed=False)),
        ("Duplicate", None, MappedReason(reason=None, listed=False)),
        ("", Reason.RESPONDED, MappedReason(reason=Reason.RESPONDED, listed=False)),
    ],
)
def test_a_resolution_becomes_the_listed_reason_or_the_default(
    resolution: str, default: Reason | None, expected: MappedReason
) -> None:
    assert close_reason(resolution, TABLE, default) == expected


def test_the_key_of_an_incident_names_the_instance_and_the_alert() -> None:
    assert external_key("msk", AlertId("42")) == "kuma:msk:42"


@pytest.mark.parametrize(
    ("key", "sentence"), [("kuma.url", "kuma.url: must be an address"), ("", "must be an address")]
)
def test_a_configuration_error_names_its_key(key: str, sentence: str) -> None:
    error = ConfigError(key, "must be an address")

    assert str(error) == sentence
    assert (error.key, error.problem) == (key, "must be an address")
