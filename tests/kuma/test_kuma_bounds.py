"""Elements that would cost too much to parse: told by their values and brackets, wherever those stand in texts too."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_kuma_client_sockets import a_client

from kuma_sync.core.privacy import Privacy
from kuma_sync.core.window import Query, ReadKind
from kuma_sync.kuma.array_splitter import BRACKETS, ELEMENTS, ArraySplitter
from kuma_sync.kuma.client import Element, KumaClient
from kuma_sync.kuma.parse import Parsed, Rejected, parse_in_turns
from kuma_sync.kuma.tolerant_json import CONTAINERS, VALUES, Bounds, bounds

HEAD = b'{"id":"5f0c","name":"x","events":['
MANY = CONTAINERS + 2000
COSTLY = {
    "empty events": HEAD + b"{}," * MANY + b"{}]}",
    "empty assets": b'{"id":"5f0c","affectedAssets":[' + b"{}," * MANY + b"{}]}",
    "empty lists": HEAD + b'{"a":[' + b"[]," * MANY + b"[]]}]}",
    "small objects": HEAD + b'{"a":1},' * MANY + b"{}]}",
    "depth": b'{"id":"5f0c","x":' + b"[" * MANY + b"]" * MANY + b"}",
    "small values": HEAD + b'{"a":[' + b"1," * (VALUES + 2000) + b"1]}]}",
}
TEXTS = st.text(alphabet='"\\{}[],: xЖ', max_size=12)
TREES = st.recursive(
    TEXTS | st.integers(-9, 99) | st.none(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=30,
)


async def received(client: KumaClient) -> list[Element]:
    async with aclosing(client.read(Query(kind=ReadKind.FULL))) as items:
        return [item async for item in items if isinstance(item, Element)]


def counted(value: object) -> tuple[int, int]:
    """Return how many commas and how many brackets a value is written with, apart from its texts."""
    match value:
        case dict():
            inner = [counted(one) for one in value.values()]
        case list():
            inner = [counted(one) for one in value]
        case _:
            return 0, 0
    commas = max(len(inner) - 1, 0) + sum(one[0] for one in inner)
    return commas, 1 + sum(one[1] for one in inner)


@settings(deadline=None, max_examples=25)
@given(TREES, st.integers(1, 20))
def test_what_stands_in_texts_does_not_count(tree, times):
    value = [tree] * (1000 * times)
    commas, brackets = counted(value)
    raw = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()

    assert Bounds(size=1, values=commas, containers=brackets).crowded(raw) is False
    if commas > 3000:
        assert Bounds(size=1, values=commas - 2000, containers=brackets).crowded(raw) is True
    if brackets > 3000:
        assert Bounds(size=1, values=commas, containers=brackets - 2000).crowded(raw) is True


@pytest.mark.parametrize("raw", COSTLY.values(), ids=COSTLY.keys())
async def test_an_alert_of_too_many_values_comes_without_its_bytes(raw):
    async with a_client(b"", b'[{"id":"a"},' + raw + b',{"id":"b"}]', limit=16 << 20) as client:
        first, costly, last = await received(client)

    assert (first.raw, last.raw) == (b'{"id":"a"}', b'{"id":"b"}')
    assert (costly.raw, costly.crowded, costly.size) == (None, True, len(raw))
    assert costly.alert_id_hint() == "5f0c"


async def test_an_alert_of_long_texts_full_of_signs_comes_whole():
    raw = HEAD + b'{"message":"' + b'{\\"a\\":[1,2]},' * MANY + b'"}]}'
    async with a_client(b"", b"[" + raw + b"]", limit=16 << 20) as client:
        (only,) = await received(client)

    assert only.raw == raw


def test_a_larger_limit_of_bytes_is_a_larger_one_of_values():
    assert bounds(32 << 20).values > VALUES
    assert bounds(320 << 20).values > 9 * VALUES
    assert bounds(320 << 20).containers > 9 * CONTAINERS
    assert bounds(1000) == Bounds(size=1000, values=VALUES, containers=CONTAINERS)


@pytest.mark.parametrize(("piece", "most"), [(b"[],", BRACKETS // 2), (b"[[]],", BRACKETS // 4)])
def test_a_step_through_brackets_that_stand_close_is_a_short_one(piece, most):
    document = b'[{"a":[' + piece * 50_000 + b"1]}]"
    splitter = ArraySplitter(max_size=1 << 20)

    steps = [
        len(found) for at in range(0, len(document), 1 << 18) for found in splitter.steps(document[at : at + (1 << 18)])
    ]

    assert len(steps) >= 50_000 / most
    assert (sum(steps), splitter.complete) == (1, True)


@pytest.mark.parametrize("piece", [b"{}", b"1", b'"a"', b'{"id":"1"}'])
def test_a_step_through_very_many_small_elements_is_a_short_one(piece):
    splitter = ArraySplitter(max_size=1 << 20)

    steps = [len(found) for found in splitter.steps(b"[" + b",".join([piece] * 5000) + b"]")]

    assert (sum(steps), splitter.complete) == (5000, True)
    assert max(steps) <= ELEMENTS


@pytest.mark.parametrize(
    "raw", [HEAD + b"{}," * 100_000 + b"{}]}", b'{"id":"1","x":' + b"[" * 200_000 + b"]" * 200_000 + b"}"]
)
async def test_the_event_loop_turns_while_a_long_element_is_parsed(raw):
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    turning = asyncio.create_task(turn())
    await asyncio.sleep(0)
    found = await parse_in_turns(raw, with_events=True, max_events=1000, privacy=Privacy())
    turning.cancel()

    assert isinstance(found, Parsed | Rejected)
    assert turns > 2
