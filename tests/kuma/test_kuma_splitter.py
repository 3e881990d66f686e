"""The splitter against json.loads, on documents made to mislead it, in pieces of any size."""

from __future__ import annotations

import hashlib
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kuma_sync.kuma.array_splitter import ArraySplitter, NotAnArray
from kuma_sync.kuma.element_cache import Element

RELAXED = settings(deadline=None)  # timings on a shared machine prove nothing
HOSTILE = st.text(alphabet='"\\{}[],:n \u0000\n/uЖ😀', max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | HOSTILE
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(HOSTILE, inner, max_size=4), max_leaves=20
)


def split(document: bytes, sizes: list[int], *, max_size: int = 1 << 30) -> tuple[list[Element], bool]:
    """Feed a document in pieces of these sizes, over and over."""
    splitter, found, position, turn = ArraySplitter(max_size=max_size), [], 0, 0
    while position < len(document):
        size = sizes[turn % len(sizes)]
        found += splitter.feed(document[position : position + size])
        position, turn = position + size, turn + 1
    return found, splitter.complete


def understood(document: bytes, sizes: list[int]) -> object:
    """Return what splitting and then parsing makes of a document; None if it is refused or not whole."""
    try:
        elements, complete = split(document, sizes)
        return [json.loads(element.raw or b"") for element in elements] if complete else None
    except ValueError:
        return None


def expected(document: bytes) -> object:
    """Return what json.loads makes of it, where that is an array (or null)."""
    try:
        value = json.loads(document.decode())
    except ValueError:
        return None
    return [] if value is None else value if isinstance(value, list) else None


SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@RELAXED
@given(st.lists(VALUES, max_size=6), st.booleans(), st.sampled_from([None, 1]), SIZES)
def test_elements_are_those_that_json_loads_finds(values, ascii_only, indent, sizes):
    document = json.dumps(values, ensure_ascii=ascii_only, indent=indent).encode()

    elements, complete = split(document, sizes)

    assert complete
    assert [json.loads(element.raw) for element in elements] == values
    assert all(element.size == len(element.raw) and element.raw in document for element in elements)


@RELAXED
@given(st.lists(VALUES, max_size=4), st.data(), SIZES)
def test_a_damaged_document_is_understood_exactly_where_json_loads_understands_it(values, data, sizes):
    whole = json.dumps(values, ensure_ascii=False).encode()
    at = data.draw(st.integers(0, len(whole)))
    upto = data.draw(st.integers(at, min(at + 3, len(whole))))
    junk = data.draw(
        st.binary(max_size=3) | st.sampled_from([b",", b"]", b"[", b"{", b"}", b'"', b"\\", b" ", b"null"])
    )

    damaged = whole[:at] + junk + whole[upto:]

    assert understood(damaged, sizes) == expected(damaged)


@RELAXED
@given(st.lists(VALUES, min_size=1, max_size=4), st.data(), SIZES)
def test_a_cut_document_is_never_complete(values, data, sizes):
    whole = json.dumps(values).encode()
    length = data.draw(st.integers(0, len(whole) - 1))

    assert not split(whole[:length], sizes)[1]


@pytest.mark.parametrize("document", [b"null", b" null\n", b"[]", b" [ ] "])
def test_nothing_is_an_empty_page(document):
    assert split(document, [1]) == ([], True)


@pytest.mark.parametrize("document", [b"", b" ", b"nul", b"[", b'[{"a":1}', b'[{"a":"]'])
def test_an_array_without_its_closing_bracket_is_not_complete(document):
    assert not split(document, [3])[1]


@pytest.mark.parametrize("document", [b"<html>", b"nil", b"[{} {}]", b"[,{}]", b"[{},]", b"[]]", b"[] x", b"[}", b"1"])
def test_what_is_no_array_is_refused(document):
    with pytest.raises(NotAnArray, match="array") as caught:
        split(document, [2])

    assert not caught.value.is_object


def test_an_object_is_refused_with_a_hint_at_xdr():
    with pytest.raises(NotAnArray, match="XDR") as caught:
        split(b'{"Total": 0}', [100])

    assert caught.value.is_object


@pytest.mark.parametrize("piece", [1, 7, 5000, 100_000])
def test_an_element_above_the_limit_is_counted_and_hashed_but_not_kept(piece):
    large = b'{"id":"big","events":["' + b'x\\"]}' * 5_000 + b'"]}'
    document = b'[{"id":"a"},' + large + b',{"id":"b"}]'

    (first, middle, last), complete = split(document, [piece], max_size=10_000)

    assert complete
    assert (first.raw, last.raw) == (b'{"id":"a"}', b'{"id":"b"}')
    assert (middle.raw, middle.size, middle.head) == (None, len(large), large[:4096])
    assert middle.digest == hashlib.sha256(large).digest()
    assert middle.alert_id_hint() == "big"


def test_a_64_mb_alert_passes_in_less_than_10_mb():
    splitter = ArraySplitter(max_size=1 << 20)
    piece = b'\\"{[' * 16_384

    tracemalloc.start()
    try:
        found = splitter.feed(b'[{"id":"giant","name":"')
        for _ in range(1024):
            found += splitter.feed(piece)
        found += splitter.feed(b'"}]')
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert splitter.complete
    assert found[0].size > 64 << 20
    assert peak < 10 << 20


@pytest.mark.parametrize(
    ("raw", "hint"),
    [
        (b'{"id":"5f0c"}', "5f0c"),
        (b'{ "id" : " 5f0c " , "x":1}', "5f0c"),
        (b'{"tenantID":"t\\"}","overflow":false,"n":-1.5e3,"id":"5f0c","events":[]}', "5f0c"),
        (b'{"id":42}', "42"),
        (b'{"events":[{"id":"inner"}],"id":"5f0c"}', None),
        (b'{"x":{"id":"inner"}}', None),
        (b'{"id":"a\\u0062"}', None),
        (b'{"id":"cut', None),
        (b'{"id":4', None),
        (b'{"id":"\xff"}', None),
        (b'["id"]', None),
        (b'{"id":""}', None),
    ],
)
def test_the_id_is_known_without_parsing_only_where_it_is_certain(raw, hint):
    assert Element(raw=raw, size=len(raw), head=raw, digest=b"").alert_id_hint() == hint
