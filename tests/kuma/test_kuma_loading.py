"""The quick parser and the careful one make the same of everything; the careful one alone takes what is odd."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kuma_sync.kuma.tolerant_json import _load_carefully, load

NUMBERS = ["0", "-0", "-0.0", "1e5", "1E400", "-1e999", "1e-400", "1.7976931348623159e308", "9007199254740993.0"]
NUMBERS += ["9" * 18, "9" * 30, "-" + "9" * 299, "9" * 300, "9" * 301, "-" + "9" * 300, "9" * 5000, "0." + "1" * 400]
ODD = [
    "NaN",
    "-Infinity",
    "01",
    "1.",
    "+1",
    "tru",
    '"\\ud800"',
    '"\\ud83d\\ude00"',
    '"\x00"',
    '"\\x"',
    '"\n"',
    '"\x7f"',
]
ATOMS = st.sampled_from([*NUMBERS, *ODD, "null", "true", '""', '"Ж"', '"\\u0000\\/"']) | st.floats().map(repr)
KEYS = ['"ключ" ', '""', '"\\u0061"']
TREES = st.recursive(
    ATOMS | st.integers().map(str) | st.text(max_size=5).map(json.dumps),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[" + ",".join(items) + "]")
        | st.lists(inner, max_size=3).map(lambda items: "{" + ", ".join(map("{}:{}".format, KEYS, items)) + "}")
        | st.tuples(inner, st.sampled_from([30, 63, 64, 65, 300])).map(
            lambda deep: "[" * deep[1] + deep[0] + "]" * deep[1]
        )
    ),
    max_leaves=8,
)


def outcome(parse, raw: bytes) -> str:
    left_out: list[str] = []
    try:
        return repr((parse(raw, left_out), left_out))
    except ValueError:
        return "no JSON"


@settings(deadline=None, derandomize=True, max_examples=150)
@given(TREES, st.sampled_from([b"", b" ", b"\xff", b"]", b"\xef\xbb\xbf"]), st.booleans())
def test_both_parsers_make_the_same_of_everything(tree, more, behind):
    text = tree.encode(errors="surrogatepass")
    raw = text + more if behind else more + text

    assert outcome(load, raw) == outcome(_load_carefully, raw)


def test_of_a_key_that_comes_twice_the_last_value_stays():
    raw = b'{"a":1E400,"a":[1],"b":2,"a":3}'

    assert load(raw, []) == _load_carefully(raw, []) == {"a": 3, "b": 2}


@pytest.mark.parametrize("number", NUMBERS)
def test_every_number_is_read_alike(number):
    assert outcome(load, number.encode()) == outcome(_load_carefully, number.encode())


def test_an_ordinary_alert_is_left_to_the_quick_parser():
    raw = (
        '{"id":"a","events":[{"ID":"e1","Name":"Вход \\ud83d\\ude00","Size":9223372036854775807,"Rate":0.5}]}'.encode()
    )

    left_out: list[str] = []
    value = load(raw, left_out)

    assert value == json.loads(raw)
    assert left_out == []
