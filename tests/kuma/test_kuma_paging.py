"""Where a read ends, by its pages: the size of a page is learnt, never assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kuma_sync.core.alert import AlertId
from kuma_sync.core.window import Query, ReadKind
from kuma_sync.kuma.page import End, PageSize, Paging, Shown

FULL, SWEEP = Query(kind=ReadKind.FULL), Query(kind=ReadKind.SWEEP)
WINDOW, LATE = Query(kind=ReadKind.WINDOW), Query(kind=ReadKind.LATE)
MORE, EMPTY, SHORT = End.MORE, End.EMPTY, End.SHORT


def shown(ids: Sequence[str], digest: str = "") -> Shown:
    return Shown(count=len(ids), news=True, asked=frozenset(ids), digest=(digest or ",".join(ids)).encode())


def rows(counts: Sequence[int]) -> list[Shown]:
    """Return pages of so many elements each, all different."""
    first = [sum(counts[:page]) for page in range(len(counts))]
    return [shown([str(number) for number in range(at, at + count)]) for at, count in zip(first, counts, strict=True)]


def read(query: Query, pages: Sequence[Shown], size: PageSize | None = None, *, cap: int = 99) -> list[End]:
    """Return what is said of each page, up to the one that ends the read."""
    paging, ends, seen = Paging(query, size or PageSize(), cap=cap), list[End](), set[str]()
    for page in pages:
        ids, known = page.asked, frozenset(seen)
        seen |= ids
        ends.append(paging.end(replace(page, news=not ids <= known, asked=ids.intersection(query.ids))))
        if ends[-1] is not MORE:
            break
    return ends


@pytest.mark.parametrize("query", [FULL, SWEEP])
@pytest.mark.parametrize("counts", [[250, 250, 0], [249, 151, 0], [1, 0], [0], [100, 100, 100, 50, 0], [3, 1, 2, 0]])
def test_a_listing_of_everything_ends_at_an_empty_page_alone(query: Query, counts: list[int]) -> None:
    assert read(query, rows(counts)) == [MORE] * (len(counts) - 1) + [EMPTY]


@pytest.mark.parametrize(
    ("largest", "counts", "ends"),
    [
        (250, [3], [SHORT]),
        (250, [0], [EMPTY]),
        (250, [250, 250, 224], [MORE, MORE, SHORT]),
        (250, [249, 250, 0], [MORE, MORE, EMPTY]),  # a row was hidden
        (250, [225, 0], [MORE, EMPTY]),
        (0, [100, 100, 50], [MORE, MORE, SHORT]),  # nothing is known yet: pages are smaller than 250
        (0, [3, 0], [MORE, EMPTY]),
        (3, [3, 3, 1], [MORE, MORE, SHORT]),
    ],
)
def test_a_window_ends_at_a_page_clearly_shorter_than_the_largest(
    largest: int, counts: list[int], ends: list[End]
) -> None:
    assert read(WINDOW, rows(counts), PageSize(largest=largest)) == ends


def test_a_late_listing_ends_at_no_short_page_but_where_it_ended_before() -> None:
    size, pages = PageSize(largest=250), rows([250, 100, 0])

    first, again = read(LATE, pages, size), read(LATE, pages, size)
    one_more = read(LATE, rows([250, 101, 0]), size)

    assert (first, again) == ([MORE, MORE, EMPTY], [MORE, SHORT])
    assert read(LATE, [shown(["a"]), shown(["a"])], size) == [MORE, SHORT], "a server that ignores the page"
    assert one_more == [MORE, MORE, EMPTY]


def test_a_late_page_of_seen_rows_is_no_end_where_the_page_size_changed() -> None:
    size = PageSize(largest=250)
    first, second = [str(number) for number in range(200)], [str(number) for number in range(50, 100)]

    assert read(LATE, [shown(first), shown(second)], size) == [MORE, End.REPEATED], "rows 200 and on were not shown"


def test_pages_that_are_what_they_were_when_an_empty_one_followed_end_a_window() -> None:
    size, same, grown = PageSize(), shown(["a", "b"], "as it was"), shown(["a", "b"], "as it is")

    first = read(LATE, [same, shown([])], size)
    again = read(LATE, [same], size)
    other_read = read(WINDOW, [same, shown([])], size)
    changed = read(LATE, [grown, shown(["c"]), shown([])], size)
    back = read(LATE, [same, shown([])], size)

    assert (first, again, other_read) == ([MORE, EMPTY], [SHORT], [MORE, EMPTY])
    assert changed == [MORE, MORE, EMPTY]
    assert back == [MORE, EMPTY]


def test_what_is_larger_than_the_last_listing_of_everything_is_forgotten_with_it() -> None:
    size = PageSize()
    read(SWEEP, rows([250, 100, 0]), size)
    before = read(WINDOW, rows([100]), size)
    read(SWEEP, rows([100, 100, 100, 50, 0]), size)

    assert before == [SHORT]
    assert read(WINDOW, rows([100, 100, 7]), size) == [MORE, MORE, SHORT]


@pytest.mark.parametrize("query", [FULL, SWEEP])
@pytest.mark.parametrize("second", [["a", "b"], ["b"]])
def test_a_page_whose_ids_were_all_seen_proves_nothing(query: Query, second: list[str]) -> None:
    ends = read(query, [shown(["a", "b"]), shown(second)])

    assert ends == [MORE, End.REPEATED]
    assert not ends[-1].complete


def test_the_cap_ends_a_read_that_would_go_on() -> None:
    assert read(FULL, rows([2] * 9), cap=3) == [MORE, MORE, End.CAP]
    assert not End.CAP.complete


@pytest.mark.parametrize(
    ("pages", "ends"),
    [
        ([["a", "b", "c"]], [End.ANSWERED]),
        ([["a"], ["c", "b"]], [MORE, End.ANSWERED]),  # pages smaller than the number of ids
        ([["a", "c"], []], [MORE, EMPTY]),  # b is not there
        ([[]], [EMPTY]),
        ([["a"], ["a"]], [MORE, End.REPEATED]),  # `page` is ignored
    ],
)
def test_a_read_by_id_ends_when_all_were_shown_or_nothing_more_comes(pages: list[list[str]], ends: list[End]) -> None:
    size = PageSize(largest=250)
    query = Query(kind=ReadKind.STATUS, ids=(AlertId("a"), AlertId("b"), AlertId("c")))

    assert read(query, [shown(ids) for ids in pages], size) == ends
    assert size == PageSize(largest=250), "pages of ids teach nothing"


@given(total=st.integers(0, 60), size=st.integers(1, 20), seen=st.integers(0, 60), kind=st.sampled_from([WINDOW, LATE]))
def test_whatever_the_size_of_pages_a_window_shows_everything(total: int, size: int, seen: int, kind: Query) -> None:
    learnt, whole = (
        PageSize(largest=min(seen, size)),
        [min(size, max(0, total - at)) for at in range(0, total + size, size)],
    )

    ends = read(kind, rows([*whole, 0]), learnt)

    assert sum(whole[: len(ends)]) == total
    assert ends[-1].complete
