"""Elements known again by their digest, against the same splitter looking into every one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kuma_sync.kuma.array_splitter import STEP, ArraySplitter, NotAnArray
from kuma_sync.kuma.element_cache import KEY, Element, ElementCache

RELAXED = settings(deadline=None, derandomize=True, max_examples=150)
ID = '{"id":"5f0c2a3e-6b1d-4a77-9c55-2b7f0e4d1a0%d","tenantID":"1a2b3c4d",'
PLAIN = st.sampled_from(["", "a", '"', "\\", "{", "}", "[", "]", ",", "Ж", "😀", '},{"id":"', "\\u005c", "\n"])
TEXT = st.lists(PLAIN, max_size=6).map("".join)
VALUES = st.recursive(
    TEXT | st.integers(-9, 10**20) | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)
WHOLE = ['%s"events":%s}', '%s"events":[%s,%s"x":0}]}', '%s"events":%s,%s"x":0}}', '%s"events":[%s]}']
SHAPES = WHOLE * 4 + ['%s"events":%s', '%s"":%s}}', '%s"%s}']
SIZES = st.lists(st.integers(1, 100) | st.integers(100, 2000), min_size=1, max_size=5)


@st.composite
def alerts(draw: st.DrawFn) -> bytes:
    """Make an element that often starts like another one; some are broken, or hold one of the same shape."""
    own = ID % draw(st.integers(0, 3))
    body = json.dumps(draw(VALUES), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    shape = draw(st.sampled_from(SHAPES))
    return (shape.replace("%s", own, 1).replace("%s", body, 1).replace("%s", own)).encode()


@st.composite
def documents(draw: st.DrawFn, pool: list[bytes]) -> bytes:
    """Make an array of elements of the pool, which may be cut, damaged or followed by something."""
    comma = draw(st.sampled_from([b",", b" ,\n"]))
    whole = b"[" + comma.join(draw(st.lists(st.sampled_from(pool), max_size=6))) + b"]"
    match draw(st.sampled_from(["whole"] * 5 + ["cut", "damaged", "followed"])):
        case "cut":
            return whole[: draw(st.integers(0, len(whole)))]
        case "damaged":
            at = draw(st.integers(0, len(whole)))
            return whole[:at] + draw(st.sampled_from([b"", b'"', b"\\", b"{", b"}", b"]", b","])) + whole[at + 1 :]
        case "followed":
            return whole + draw(st.sampled_from([b"\n", b" ", b"x", b"[]", b","]))
        case _:
            return whole


@st.composite
def polls(draw: st.DrawFn) -> list[bytes]:
    pool = draw(st.lists(alerts(), min_size=1, max_size=4))
    return draw(st.lists(documents(pool), min_size=2, max_size=4))


def taken(document: bytes, sizes: list[int], splitter: ArraySplitter) -> tuple[list[Element], str]:
    """Feed a document in pieces of these sizes, over and over; return its elements and how it ended."""
    found: list[Element] = []
    position, turn = 0, 0
    try:
        while position < len(document):
            size = sizes[turn % len(sizes)]
            for more in splitter.steps(document[position : position + size]):
                found += more
            position, turn = position + size, turn + 1
        for more in splitter.end():
            found += more
    except NotAnArray as error:
        return found, str(error)
    return found, "complete" if splitter.complete else "cut"


def check(documents: list[bytes], sizes: list[int], max_size: int) -> None:
    known = ElementCache(most=3, smallest=0)
    for document in documents:
        found, how = taken(document, sizes, ArraySplitter(max_size=max_size, known=known))
        expected, as_expected = taken(document, [1], ArraySplitter(max_size=max_size))
        assert how == as_expected
        # What ended in the piece that proves the page broken is not handed out.
        handed_out = expected if how in ("complete", "cut") else expected[: len(found)]
        assert [(e.raw, e.size, e.digest) for e in found] == [(e.raw, e.size, e.digest) for e in handed_out]


@RELAXED
@given(polls(), SIZES, st.sampled_from([40, 150, 1 << 20]))
def test_knowing_elements_again_changes_nothing_but_the_time_it_takes(documents, sizes, max_size):
    check(documents, sizes, max_size)


def splitter(known: ElementCache) -> ArraySplitter:
    return ArraySplitter(max_size=1 << 20, known=known)


def an_alert(filling: str) -> bytes:
    return (ID % 1).encode() + b'"name":"%b"}' % (filling * 2000).encode()


def test_an_element_that_came_before_is_not_looked_into(monkeypatch):
    known = ElementCache()
    first, _ = taken(b"[" + an_alert("a") + b"]", [100], splitter(known))

    monkeypatch.setattr(ArraySplitter, "_nested", None)
    again, how = taken(b"[" + an_alert("a") + b"]", [100], splitter(known))

    assert again == first
    assert how == "complete"


@pytest.mark.parametrize("now", ["b", "aa", "a\\", '","x":["', ""])
def test_an_element_that_grew_shrank_or_changed_is_what_it_is_now(now):
    known = ElementCache()
    taken(b"[" + an_alert("a") + b"]", [100], splitter(known))

    found, how = taken(b"[" + an_alert(now) + b"," + an_alert("c") + b"]", [1000], splitter(known))
    expected, as_expected = taken(
        b"[" + an_alert(now) + b"," + an_alert("c") + b"]", [1], ArraySplitter(max_size=1 << 20)
    )

    assert (found, how) == (expected, as_expected)


def test_a_last_element_that_shrank_is_handed_out_at_the_end():
    known = ElementCache()
    taken(b"[" + an_alert("aaaa") + b"]", [100], splitter(known))
    shorter = splitter(known)

    waiting = shorter.feed(b"[" + an_alert("a") + b"]")
    found = [element for step in shorter.end() for element in step]

    assert waiting == []
    assert [element.raw for element in found] == [an_alert("a")]
    assert shorter.complete


def test_what_is_remembered_has_a_bound():
    known = ElementCache(most=10, smallest=0)

    for number in range(100):
        raw = b"%064d" % number
        known.note(Element(raw=raw, size=KEY, head=raw, digest=b"d"))

    remembered = [number for number in range(100) if known.recall(b"%064d" % number)]
    assert remembered == list(range(80, 100)) or remembered == list(range(90, 100))


def test_a_giant_piece_is_taken_in_steps():
    document = b"[" + b",".join([an_alert("x")] * 1000) + b"]"

    steps = list(ArraySplitter(max_size=1 << 20).steps(document))

    assert len(steps) == -(-len(document) // STEP) > 5
    assert sum(map(len, steps)) == 1000
    assert max(map(len, steps)) <= STEP // 2000
