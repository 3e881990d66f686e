"""What reads KUMA's pages, given very many that KUMA would never send: `make fuzz` gives 100,000, each run some.

FUZZ_PAGES is their number, FUZZ_SEED what they are made from.
"""

from __future__ import annotations

import asyncio
import json
import os
import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace

import pytest
from wire import Given, Kind, page

from kuma_sync.core.comparison import Rejected
from kuma_sync.core.errors import RemoteError
from kuma_sync.core.privacy import Privacy
from kuma_sync.kuma.array_splitter import ArraySplitter
from kuma_sync.kuma.element_cache import HEAD, Element, ElementCache
from kuma_sync.kuma.page import Page
from kuma_sync.kuma.parse import Parsed, parse_in_turns, usable_id
from kuma_sync.kuma.tolerant_json import Bounds

PAGES = int(os.environ.get("FUZZ_PAGES", "1500"))
SEED = os.environ.get("FUZZ_SEED", "20261129")
BLOCK = 50
"""Pages that share what the splitter remembers of elements."""

BOUNDS = Bounds(size=300_000, values=50_000, containers=50_000)
PER_BYTE, BESIDE = 60, 1024 * 1024
"""The most memory: so much for each byte of the largest element that may be kept, and so much beside it."""


@dataclass(kw_only=True)
class Outcome:
    """What came out of a page; `whole` unless it was refused."""

    parsed: dict[str, Parsed] = field(default_factory=dict)
    rejected: int = 0
    left: int = 0
    whole: bool = False


async def pieces(chance: Random, raw: bytes) -> AsyncIterator[bytes]:
    position = 0
    while position < len(raw):
        size = chance.choice((1, 7, 64, 500, 1 << 16))
        yield raw[position : position + size]
        position += size


async def taken(chance: Random, given: Given, known: ElementCache | None) -> Outcome:
    """Read a page as the client does. Only RemoteError is expected of it, and nothing of the parser."""
    headers = {"content-type": "application/json"}
    stream = SimpleNamespace(chunks=pieces(chance, given.raw), headers=headers, status=200)
    splitter = ArraySplitter(max_size=BOUNDS.size, known=known)
    reading, outcome = Page(stream, splitter, BOUNDS, remote="kuma", operation="read alerts"), Outcome()
    try:
        await reading.first()
        async for element in reading.elements(set()):
            await take(element, outcome)
    except RemoteError:
        return outcome
    outcome.whole = True
    return outcome


async def take(element: Element, outcome: Outcome) -> None:
    assert len(element.head) <= HEAD
    if element.raw is None:
        outcome.left += 1
        return
    assert len(element.raw) == element.size <= BOUNDS.size
    found = await parse_in_turns(element.raw, with_events=True, max_events=0, privacy=Privacy())
    if isinstance(found, Rejected):
        outcome.rejected += 1
    else:
        outcome.parsed[found.seen.alert.id] = found


def named(raw: bytes) -> list[str] | None:
    """Return the ids that the standard library finds; None where it finds no array, or an id that is no text."""
    try:
        value = json.loads(raw.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list):
        return None if value is not None else []
    ids = [one.get("id") for one in value if isinstance(one, dict)]
    if not all(isinstance(id, str | None) for id in ids):
        return None
    return [usable for id in ids if (usable := usable_id(id)) is not None]


def check(given: Given, outcome: Outcome) -> None:
    """Nothing is lost without a word."""
    if given.kind in (Kind.AMONG_GARBAGE, Kind.COSTLY):
        assert outcome.whole
    if outcome.whole:
        for id, events in given.alerts.items():
            contents = outcome.parsed[id].seen.contents
            assert contents is not None
            assert len(contents.events) == events
    expected = named(given.raw)
    if expected is not None and given.kind is not Kind.COSTLY:
        assert outcome.whole
        assert set(outcome.parsed) == set(expected)


async def block(number: int) -> list[Kind]:
    """Read a block of pages; the last one's memory is measured."""
    chance, known = Random(f"{SEED}/{number}"), ElementCache(smallest=64)
    kinds = []
    for turn in range(BLOCK):
        given = page(chance)
        measured = turn == BLOCK - 1
        if measured:
            tracemalloc.start()
        try:
            outcome = await taken(chance, given, known if chance.random() < 0.7 else None)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        kinds.append(given.kind)
        assert peak < PER_BYTE * min(len(given.raw), BOUNDS.size) + BESIDE
        check(given, outcome)
    return kinds


@pytest.mark.timeout(1800)
def test_no_page_raises_what_it_must_not_takes_too_much_or_loses_an_alert() -> None:
    kinds: list[Kind] = []

    for number in range(PAGES // BLOCK):
        try:
            kinds += asyncio.run(block(number))
        except Exception as error:
            error.add_note(f"FUZZ_SEED={SEED}, block {number}")
            raise

    assert len(kinds) >= PAGES // BLOCK * BLOCK
    assert set(kinds) >= {Kind.AMONG_GARBAGE, Kind.DAMAGED, Kind.SENSELESS}
